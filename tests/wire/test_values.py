"""Values that are made at every command."""

import pytest

from smtpx.wire.values import distinct_value, value


@value
class Point:
    x: int
    y: int = 0


@distinct_value
class Place:
    x: int


def test_values_compare_and_hash_by_their_fields() -> None:
    assert Point(1) == Point(1, 0)
    assert Point(1) != Point(1, 1)
    assert len({Point(1), Point(1, 0), Point(2)}) == 2


def test_distinct_values_are_themselves_only() -> None:
    one, other = Place(1), Place(1)
    assert one != other
    assert len({one, other}) == 2


@pytest.mark.parametrize("made", [Point(1), Place(1)])
def test_values_take_no_further_attribute(made: object) -> None:
    with pytest.raises(AttributeError):
        made.z = 1  # type: ignore[attr-defined]
