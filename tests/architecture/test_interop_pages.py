"""The pages about other mail software are those of the records that are kept."""

from __future__ import annotations

from tools import interop_table, probe_results


def test_the_page_of_probes_is_current() -> None:
    page = probe_results.PAGE.read_text(encoding="utf-8")
    assert page == probe_results.probe_page(), "run `make docs`"


def test_the_page_of_interoperability_is_current() -> None:
    page = interop_table.PAGE.read_text(encoding="utf-8")
    assert page == interop_table.interop_page(), "run `make docs`"
