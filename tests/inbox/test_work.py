"""How much work it is to look at one message, however hostile it is.

Time depends on the machine, so what is counted are the lines of Python that run: they
are the same each time. What the standard library does in C they do not show, such as a
search that begins again and again; for that the processor's time for this thread is
compared, of a message and of one eight times as large: it was 64 times as much where
something was wrong, and the limit is far from that and from eight.
"""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from smtpx.inbox.complaints import find_complaints
from smtpx.inbox.messages import StoredMessage
from smtpx.inbox.rendering import render_html
from smtpx.inbox.search import TextCache, is_found, parse_query
from smtpx.inbox.views import detail
from smtpx.message.parsed import parse_message
from tests.inbox.hostile import GROWING

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

# Octets. Time is looked at where a square shows beside all else, and not for hours;
# lines, which are slow to count, show one at once.
LARGE = {
    "header fields": 500_000,  # 100,000 of them
    "parameters without a value": 1_000_000,
    "a route that does not end": 60_000,
}
MOSTLY = 240_000
COUNTED = 8_000

# An empty group has three octets and gets 270 lines, in four views.
LINES_FOR_AN_OCTET = 100


def look_at(octets: bytes) -> None:
    """Do all that the page asks for when somebody opens a message, and a search."""
    message = StoredMessage(
        *("1", 0.0, len(octets), "a@x.test", ("c@x.test",)), hello_name="mail.x.test"
    )
    detail(message, octets)
    render_html(octets)
    find_complaints(message, parse_message(octets))
    is_found(message, parse_query("nothing"), TextCache(), lambda: octets)


def lines_of(work: Callable[[], object]) -> int:
    """Count the lines of Python that run."""
    count = 0

    def trace(_frame: FrameType, event: str, _arg: Any) -> Any:  # noqa: ANN401 - sys
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def seconds_of(work: Callable[[], object]) -> float:
    """Return how long the processor was busy with something."""
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


@pytest.mark.parametrize("name", GROWING)
def test_lines_grow_with_the_message(name: str) -> None:
    small, large = GROWING[name](COUNTED), GROWING[name](2 * COUNTED)
    lines = lines_of(lambda: look_at(large))
    assert lines < 2.2 * lines_of(lambda: look_at(small)) + 1_000
    assert lines < LINES_FOR_AN_OCTET * len(large)


@pytest.mark.parametrize("name", GROWING)
def test_the_processors_time_grows_with_the_message(name: str) -> None:
    size = LARGE.get(name, MOSTLY)
    small, large = GROWING[name](size // 8), GROWING[name](size)
    limit = 20 * min(seconds_of(lambda: look_at(small)) for _ in range(3)) + 0.1
    # What else the processor does can only make it slower: one that is fast will do.
    assert any(seconds_of(lambda: look_at(large)) < limit for _ in range(3))


def test_a_count_finds_what_is_not_linear() -> None:
    def square(size: int) -> None:
        for _ in range(size):
            for _ in range(size):
                pass

    assert lines_of(lambda: square(20)) > 3 * lines_of(lambda: square(10))
