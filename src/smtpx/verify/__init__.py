"""Who sent a message: SPF, DKIM, ARC and DMARC, and the signatures of what we send.

It needs the extra ``auth``: ``pip install smtpx[auth]``.
"""
