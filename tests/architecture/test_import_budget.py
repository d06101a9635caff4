"""``import smtpx`` is cheap: what it may load is counted in modules, not in time."""

from __future__ import annotations

import json
import subprocess
import sys

import smtpx

# The extras, the two core dependencies that load on first use, and what is heavy in
# the standard library.
OPTIONAL = {
    *("aiofastnet", "argon2", "bcrypt", "click", "cryptography", "pwdlib", "pytest"),
    *("rich", "spftrace", "uvloop", "winloop", "dns", "idna"),
    *("prometheus_client", "opentelemetry", "throttled", "redis", "django", "flask"),
    *("trustme", "starlette", "uvicorn", "nh3"),
}
HEAVY = {"asyncio", "concurrent", "email", "logging", "socket", "ssl", "threading"}


def loaded_by(statements: str) -> set[str]:
    """Run statements in a fresh interpreter and name the packages that they load."""
    program = (
        "import json, sys; before = set(sys.modules)\n"
        f"{statements}\n"
        "print(json.dumps(sorted(set(sys.modules) - before)))"
    )
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-c", program],
        check=True,
        capture_output=True,
        text=True,
    )
    assert run.stderr == ""
    return {module.partition(".")[0] for module in json.loads(run.stdout)}


def test_import_alone_loads_nothing_heavy() -> None:
    assert loaded_by("import smtpx") & (OPTIONAL | HEAVY) == set()


def test_no_public_name_loads_an_optional_package() -> None:
    names = ", ".join(name for name in smtpx.__all__ if not name.startswith("_"))
    assert loaded_by(f"from smtpx import {names}") & OPTIONAL == set()


def test_names_of_the_grammar_load_no_event_loop() -> None:
    loaded = loaded_by("from smtpx import Mailbox, MailOptions, Envelope")
    assert loaded & {*OPTIONAL, "asyncio"} == set()


def test_what_is_counted_is_what_was_loaded() -> None:
    assert {"asyncio", "ssl"} <= loaded_by("import asyncio, ssl")
