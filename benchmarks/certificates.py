"""A certificate for one run, made up and trusted by nobody else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import trustme

from benchmarks.processes import HOST

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class Certificates:
    """Files in PEM.

    Attributes:
        authority: what clients trust.
        server: the server's chain and its key, ECDSA on P-256, in one file.
    """

    authority: Path
    server: Path


def make_certificates(directory: Path) -> Certificates:
    """Write a certificate for the address that the servers listen on."""
    authority = trustme.CA()
    made = Certificates(directory / "authority.pem", directory / "server.pem")
    authority.cert_pem.write_to_path(made.authority)
    authority.issue_cert(HOST).private_key_and_cert_chain_pem.write_to_path(made.server)
    return made
