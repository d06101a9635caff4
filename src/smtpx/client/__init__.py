"""Sending: options, the forms of a message, and the one conversation of both fronts."""
