"""The inbox for developers (layer L8): it takes all mail, shows it, and keeps it."""
