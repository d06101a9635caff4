"""The tests of a web application's mail pass, and fail when it is wrong."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.examples.programs import FOLDER

if TYPE_CHECKING:
    from pathlib import Path


def run_pytest(path: Path, settings: Path) -> tuple[int, str]:
    """Run the tests of somebody whose settings are none."""
    settings.write_text("[pytest]\n")
    done = subprocess.run(
        [
            *(sys.executable, "-X", "dev", "-W", "error", "-m", "pytest", "-q"),
            *("-c", str(settings), "--rootdir", str(settings.parent)),
            *("-p", "smtpx.testing.plugin", "-p", "no:asyncio"),
            *("-p", "no:cacheprovider", str(path)),
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    return done.returncode, done.stdout + done.stderr


def test_they_pass(tmp_path: Path) -> None:
    code, output = run_pytest(FOLDER / "test_web_app.py", tmp_path / "pytest.ini")
    assert code == 0, output
    assert "10 passed" in output


def test_they_notice_mistakes(tmp_path: Path) -> None:
    text = (FOLDER / "test_web_app.py").read_text(encoding="utf-8")
    mistakes = {
        "confirm/{token}": "confirm/{token}0",
        "waiting.pop(token, None)": "waiting.get(token)",
        "except smtpx.SendError as error": "except KeyError as error",
        " and not error.is_temporary": "",
        "recipients=[address]": 'recipients=["eve@example.org"]',
    }
    for number, (old, new) in enumerate(mistakes.items()):
        assert old in text
        (tmp_path / f"test_{number}.py").write_text(text.replace(old, new, 1))
    code, output = run_pytest(tmp_path, tmp_path / "pytest.ini")
    assert code == 1
    for number in range(len(mistakes)):
        assert re.search(rf"^FAILED \S*test_{number}\.py::", output, re.M), output
