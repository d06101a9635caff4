"""What a server offers, and whether it is safe.

Each check connects, says something, and judges what comes back: by the count of
replies, above all, because whatever a server sees as one command more is what an
attacker can say in the name of another. `smtpx probe` shows the results.
"""
