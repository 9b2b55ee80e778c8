"""The command line shows what runs belong together."""

import asyncio
import json
from functools import partial
from typing import Any

import pytest

from plimsoll import Harness, harden, local
from plimsoll.cli.agents import load
from plimsoll.contract.model import AgentSection, Approval, Contract, JournalSection, Tool
from plimsoll.core.calls import Effect
from plimsoll.journal.keys import MASTER_ENV, new_master_key
from plimsoll.runtime.run import Run
from tests.cli.conftest import User

BILLING = Contract(
    agent=AgentSection(name="billing"),
    tools={"refund": Tool(effect=Effect.WRITE, approval=Approval(approvers=("ana",), when="amount > 50"))},
)


async def refund(order: str, amount: float) -> float:
    return amount


async def billing(run: Run, request: dict[str, Any]) -> Any:
    if request.get("again"):
        await run.continue_as_new({"amount": request["amount"]})
    return await run.call("refund", {"order": "W1", "amount": float(request["amount"])})


async def front(run: Run, request: dict[str, Any]) -> Any:
    if request.get("first"):
        await run.continue_as_new({**request, "first": False})
    small = await run.child("billing", {"amount": 5, "again": True})
    return [small, await run.child("billing", {"amount": request["amount"]})]


def lives(*asked: Any, session: str = "", run_id: str = "", encrypt: bool = False) -> None:
    """A process in which an agent without a framework serves what it is asked."""

    async def serve() -> None:
        contract = Contract(agent=AgentSection(name="front"), journal=JournalSection(encrypt=encrypt))
        surroundings = local(contract, sinks=())
        children = {"billing": partial(Harness, BILLING, agent=billing, tools=[refund])}
        async with Harness(contract, agent=front, surroundings=surroundings, children=children) as harness:
            for one in asked:
                await (harness.session(session).run(one) if session else harness.run(one, run_id=run_id))
        await surroundings.store.close()

    asyncio.run(serve())


def test_a_run_is_shown_with_its_children(user: User) -> None:
    lives({"amount": 100}, run_id="t1")
    shown = user.ok("runs", "show", "t1", width=200)
    assert "└ billing: t1/1:billing complete" in shown
    assert "└ billing: t1/2:billing parked (approval)" in shown
    assert "about to have billing do it, as a child" in shown
    assert "t1/2:billing.a1 waits for ana" in shown
    assert "a child of t1" in user.ok("runs", "show", "t1/2:billing")
    whole = user.json("runs", "show", "t1")
    assert [(child["run_id"], child["state"]) for child in whole["children"]] == [
        ("t1/1:billing", "complete"),
        ("t1/2:billing", "parked"),
    ]
    assert (whole["parent"], whole["session"], whole["link"]) == (None, None, 1)
    assert user.json("runs", "show", "t1/2:billing")["parent"] == "t1"


def test_children_of_children_and_those_that_were_not_begun(user: User) -> None:
    lives({"amount": 1, "first": True}, run_id="t1")
    shown = user.ok("runs", "show", "t1", width=200)
    assert "the 2. run of t1; the one before is t1~1" in shown
    assert shown.count("└") == 2


def test_a_run_that_continued_as_new_is_listed_once_and_each_can_be_shown(user: User) -> None:
    lives({"amount": 1, "first": True}, run_id="t1")
    rows = user.json("runs", "list")["runs"]
    assert sorted((row["run_id"], row["link"], row["state"]) for row in rows) == [
        ("t1", 2, "complete"),
        ("t1~2/1:billing", 2, "complete"),
        ("t1~2/2:billing", 1, "complete"),
    ]
    assert user.json("runs", "show", "t1")["result"]["output"] == [5.0, 1.0]
    first = user.json("runs", "show", "t1~1")
    assert (first["state"], first["link"]) == ("continued", 1)
    assert "it went on as t1~2" in user.ok("runs", "show", "t1~1")
    assert "t1~9" in user.refused("runs", "show", "t1~9")


def test_the_kill_switch_on_a_run_that_continued_as_new(user: User) -> None:
    lives({"amount": 100, "first": True}, run_id="t1")
    assert "t1 is engaged" in user.ok("kill", "t1")
    lives({"amount": 1, "first": True}, run_id="t2")
    assert "has ended already (complete)" in user.ok("kill", "t2")


def test_a_long_chain_does_not_hide_what_else_there_is(user: User) -> None:
    async def counts(run: Run, left: int) -> str:
        if left:
            await run.continue_as_new(left - 1)
        return "done"

    async def serve() -> None:
        contract = Contract(agent=AgentSection(name="counter"))
        surroundings = local(contract, sinks=())
        async with Harness(contract, agent=counts, surroundings=surroundings) as harness:
            await harness.run(0, run_id="short")
            await harness.run(30, run_id="long")
        await surroundings.store.close()

    asyncio.run(serve())
    assert [row["run_id"] for row in user.json("runs", "list", "--limit", "2")["runs"]] == ["long", "short"]


def test_the_turns_of_a_session(user: User) -> None:
    async def talk() -> None:
        deps = load("shop.agent:open_shop")
        async with harden(load("shop.agent:agent"), "plimsoll.toml", deps=deps) as hardened:
            await hardened.session("ticket").run("where is it?", turn="message-1")
            await hardened.session("other").run("where is it?")
            await hardened.session("ticket").run("and now?")

    asyncio.run(talk())
    rows = user.json("runs", "list", "--session", "ticket")["runs"]
    assert [(row["run_id"], row["session"], row["turn"]) for row in rows] == [
        ("ticket/2", "ticket", None),
        ("ticket/1", "ticket", "message-1"),
    ]
    listed = user.ok("runs", "list", "--session", "ticket").splitlines()
    assert [line.split()[0] for line in listed] == ["run", "ticket/2", "ticket/1"]
    assert "a turn of the session ticket, message-1" in user.ok("runs", "show", "ticket/1")
    assert user.ok("runs", "list", "--session", "nobody") == "No runs.\n"
    assert "ticket is engaged" in user.ok("kill", "ticket", "--reason", "enough")


@pytest.fixture
def sealed(user: User, monkeypatch: pytest.MonkeyPatch) -> User:
    monkeypatch.setenv(MASTER_ENV, new_master_key())
    return user


def erased(user: User, *arguments: str) -> list[str]:
    return [each["run_id"] for each in user.json("erase", *arguments, "--reason", "asked")["erased"]]


def test_with_a_run_everything_that_belongs_to_it_is_erased(sealed: User) -> None:
    lives({"amount": 1, "first": True}, run_id="t1", encrypt=True)
    everything = ["t1", "t1~2", "t1~2/1:billing", "t1~2/1:billing~2", "t1~2/2:billing"]
    assert erased(sealed, "t1~2") == everything, "the run before it said the same things"
    assert erased(sealed, "t1") == everything
    assert sealed.json("audit", "verify")["erased"] == 5


def test_one_run_alone_is_erased_where_that_is_asked_for(sealed: User) -> None:
    lives({"amount": 1}, run_id="t1", encrypt=True)
    assert erased(sealed, "t1", "--only") == ["t1"]
    assert sealed.json("audit", "verify")["erased"] == 1


def test_who_else_was_told_of_what_is_erased_is_named(sealed: User) -> None:
    lives({"amount": 1}, {"amount": 2}, session="chat", encrypt=True)
    said = sealed.ok("erase", "chat/1/2:billing", "--reason", "asked", width=200)
    assert "What it told chat/1 stands there. To erase that: plimsoll erase chat/1\n" in said
    said = sealed.ok("erase", "chat/1", "--reason", "asked", width=200)
    assert "Run chat/1/1:billing~2 is erased" in said and "To erase that: plimsoll erase chat\n" in said
    assert "To erase that" not in sealed.ok("erase", "chat", "--reason", "asked")
    assert sealed.json("audit", "verify")["runs"] == sealed.json("audit", "verify")["erased"] == 8


def test_a_turn_that_was_told_of_what_is_erased_and_has_not_ended_is_warned_of(sealed: User) -> None:
    lives({"amount": 1}, {"amount": 100}, session="chat", encrypt=True)
    said = sealed.ok("erase", "chat/1", "--reason", "asked", width=200)
    assert "chat/2 has not ended, and is told [erased] from now on: if it made use of it, it cannot go on" in said
    assert sealed.json("erase", "chat/1", "--reason", "asked")["waiting"] == ["chat/2"]


def test_where_one_of_them_has_not_ended_none_is_erased(sealed: User) -> None:
    lives({"amount": 100}, run_id="t1", encrypt=True)
    assert "run t1 is parked" in sealed.refused("erase", "t1", "--reason", "asked")
    assert sealed.json("audit", "verify")["erased"] == 0
    assert erased(sealed, "t1", "--force") == ["t1", "t1/1:billing", "t1/1:billing~2", "t1/2:billing"]
    assert sealed.json("audit", "verify")["erased"] == 4


def test_what_of_a_family_cannot_be_erased_is_told(sealed: User) -> None:
    lives({"amount": 1}, session="chat")
    lives({"amount": 2}, session="chat", encrypt=True)
    message = sealed.run("erase", "chat", "--reason", "asked").output
    assert "Run chat/2 is erased" in message and "4 of 8 runs could not be erased: run chat/1 was recorded" in message
    result = sealed.run("erase", "chat", "--reason", "asked", "--json")
    assert result.exit_code == 1 and len(json.loads(result.stdout)["refused"]) == 4


def test_with_a_run_its_children_are_cancelled_and_of_a_session_the_open_turn(user: User) -> None:
    lives({"amount": 1}, {"amount": 100}, session="chat")
    said = user.ok("runs", "cancel", "chat", "--by", "ana")
    assert said == ("Run chat/2 is cancelled: it makes no further call.\nWith it its child chat/2/2:billing.\n")
    lives(session="chat")
    assert "was already cancelled" in user.ok("runs", "cancel", "chat/2")
    assert "no run 'nobody'" in user.refused("runs", "cancel", "nobody")


def test_of_a_session_that_is_over_nothing_is_cancelled(user: User) -> None:
    lives({"amount": 1}, session="chat")
    assert "every turn of session chat has ended" in user.refused("runs", "cancel", "chat")
