"""Who writes to whom in these tests, and who may."""

from __future__ import annotations

SENDER = "a@example.com"
RECIPIENTS = ("b@example.net", "c@example.org")
HELLO_NAME = "client.example"

# The account that servers know; the password has what needs care in a shell, in
# base64 and in SASL messages.
USER = "user@example.com"
PASSWORD = "correct horse=,9~$"
