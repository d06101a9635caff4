"""Internet messages (RFC 5322), read and written without DNS and without I/O.

What arrives is kept as octets: a signature covers octets, and what a relay changes it
breaks. What a program reads is made of them when it asks, and never raises: a broken
message is a message with defects.
"""
