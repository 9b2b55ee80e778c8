"""A tool whose effect is a transaction, before the gate: it ships with its marks, and without them it does not."""

import json
import os
import sqlite3
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import Contract
from plimsoll.core.calls import Effect
from plimsoll.core.errors import Misuse
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.healthy import stage_of
from plimsoll.gate.plain import plain_subject
from plimsoll.gate.scenario import EffectRow, Scenario
from plimsoll.gate.subject import Subject
from plimsoll.gate.trial import Plan, Played, try_plan
from plimsoll.gate.verdict import Decision, Injection, Reach
from plimsoll.runtime.current import current_call, current_connection
from plimsoll.runtime.databases.database import Found, Mark
from plimsoll.runtime.databases.sqlite import HandedConnection, SQLiteDatabase, SQLiteSession
from tests.gate.sample import RETRY, agent, contract, scenario, with_tool


def quick(connection: sqlite3.Connection) -> None:
    """A trial's disk need not outlive the trial."""
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("PRAGMA journal_mode = MEMORY")


class Bank:
    """The world: orders, and a database that holds what was done."""

    def __init__(self, folder: Path) -> None:
        self.orders = {"W1": {"id": "W1", "amount": 80}}
        file, name = tempfile.mkstemp(dir=folder)
        os.close(file)
        self.path = Path(name)
        self._connection = sqlite3.connect(
            self.path, isolation_level=None, check_same_thread=False
        )  # closed where it is collected
        quick(self._connection)
        self._connection.execute("CREATE TABLE ledger (tool TEXT, args TEXT, key TEXT)")

    def __del__(self) -> None:
        self._connection.close()

    def effects(self) -> Sequence[EffectRow]:
        rows = self._connection.execute("SELECT tool, args, key FROM ledger ORDER BY rowid").fetchall()
        return [EffectRow(tool, json.loads(args), key) for tool, args, key in rows]


def bank_tools(world: Bank) -> list[Any]:
    def done(tool: str, **args: Any) -> dict[str, Any]:
        info = current_call()
        assert info is not None
        row = (tool, json.dumps(args), info.idempotency_key)
        current_connection().execute("INSERT INTO ledger VALUES (?, ?, ?)", row)
        return {"done": tool}

    async def find_order(order_id: str) -> dict[str, Any]:
        return dict(world.orders[order_id])

    def refund(order_id: str, amount: int) -> dict[str, Any]:
        return done("refund", order_id=order_id, amount=amount)

    async def tell_customer(text: str) -> dict[str, Any]:
        return done("tell_customer", text=text)

    return [find_order, refund, tell_customer]


def banking() -> Contract:
    promised = contract()
    for name in ("refund", "tell_customer"):
        changes = {"effect": Effect.TRANSACTION, "connection": "bank", "verify": None, "retry": RETRY}
        promised = with_tool(promised, name, **changes)
    return promised


class Unmarked(SQLiteDatabase):
    """A mutant: its transactions commit, and leave no mark."""

    def session(self, *, in_thread: bool, wait_s: float) -> "UnmarkedSession":
        return UnmarkedSession(lambda: self._connect(wait_s))


class UnmarkedSession(SQLiteSession):
    def _hold(self, mark: Mark) -> Found | None:
        self.connection = self._connect()
        self.connection.execute("BEGIN IMMEDIATE")
        return None

    def _commit(self, result: str | None) -> None:
        assert isinstance(self.connection, HandedConnection)
        self.connection.execute("COMMIT")


def subject(database: Callable[..., SQLiteDatabase] = SQLiteDatabase) -> Subject:
    return plain_subject(
        agent,
        banking(),
        tools=bank_tools,
        connections=lambda world: {"bank": database(world.path, prepare=quick)},
        fingerprint="bank",
    )


@pytest.fixture
def request_of(tmp_path: Path) -> Scenario:
    return scenario("W1", world=lambda: Bank(tmp_path))


def play(of: Scenario, under: Subject, kind: str, site: str) -> Played:
    stage, _ = stage_of(subject(), of, promised=banking(), seed=1)
    assert stage.baseline is not None and "refund.commit@4:refund" in stage.baseline.sites
    return try_plan(replace(stage, subject=under), Plan(injections=(Injection(kind=kind, site=site),), seed=5))


AFTER = ("crash_after_call", "response_lost")
FAULTS = [
    ("crash_before_call", "refund.commit@4:refund"),
    ("crash_after_call", "refund.commit@4:refund"),
    ("connection_reset", "refund.commit@4:refund"),
    ("response_lost", "refund.commit@4:refund"),
    ("response_lost", "refund@4:refund"),
    ("crash_after_call", "refund@4:refund"),
]


@pytest.mark.parametrize(("kind", "site"), FAULTS)
def test_a_fault_around_the_commit_is_survived(request_of: Scenario, kind: str, site: str) -> None:
    trial = play(request_of, subject(), kind, site).trial
    assert trial.fired and trial.passed and trial.reach is Reach.REACHED, trial.violations


@pytest.mark.parametrize(
    ("kind", "site"), [each for each in FAULTS if each[0] in ("crash_after_call", "response_lost")]
)
def test_without_marks_it_happens_twice(request_of: Scenario, kind: str, site: str) -> None:
    trial = play(request_of, subject(Unmarked), kind, site).trial
    assert ("exactly_once", "effect_doubled") in {(each.claim, each.code) for each in trial.violations}


def test_it_ships_with_its_marks_and_not_without(request_of: Scenario) -> None:
    ship = run_campaign(subject(), [request_of], storm_count=100, workers=2)
    assert ship.decision is Decision.SHIP, (ship.reasons, ship.failures)
    cells = {(cell.kind, cell.group): cell for cell in ship.cells}
    for kind in ("crash_before_call", "crash_after_call", "connection_reset", "response_lost"):
        cell = cells[kind, "refund.commit"]
        assert cell.reached == cell.tried > 0, cell
    block = run_campaign(subject(Unmarked), [request_of], storm_count=0, workers=2)
    assert block.decision is Decision.BLOCK
    assert "exactly_once" in {claim.name for claim in block.claims if not claim.held}


def test_a_world_without_a_database_is_refused_and_the_real_one_is_not_touched(request_of: Scenario) -> None:
    without = plain_subject(agent, banking(), tools=bank_tools, fingerprint="bank")
    with pytest.raises(Misuse, match="its world brings no database"):
        run_campaign(without, [request_of], storm_count=0, workers=1)
