"""A server that holds clients to a rate in Redis, as a process: ``-m`` runs it.

It prints its address when it listens, logs to standard error, and ends with its
standard input.
"""

from __future__ import annotations

import asyncio
import logging
import sys

import smtpx


async def main(url: str, counted: str, rate: str, policy: str, timeout: str) -> None:
    rule = smtpx.RateRule(smtpx.Counted[counted], smtpx.Rate.parse(rate))
    patience = float(timeout)
    limiter = smtpx.RedisRateLimiter(url, timeout=patience)
    guard = smtpx.RateGuard(
        limiter, [rule], fails_open=policy == "open", timeout=patience
    )
    options = smtpx.ServerOptions(
        hostname="mx.test",
        guards=(guard,),
        max_connections_per_ip=1_000,
        max_connections_per_network=1_000,
        # Loopback is trusted by default.
        unlimited_networks=(),
    )
    loop = asyncio.get_running_loop()
    async with smtpx.Server(smtpx.Session, "127.0.0.1:0", options=options) as server:
        print(server.addresses[0], flush=True)
        await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    asyncio.run(main(*sys.argv[1:]))
