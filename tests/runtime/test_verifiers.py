"""What finds out whether a write happened: handed over, or named in the contract."""

import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import AgentSection, Contract, Tool
from plimsoll.core.calls import Effect, Ending, Happened
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Misuse
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings
from tests.runtime.bench import simulated

MODULE = "bank_of_verifiers"


@pytest.fixture
def bank(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with a module that verifies."""
    (tmp_path / f"{MODULE}.py").write_text(
        "from plimsoll import Happened\n\n\ndef verify_pay(args, key):\n    return Happened(args['order'])\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield tmp_path
    sys.modules.pop(MODULE, None)


async def pay(order: str) -> str:
    raise ConnectionResetError("the answer is lost")


async def agent(run: Run, request: Any) -> Any:
    return await run.call("pay", {"order": "W1"})


def desk(verify: str, **options: Any) -> Harness:
    tools = {"pay": Tool(effect=Effect.WRITE, timeout_s=5.0, verify=verify)}
    surroundings = Surroundings(
        store=MemoryStore(), owner="one", clock=LoopClock(), rng=seeded_rng(1), ids=SequentialIds(), sinks=()
    )
    contract = Contract(agent=AgentSection(name="desk"), tools=tools)
    return Harness(contract, agent=agent, surroundings=surroundings, tools=[pay], **options)


def test_a_verify_that_the_contract_names_is_asked(bank: Path) -> None:
    async def main() -> None:
        result = await desk(f"{MODULE}:verify_pay", directory=bank).run({}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "W1")

    simulated(main)


def test_a_verify_that_is_handed_over_goes_before_the_contracts_which_is_not_even_imported() -> None:
    def verify(args: Mapping[str, Any], key: str) -> Happened:
        return Happened("handed over")

    async def main() -> None:
        result = await desk("no.such:verify", verifiers={"pay": verify}).run({}, run_id="r")
        assert result.output == "handed over"

    simulated(main)


def test_a_verify_that_is_not_there_is_told_at_once_and_not_when_a_write_is_in_doubt(bank: Path) -> None:
    async def main() -> None:
        with pytest.raises(Misuse, match="no 'nope'"):
            desk(f"{MODULE}:nope", directory=bank)

    simulated(main)
