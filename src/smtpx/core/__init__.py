"""The two protocol state machines (layer L2): bytes in, events and bytes out.

Nothing here knows a socket, a clock, a thread or a source of randomness; times and
nonces are passed in. That is what makes the protocol testable with transcripts, one
octet at a time, and fit for any I/O library.
"""
