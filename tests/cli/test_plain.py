"""The command line goes on with an agent without a framework, and with its children: `[agent] harness` makes them."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from plimsoll import local
from plimsoll.cli.agents import load

from .conftest import User

CONTRACT = '[agent]\nname = "shop"\nharness = "shop.plain:make"\n'


@pytest.fixture
def owner(user: User) -> User:
    """A user whose service runs the agent that `shop.plain:make` makes."""
    user.contract.write_text(CONTRACT)
    return user


SERVE = """
import asyncio
from plimsoll import local
from shop import plain

async def serve():
    async with plain.make(local(plain.FRONT, sinks=())) as harness:
        await harness.run(20, run_id="r")

asyncio.run(serve())
"""


@contextmanager
def stuck(environment: dict[str, str]) -> Iterator[None]:
    """A process that has stopped in the middle of a payment of the run r's child."""
    process = subprocess.Popen([sys.executable, "-c", SERVE], env={**environment, "SHOP_STOPS": "1"})
    try:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)
        yield
    finally:
        process.kill()
        process.wait()


def asks(amount: float, *, run_id: str) -> Any:
    async def serve() -> Any:
        plain = load("shop.plain:make").__globals__
        surroundings = local(plain["FRONT"], sinks=())
        async with plain["make"](surroundings) as harness:
            result = await harness.run(amount, run_id=run_id)
        await surroundings.store.close()
        return result

    return asyncio.run(serve())


@pytest.mark.parametrize("make", ["make", "make_slowly"])
def test_it_goes_on_with_what_was_approved(owner: User, make: str) -> None:
    owner.edit("shop.plain:make", f"shop.plain:{make}")
    assert asks(80, run_id="r").reason == "child: r/1:billing"
    owner.ok("approvals", "approve", "r/1:billing.a1", "--by", "ana")
    results = owner.json("runs", "resume")["results"]
    assert [(each["run_id"], each["ending"]) for each in results] == [("r/1:billing", "complete"), ("r", "complete")]
    assert results[1]["output"] == "80 paid" and owner.paid == [80]


def test_what_its_child_did_is_taken_back(owner: User) -> None:
    assert asks(13, run_id="r").ending == "failed"
    assert "has done nothing that can be taken back" in owner.refused("runs", "compensate", "r", "--only")
    assert owner.ok("runs", "compensate", "r").startswith("r/1:billing/undo: complete")
    assert owner.paid == [13, -13]


def test_a_new_version_adopts_its_runs(owner: User) -> None:
    asks(80, run_id="r")
    code = owner.folder / "shop" / "plain.py"
    code.write_text(code.read_text().replace('raise RuntimeError("the customer is gone")', "raise RuntimeError()"))
    unload()
    assert "r: matches" in owner.ok("runs", "adopt", "r", "--by", "ana")


def unload() -> None:
    for name in [name for name in sys.modules if name.startswith("shop")]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("harness", "why"),
    [
        ("shop.plain:nothing", "shop.plain:nothing ([agent] harness) is no function"),
        ("shop.plain:make_nothing", "[agent] harness returned NoneType: return the Harness, or what `harden` returns"),
        ("shop.plain:make_another", "[agent] harness made one of agent 'billing', and this is the contract of 'shop'"),
        ("shop.plain:gone", "gone"),
    ],
)
def test_what_makes_no_harness_is_told_and_nothing_is_touched(owner: User, harness: str, why: str) -> None:
    asks(80, run_id="r")
    owner.ok("approvals", "approve", "r/1:billing.a1", "--by", "ana")
    before = owner.json("runs", "list")
    owner.edit("shop.plain:make", harness)
    assert why in owner.refused("runs", "resume")
    assert owner.json("runs", "list") == before and owner.paid == []


def test_a_function_alone_is_not_enough(owner: User) -> None:
    asks(80, run_id="r")
    owner.contract.write_text('[agent]\nname = "shop"\nentrypoint = "shop.plain:front"\n')
    assert 'in [agent] write `harness = "module:function"`' in owner.refused("runs", "resume")


def test_a_hardened_agent_may_be_made_so_too(user: User) -> None:
    user.asks("refund 120", run_id="t1")
    maker = Path("shop/making.py")
    maker.write_text(
        "from plimsoll import harden\n"
        "from shop.agent import agent, open_shop\n\n\n"
        "def make(surroundings):\n"
        '    return harden(agent, "plimsoll.toml", deps=open_shop, surroundings=surroundings)\n'
    )
    user.ok("approvals", "approve", "t1.a1", "--by", "ana")
    user.edit('deps = "shop.agent:open_shop"\n', 'harness = "shop.making:make"\n')
    (result,) = user.json("runs", "resume")["results"]
    assert result["reason"].startswith("version"), "the contract has changed"
    user.ok("runs", "adopt", "t1", "--by", "ana")
    (result,) = user.json("runs", "resume")["results"]
    assert result["reason"].startswith("approval")


def test_with_a_run_its_child_is_taken_from_a_process_that_is_stuck(owner: User, environment: dict[str, str]) -> None:
    with stuck(environment):
        said = owner.refused("runs", "resume", "r")
        assert "r is being advanced by" in said
        said = owner.ok("runs", "resume", "r", "--take-over")
        assert said.startswith("Taken over with it: its child r/1:billing\n") and "r: complete" in said
    assert owner.paid == [20.0, 20.0], "it is idempotent, and this ledger tells each sending"
