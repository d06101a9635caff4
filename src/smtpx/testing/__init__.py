"""For tests: transcripts of conversations, and the drivers that play them."""
