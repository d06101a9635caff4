"""The server (layer L4): sessions that users write, and the listener under them."""
