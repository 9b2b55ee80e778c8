"""`plimsoll status` and `plimsoll circuit`: what a process reports of its dependencies, and what it is told."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from plimsoll import Harness, ModelReply, Run, local
from plimsoll.cli import main
from plimsoll.contract.loading import load_contract
from plimsoll.core.calls import Ending
from plimsoll.core.events import AttemptSettled
from plimsoll.journal.sqlite import SQLiteStore

CONTRACT = """
[agent]
name = "desk"
[journal]
path = "journal.db"
[models.primary]
fallback = ["backup"]
circuit_breaker = { min_calls = 2 }
bulkhead = { max_concurrent = 4, max_queue = 8 }
rate_limit = { calls_per_minute = 1, burst_s = 120 }
hedge = {}
[models.backup]
"""


async def agent(run: Run, request: Any) -> str:
    return (await run.model(request)).text


async def answers(prompt: Any) -> ModelReply:
    return ModelReply(text="yes")


async def breaks(prompt: Any) -> ModelReply:
    raise ConnectionResetError("gone")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "plimsoll.toml").write_text(CONTRACT)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def harness_in(folder: Path, primary: Any) -> Harness:
    contract = load_contract(folder / "plimsoll.toml")
    surroundings = local(contract, path=folder / "journal.db", sinks=())
    return Harness(contract, agent=agent, surroundings=surroundings, models={"primary": primary, "backup": answers})


def asked(*args: str) -> str:
    result = CliRunner().invoke(main, list(args), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def status() -> dict[str, Any]:
    told: dict[str, Any] = json.loads(asked("status", "--json"))
    return told


async def in_a_thread(*args: str) -> str:
    return await asyncio.to_thread(asked, *args)


def test_what_a_living_process_reports_is_shown_and_gone_with_it(folder: Path) -> None:
    async def main() -> tuple[dict[str, Any], str]:
        harness = harness_in(folder, breaks)
        for _ in range(3):
            assert (await harness.run("hi")).ending is Ending.DEGRADED
        told = json.loads(await in_a_thread("status", "--json"))
        shown = await in_a_thread("status")
        await harness.close()
        await harness.store.close()
        return told, shown

    told, shown = asyncio.run(main())
    (process,) = told["processes"]
    assert process["agent"] == "desk"
    (primary,) = [each for each in process["dependencies"] if each["name"] == "primary"]
    assert (primary["circuit"], primary["max_concurrent"], primary["under_way"]) == ("open", 4, 0)
    assert 0 < primary["retry_after_s"] <= 15
    assert 0 < primary["held_back_s"] <= 60
    assert "primary" in shown and "open for" in shown and "held back" in shown
    assert status()["processes"] == []
    assert "No process that lives has reported" in asked("status")


def test_an_isolated_dependency_is_not_asked_until_it_is_restored(folder: Path) -> None:
    async def main() -> list[Any]:
        harness = harness_in(folder, answers)
        endings = [(await harness.run("hi")).ending]
        said = await in_a_thread("circuit", "isolate", "primary", "--by", "ana", "--reason", "nonsense")
        assert "plimsoll circuit restore primary" in said
        endings.append((await harness.run("hi", run_id="isolated")).ending)
        told = json.loads(await in_a_thread("status", "--json"))
        (primary,) = [each for each in told["processes"][0]["dependencies"] if each["name"] == "primary"]
        assert (primary["circuit"], primary["retry_after_s"]) == ("isolated", None)
        assert "isolated" in await in_a_thread("status")
        assert "by ana: nonsense" in await in_a_thread("runs", "list")
        await in_a_thread("circuit", "restore", "primary", "--by", "bo")
        endings.append((await harness.run("hi")).ending)
        events = [record.event for record in await harness.store.read("isolated")]
        assert [event.fault for event in events if isinstance(event, AttemptSettled)] == ["circuit_open"]
        await harness.close()
        await harness.store.close()
        return endings

    assert asyncio.run(main()) == [Ending.COMPLETE, Ending.DEGRADED, Ending.COMPLETE]
    assert "was not isolated" in asked("circuit", "restore", "primary", "--by", "bo")
    log = asked("audit", "log")
    assert "circuit:desk:primary" in log and "ana" in log


def test_what_has_no_circuit_breaker_cannot_be_isolated(folder: Path) -> None:
    asyncio.run(SQLiteStore.open(folder / "journal.db").close())
    result = CliRunner().invoke(main, ["circuit", "isolate", "backup", "--by", "ana"])
    assert result.exit_code == 1
    assert "backup has no circuit_breaker in plimsoll.toml" in result.output
    assert "those of primary can" in result.output


def test_a_run_cannot_be_named_like_a_circuit(folder: Path) -> None:
    async def main() -> None:
        harness = harness_in(folder, answers)
        with pytest.raises(Exception, match="names a circuit"):
            await harness.run("hi", run_id="circuit:desk:primary")
        await harness.close()
        await harness.store.close()

    asyncio.run(main())


HANDED_OVER = """
[agent]
name = "desk"
[journal]
path = "journal.db"
[models.primary]
fallback = ["colleague"]
[models.colleague]
hand_over = ["ana"]
"""


def test_what_was_handed_over_is_listed_and_answered(folder: Path) -> None:
    (folder / "plimsoll.toml").write_text(HANDED_OVER)

    async def life(run_id: str) -> Any:
        harness = harness_in(folder, breaks)
        result = await harness.run("where is W1?", run_id=run_id)
        await harness.close()
        await harness.store.close()
        return result

    parked = asyncio.run(life("r"))
    assert parked.ending is Ending.PARKED
    shown = asked("approvals", "list")
    assert "To answer" in shown and "r.a1" in shown and "plimsoll approvals answer" in shown
    assert json.loads(asked("approvals", "list", "--json"))["approvals"][0]["answers"] is True

    empty = CliRunner().invoke(main, ["approvals", "approve", "r.a1", "--by", "ana"])
    assert (empty.exit_code, "wants an answer" in empty.output) == (1, True)
    asked("approvals", "answer", "r.a1", "It left Graz today.", "--by", "ana")
    answered = asyncio.run(life("r"))
    assert (answered.ending, answered.output) == (Ending.DEGRADED, "It left Graz today.")
    assert "Nothing waits for a person." in asked("approvals", "list")


def test_what_the_day_has_drawn_of_each_limit_is_shown(folder: Path) -> None:
    limited = CONTRACT.replace("[journal]", "[limits.day]\nusd = 40\nruns = 10\n[journal]").replace(
        "[models.backup]", "max_output_tokens = 1000\nusd_per_million_output_tokens = 1000.0\n[models.backup]"
    )
    (folder / "plimsoll.toml").write_text(limited)

    async def main() -> None:
        harness = harness_in(folder, answers)
        for _ in range(2):
            await harness.run("hi")
        told = json.loads(await in_a_thread("status", "--json"))["day"]
        assert told["agent"] == "desk"
        assert told["limits"]["runs"] == {"drawn": 2, "allowed": 10}
        assert 0 < told["limits"]["usd"]["drawn"] <= 3 and told["limits"]["usd"]["allowed"] == 40
        assert set(told["limits"]) == {"usd", "runs"}
        shown = " ".join((await in_a_thread("status")).split())
        assert "desk has spent, or set aside to spend: $2." in shown and "of $40.00, 2 of 10 runs." in shown
        await harness.close()
        assert json.loads(await in_a_thread("status", "--json"))["day"]["limits"]["usd"]["drawn"] < 0.5
        await harness.store.close()

    asyncio.run(main())


def test_without_limits_of_a_day_none_are_shown(folder: Path) -> None:
    async def main() -> None:
        harness = harness_in(folder, answers)
        await harness.run("hi")
        await harness.close()
        await harness.store.close()

    asyncio.run(main())
    assert status()["day"] is None
    assert "Today" not in asked("status")
