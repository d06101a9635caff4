"""SASL mechanisms as step objects, both ends (RFC 4422); no I/O, no users, no SMTP.

>>> from smtpx.sasl.registry import SERVER_MECHANISMS
>>> sorted(SERVER_MECHANISMS)
['ANONYMOUS', 'CRAM-MD5', 'EXTERNAL', 'LOGIN', 'OAUTHBEARER', 'PLAIN', 'SCRAM-SHA-1',
 'SCRAM-SHA-1-PLUS', 'SCRAM-SHA-256', 'SCRAM-SHA-256-PLUS', 'XOAUTH2']
"""
