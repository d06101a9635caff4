"""smtpx and the mail software of others, on this machine's loopback interface.

Asked for by ``pytest -m interop tests/interop``. A program that is not installed
is an error, never a skip: a green run means that all of them were spoken to.
"""
