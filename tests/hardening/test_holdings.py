"""What the soak calls a leak, and what it does not."""

from __future__ import annotations

import dataclasses
import random
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import pytest

from benchmarks.drawing import draw_panels
from benchmarks.holdings import (
    Holdings,
    Malloc,
    find_growth,
    grow_table_of_strings,
    growth,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES = 180
#: What counts: the first third does not.
WARM = 120

BASE = Holdings(
    objects=39_000,
    blocks=157_000,
    malloc_mib=8.3,
    rss_mib=49.0,
    untrimmed_mib=60.0,
    descriptors=9,
    threads=2,
    tasks=1,
)


def samples(name: str, values: Sequence[float]) -> list[Holdings]:
    """Make samples of which one figure is more than the base, by these."""
    return [changed(name, value) for value in values]


def changed(name: str, more: float) -> Holdings:
    changes: dict[str, Any] = {name: getattr(BASE, name) + more}
    return dataclasses.replace(BASE, **changes)


def rising(total: float) -> list[float]:
    """Rise evenly, by so much in all when it is warm."""
    return [total * number / (WARM - 1) for number in range(SAMPLES)]


@pytest.mark.parametrize(
    ("name", "allowed"),
    [("objects", 100), ("blocks", 1_000), ("malloc_mib", 0.1), ("rss_mib", 2.5)],
)
def test_a_slow_leak_is_found(name: str, allowed: float) -> None:
    assert find_growth(samples(name, rising(allowed * 0.99))) == []
    found = find_growth(samples(name, rising(allowed * 1.01)))
    assert len(found) == 1
    assert found[0].startswith(f"{name} grew by ")


@pytest.mark.parametrize("name", ["descriptors", "threads", "tasks"])
def test_one_more_is_found(name: str) -> None:
    assert find_growth(samples(name, [1] * SAMPLES)) == []
    assert find_growth(samples(name, [0] * (SAMPLES - 1) + [1])) == [
        f"{name} grew from {getattr(BASE, name)} to {getattr(BASE, name) + 1}"
    ]


def test_a_batch_that_is_kept_is_found() -> None:
    step = [0.0] * (SAMPLES * 2 // 3) + [100.0] * (SAMPLES // 3)
    assert find_growth(samples("objects", step)) != []


@pytest.mark.parametrize("name", ["objects", "blocks", "malloc_mib", "rss_mib"])
def test_what_warms_up_is_no_leak(name: str) -> None:
    warming = [min(number, SAMPLES // 3) * 1_000.0 for number in range(SAMPLES)]
    assert find_growth(samples(name, warming)) == []


def test_what_the_allocator_keeps_is_no_leak() -> None:
    assert find_growth(samples("untrimmed_mib", rising(23))) == []


def test_what_varies_is_no_leak() -> None:
    chances = random.Random(1)
    noise = [chances.gauss(0, 250) for _ in range(SAMPLES)]
    assert find_growth(samples("blocks", noise)) == []


def test_a_few_samples_tell_nothing() -> None:
    assert find_growth(samples("objects", [0.0, 1e6, 2e6, 3e6, 4e6])) == []
    assert find_growth(samples("objects", [0.0, 1e6, 2e6, 3e6, 4e6, 5e6])) != []


def test_growth_is_that_of_the_line() -> None:
    assert growth([3, 2, 1]) == -2
    assert growth([1]) == growth([]) == 0


def test_malloc_tells_what_is_in_use() -> None:
    malloc = Malloc()
    before = malloc.used()
    kept = bytearray(10_000_000)
    assert malloc.used() - before >= len(kept)
    del kept
    malloc.trim()
    assert abs(malloc.used() - before) < 1_000_000


def test_the_table_of_strings_grows_once() -> None:
    grow_table_of_strings()
    malloc = Malloc()
    before = malloc.used()
    grow_table_of_strings()
    assert malloc.used() - before < 100_000


def test_panels_are_drawn() -> None:
    svg = draw_panels(
        "A & B",
        [0.0, 5.0, 10.0],
        {"some": [0, 1, 2], "none": [0, 0, 0], "many": [10_000, 12_345, 9]},
        unit="minutes",
    )
    root = ElementTree.fromstring(svg)
    namespace = "{http://www.w3.org/2000/svg}"
    texts = [each.text for each in root.iter(f"{namespace}text")]
    assert {"A & B", "some", "none", "many", "12,345", "2", "10 minutes"} <= set(texts)
    lines = [each.get("points") for each in root.iter(f"{namespace}polyline")]
    assert len(lines) == 3
    # From the lower left to the upper right; 64 pixels are the greatest value.
    first, *_, last = (point.split(",") for point in str(lines[0]).split())
    assert float(first[1]) - float(last[1]) == 64
    assert (float(first[0]), float(last[0])) == (80.0, 796.0)
