"""What needs an extra that is not installed says in one sentence what to install."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from functools import cache
from typing import Any

import pytest

from tests.architecture.layout import ROOT
from tests.extras import without_extras

#: Which extra each use has to name.
EXTRA_OF = {
    "check_spf": "auth",
    "verify_dkim": "auth",
    "load_private_key": "auth",
    "check_token": "oauth",
    "hash_password": "passwords",
    "read_passwords": "passwords",
    "limit_in_memory": "limits",
    "limit_in_redis": "redis",
    "count_for_prometheus": "prometheus",
    "trace": "opentelemetry",
    "use_django": "django",
    "use_flask": "flask",
    "make_certificates": "testing",
    "start_inbox": "inbox",
    "run_command": "cli",
}
#: What runs without them, and better with them.
NEVER_NEEDED = {"fast"}


@cache
def said() -> dict[str, str]:
    run = subprocess.run(
        [sys.executable, "-X", "dev", "-W", "error", "-m", without_extras.__name__],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    found: dict[str, str] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("use", EXTRA_OF)
def test_one_sentence_says_what_to_install(use: str) -> None:
    kind, _, text = said()[use].partition(": ")
    assert kind in {"ImportError", "RuntimeError"}, said()[use]
    assert text.strip().endswith(f"pip install 'smtpx[{EXTRA_OF[use]}]'")
    assert "\n" not in text.strip()
    assert len(text) < 120
    # What needs it stands before what to do.
    assert re.match(r"[\w .:-]+ needs? ", text)


def test_every_use_was_tried() -> None:
    assert EXTRA_OF.keys() == without_extras.USES.keys() == said().keys()


def project() -> dict[str, Any]:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)["project"]
    return found


def test_every_extra_is_missed_by_something() -> None:
    extras = set(project()["optional-dependencies"])
    assert set(EXTRA_OF.values()) | NEVER_NEEDED == extras
