"""The drawn states are those of the tables."""

from __future__ import annotations

from enum import Enum

from tools import states


class State(Enum):
    OPEN = 1
    BUSY = 2
    CLOSED = 3


class Trigger(Enum):
    WORK = "work"
    REST = "rest"
    END = "end"


TABLE: dict[tuple[Enum, Enum], Enum] = {
    (State.OPEN, Trigger.WORK): State.BUSY,
    (State.BUSY, Trigger.WORK): State.BUSY,
    (State.BUSY, Trigger.REST): State.OPEN,
    **{(state, Trigger.END): State.CLOSED for state in State},
}


def test_the_page_is_current() -> None:
    page = states.PAGE.read_text(encoding="utf-8")
    assert page == states.page(), "run `make docs`"


def test_both_machines_are_drawn() -> None:
    assert [name for name, _, _ in states.tables()] == ["Server", "Client"]


def test_a_diagram_has_every_transition_once() -> None:
    assert states.everywhere(TABLE) == {Trigger.END: State.CLOSED}
    assert states.final_states(TABLE, Trigger.END) == "CLOSED"
    assert states.diagram(TABLE) == (
        "```mermaid\n"
        "stateDiagram-v2\n"
        "    [*] --> OPEN\n"
        "    OPEN --> BUSY: work\n"
        "    BUSY --> BUSY: work\n"
        "    BUSY --> OPEN: rest\n"
        "```\n"
    )
