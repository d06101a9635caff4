"""Fuzzing: what must hold of every parser and of both machines, for any octets.

A target is a function of octets that raises if something is wrong. `fuzz.targets` has
them by name; ``python -m fuzz`` lets atheris look for octets that break one, and the
test suite replays the corpora without it.
"""
