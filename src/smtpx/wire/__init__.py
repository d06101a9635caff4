"""The grammar of SMTP as frozen values: parse octets, encode octets.

Everything here is pure: no state, no I/O, no clock. A parser is named after its ABNF
rule and raises `smtpx.errors.BadSyntax` for octets that break it. A value that parsed
encodes to the canonical form of what was parsed.
"""
