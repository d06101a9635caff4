"""Benchmark programs: run each as ``python -m benchmarks.<name>``.

They measure CPU time, not wall time, because client and server share the cores
of one machine; and they interleave what they compare, so that a change of the
machine's speed during a run touches every candidate alike.
"""
