"""SASL mechanisms as step objects, both ends (RFC 4422); no I/O, no users, no SMTP.

>>> from smtpx.sasl.registry import SERVER_MECHANISMS
>>> list(SERVER_MECHANISMS)
['PLAIN', 'LOGIN']
"""
