"""Taking back what a run did, and settling what nobody knows: from the terminal."""

import pytest

from plimsoll.core.calls import Ending
from tests.cli.conftest import User


@pytest.fixture
def halted(user: User) -> User:
    """A run that paid 20 back, and then came to its limit."""
    user.edit("[models.primary]\n", "[limits]\nsteps = 4\n\n[models.primary]\n")
    user.edit("[tools.issue_refund]\n", '[tools.issue_refund]\ncompensate = "shop.agent:take_refund_back"\n')
    assert user.asks("refund 20", run_id="r").ending is Ending.HALTED
    assert user.paid == [20.0]
    return user


def test_a_run_that_was_halted_tells_what_can_be_taken_back(halted: User) -> None:
    shown = halted.ok("runs", "show", "r")
    assert "It has done this, which can be taken back:" in shown
    assert 'issue_refund {"amount":20.0,"order":"W1"}' in shown
    assert "plimsoll runs compensate r --by YOU" in shown
    (call,) = halted.json("runs", "show", "r")["result"]["undoable"]
    assert (call["tool"], call["result"]) == ("issue_refund", {"refunded": 20.0})


def test_it_is_taken_back_once(halted: User) -> None:
    for _ in range(2):
        assert "r/undo: complete" in halted.ok("runs", "compensate", "r", "--by", "ana")
        assert halted.paid == [20.0, -20.0]
    shown = halted.json("runs", "show", "r/undo")
    assert shown["events"][0]["undoes"] == "r"
    assert shown["events"][0]["input"]["by"] == "ana"
    assert "can be taken back" not in halted.ok("runs", "show", "r")


def test_only_what_was_done_can_be_taken_back(halted: User) -> None:
    assert "9:nothing of run r cannot be taken back" in halted.refused("runs", "compensate", "r", "--key", "9:nothing")
    assert "no run 'q'" in halted.refused("runs", "compensate", "q")
    (call,) = halted.json("runs", "show", "r")["result"]["undoable"]
    assert halted.json("runs", "compensate", "r", "--key", call["key"])["results"][0]["ending"] == "complete"
    assert halted.paid == [20.0, -20.0]


def test_what_cannot_be_taken_back_fails_the_command(halted: User) -> None:
    halted.edit('compensate = "shop.agent:take_refund_back"', 'compensate = "shop.agent:gone"')
    message = halted.run("runs", "compensate", "r")
    assert message.exit_code == 1 and "gone" in message.output
    assert halted.paid == [20.0]


@pytest.fixture
def doubting(user: User, monkeypatch: pytest.MonkeyPatch) -> User:
    """A run that paid 20 back, and nobody knows."""
    user.edit("[tools.issue_refund]\n", '[tools.issue_refund]\noutput = { type = "object", required = ["refunded"] }\n')
    monkeypatch.setenv("SHOP_LOSES", "1")
    assert user.asks("refund 20", run_id="r").ending is Ending.PARKED
    monkeypatch.delenv("SHOP_LOSES")
    return user


@pytest.mark.parametrize("result", [(), ("--result", "null"), ("--result", '{"paid": 20}'), ("--result", '"done"')])
def test_a_result_that_the_tool_never_returns_is_refused(doubting: User, result: tuple[str, ...]) -> None:
    message = doubting.refused("approvals", "resolve", "r", "--happened", *result)
    assert "that is no result of issue_refund" in message
    assert len(doubting.json("approvals", "list")["doubts"]) == 1


def test_the_first_answer_stands_and_says_how_it_is_known(doubting: User) -> None:
    answer = ("approvals", "resolve", "r", "--happened", "--result", '{"refunded": 20}', "--by", "ana")
    assert "says ana" in doubting.ok(*answer, "--note", "it is in the bank's list")
    assert "was said already" in doubting.ok(*answer)
    assert "ana has said already" in doubting.refused("approvals", "resolve", "r", "--not-happened", "--by", "bo")
    assert "ana has said already" in doubting.refused(*answer[:5], '{"refunded": 21}')
    assert "issue_refund: {'refunded': 20}" in doubting.ok("runs", "resume", "r")
    (known,) = [e for e in doubting.json("runs", "show", "r")["events"] if e.get("note")]
    assert (known["answer"], known["by"], known["note"]) == ("happened", "ana", "it is in the bank's list")
    assert doubting.paid == [20.0]


def test_what_did_not_happen_returned_nothing(doubting: User) -> None:
    message = doubting.refused("approvals", "resolve", "r", "--not-happened", "--result", "{}", code=2)
    assert "what did not happen returned nothing" in message


def test_a_doubt_that_an_ended_run_left_is_listed_until_it_is_answered(doubting: User) -> None:
    doubting.edit("[tools.issue_refund]\n", '[tools.issue_refund]\ncompensate = "shop.agent:take_refund_back"\n')
    doubting.ok("runs", "cancel", "r", "--by", "bo")
    doubting.ok("runs", "resume", "r")
    assert doubting.json("runs", "show", "r")["state"] == "halted"
    (doubt,) = doubting.json("approvals", "list")["doubts"]
    assert (doubt["run_id"], doubt["tool"], doubt["ended"]) == ("r", "issue_refund", True)
    assert doubt["args"] == {"order": "W1", "amount": 20.0}
    assert "its run has ended: what you say is recorded, and nothing is sent again" in doubting.ok("approvals", "list")
    answer = ("approvals", "resolve", "r", "--happened", "--result", '{"refunded": 20}', "--by", "ana")
    assert "Its run has ended" in doubting.ok(*answer, "--note", "it is in the bank's list")
    assert doubting.ok("approvals", "list") == "Nothing waits for a person.\n"
    last = doubting.json("runs", "show", "r")["events"][-1]
    assert (last["answer"], last["by"], last["note"]) == ("happened", "ana", "it is in the bank's list")
    assert "happened, says ana" in doubting.ok("runs", "show", "r")
    assert "nothing is in doubt in run r" in doubting.refused(*answer)
    key = ("approvals", "resolve", "r", doubt["key"])
    assert "ana has said already" in doubting.refused(*key, "--not-happened", "--by", "bo")
