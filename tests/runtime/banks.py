"""A bank in a database of its own, a desk that pays from it, and processes that crash."""

import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plimsoll.contract.model import AgentSection, Contract, Limits, Tool
from plimsoll.core.calls import Effect
from plimsoll.core.clock import Clock
from plimsoll.runtime.current import current_call, current_connection
from plimsoll.runtime.databases.sqlite import SQLiteDatabase
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.tools import ToolSpec
from tests.runtime.lives import Lives


class TooMuch(ValueError):
    """The bank refuses."""


class Bank:
    """A SQLite file with an account, and what was paid from it. It survives every crash, and is the truth."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.begun = 0
        with sqlite3.connect(path) as connection:
            connection.execute("CREATE TABLE paid (to_whom TEXT, amount REAL, key TEXT)")
        connection.close()

    async def pay(self, to: str, amount: float) -> dict[str, Any]:
        return self.paying(to, amount)

    def pay_in_thread(self, to: str, amount: float) -> dict[str, Any]:
        return self.paying(to, amount)

    def paying(self, to: str, amount: float) -> dict[str, Any]:
        self.begun += 1
        info = current_call()
        assert info is not None
        current_connection().execute("INSERT INTO paid VALUES (?, ?, ?)", (to, amount, info.idempotency_key))
        if amount > 1000:
            raise TooMuch("at most 1000")
        return {"paid": amount}

    def rows(self, query: str = "SELECT to_whom, amount FROM paid") -> list[Any]:
        connection = sqlite3.connect(self.path)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()

    @property
    def payments(self) -> list[Any]:
        """What was really paid."""
        return self.rows()

    @property
    def marks(self) -> list[Any]:
        """The marks' results."""
        return [result for (result,) in self.rows("SELECT result FROM plimsoll_effects")]


async def agent(run: Run, request: dict[str, Any]) -> Any:
    """Pays, and says what came of it."""
    try:
        return await run.call("pay", request)
    except Exception as error:
        return f"not paid: {error}"


class Desk(Lives):
    """A bank, a journal, and as many lives of the agent's process as a test wants."""

    def __init__(self, directory: Path, *, intercept: Any = None, clock: Clock | None = None, **tool: Any) -> None:
        super().__init__(intercept=intercept, clock=clock)
        self.bank = Bank(directory / "bank.db")
        self.agent: Any = agent
        self.tools: Mapping[str, Any] = {"pay": self.bank.pay}
        self.database: Any = SQLiteDatabase(self.bank.path)
        settings = {"effect": Effect.TRANSACTION, "connection": "bank", "timeout_s": 5.0, **tool}
        self.contract = Contract(
            agent=AgentSection(name="payer"), limits=Limits(seconds=60.0), tools={"pay": Tool(**settings)}
        )

    def live(self, store: Any = None) -> Harness:
        """Begins a life of the process; those before it are dead."""
        return Harness(
            self.contract,
            agent=self.agent,
            surroundings=self.surroundings(store),
            tools=[ToolSpec(name, function) for name, function in self.tools.items()],
            connections={"bank": self.database},
            fingerprint="v1",
        )

    async def events(self, kind: type[Any], run_id: str = "r") -> list[Any]:
        return [record.event for record in await self.store.read(run_id) if isinstance(record.event, kind)]
