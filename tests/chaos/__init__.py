"""Chaos: servers and clients of ours in a world that breaks in every way, by a seed.

Time is virtual, the network is simulated, and all chances come from the seed, so what
went wrong once goes wrong again: ``python -m tests.chaos --seed 17 --verbose``.
"""
