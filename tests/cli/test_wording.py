"""How events are worded for people."""

from plimsoll.cli.wording import describe
from plimsoll.core.events import ValueRecorded


def test_what_guards_said_is_told_in_words() -> None:
    verdicts = [
        {"guard": "injection", "model": "m", "label": "injection", "probability": 0.98123, "action": "halt"},
        {"guard": "human", "model": "m", "label": "needs_a_human", "probability": 0.1},
        {"guard": "slow", "model": "m", "label": "x", "fault": "timeout", "action": "halt", "observed": True},
    ]
    event = ValueRecorded(key="guard:tool_result:3:look", value={"text": "0a", "verdicts": verdicts})
    assert describe(event) == (
        "guard:tool_result:3:look: injection injection 0.981 → halt; human needs_a_human 0.1 → pass; "
        "slow timeout → halt (observed)"
    )


def test_what_was_erased_is_told_as_it_stands() -> None:
    assert describe(ValueRecorded(key="guard:input", value="[erased]")) == "guard:input = '[erased]'"
    assert describe(ValueRecorded(key="2:now", value=5)) == "2:now = 5"
