"""Compile the hot path when a wheel is built: ``make compiled``.

The modules named in pyproject.toml go through mypyc, which makes C extensions of the
same typed source. Off unless ``HATCH_BUILD_HOOK_ENABLE_CUSTOM=1`` is set, so that the
usual wheel is pure Python. Everything is made in a scratch directory: nothing is ever
left beside the sources, where it would be imported in place of them.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

__all__ = ["CompileHook"]

SOURCES = "src"


class CompileHook(BuildHookInterface[Any]):
    """Adds the compiled modules to a wheel, beside their sources."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; called before the wheel is made.

        Args:
            version: ``standard``, or ``editable``, which runs from the sources.
            build_data: what goes into the wheel.
        """
        if version == "editable":
            return
        scratch = Path(tempfile.mkdtemp(prefix="smtpx-compiled-"))
        self.scratch = scratch
        for made in compile_modules(Path(self.root), self.config["modules"], scratch):
            name = made.relative_to(scratch / "lib").as_posix()
            build_data["force_include"][str(made)] = name
        build_data["pure_python"] = False
        build_data["infer_tag"] = True

    def finalize(
        self, version: str, build_data: dict[str, Any], artifact_path: str
    ) -> None:
        """Remove what was made; called when the wheel is there."""
        del build_data, artifact_path
        if version != "editable":
            shutil.rmtree(self.scratch)


def compile_modules(root: Path, modules: list[str], scratch: Path) -> list[Path]:
    """Make extension modules.

    Args:
        root: of the project.
        modules: patterns of files below the sources.
        scratch: an empty directory to work in.

    Returns:
        Files below ``lib`` in it, laid out as in a wheel.
    """
    # They are there only where something is compiled.
    mypycify = importlib.import_module("mypyc.build").mypycify
    distribution = importlib.import_module("setuptools").Distribution

    with contextlib.chdir(root / SOURCES):
        files = sorted(
            str(path) for pattern in modules for path in Path().glob(pattern)
        )
        options = [
            # Not the strict settings of the checks: they need what only tests have.
            *("--config-file=", "--ignore-missing-imports", "--follow-imports=silent"),
            f"--cache-dir={scratch / 'cache'}",
        ]
        extensions = mypycify(
            [*options, *files],
            opt_level="3",
            debug_level="0",
            target_dir=str(scratch / "c"),
            group_name="smtpx",
        )
        command = distribution({"ext_modules": extensions}).get_command_obj("build_ext")
        command.build_lib = str(scratch / "lib")
        command.build_temp = str(scratch / "objects")
        command.parallel = os.cpu_count()
        command.ensure_finalized()
        command.run()
    return [path for path in (scratch / "lib").rglob("*") if path.is_file()]
