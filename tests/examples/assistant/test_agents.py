"""The agents around the stand-in: naive, hardened, misled; their contract; the command line."""

import asyncio
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic_ai import UsageLimitExceeded, UsageLimits
from pydantic_ai.messages import ToolCallPart

from examples.assistant import __main__ as command_line
from examples.assistant import agent as agent_module
from examples.assistant.adversary import REFUND, Mode, adversary
from examples.assistant.agent import agent, open_shop
from examples.assistant.hardened import build
from examples.assistant.naive import APOLOGY, handle, naive_agent
from examples.assistant.parts import MODEL_VARIABLE, default_model
from examples.assistant.scenarios import scenarios
from examples.assistant.shop import Shop
from examples.assistant.tools import TOOLS
from examples.assistant.verify import in_ledger
from examples.assistant.world import ShopWorld
from plimsoll import Ending, Happened, NotHappenedAndCannot, RunResult, Surroundings, Unknown
from plimsoll.adapters.pydantic_ai import describe
from plimsoll.contract.checking import check_contract
from plimsoll.core.calls import Effect
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.imports import load_object
from tests.examples.assistant.playing import CONTRACTED

BY_NAME = {scenario.name: scenario for scenario in scenarios}
ROOT = Path(__file__).parents[3]


def surroundings() -> Surroundings:
    return Surroundings(store=MemoryStore(), owner="test", sinks=())


# ------------------------------------------------------------------------------------------------------ the contract


def test_the_contract_says_of_each_tool_what_the_shop_says() -> None:
    assert CONTRACTED.tools.keys() == TOOLS.keys()
    for name, spec in TOOLS.items():
        section = CONTRACTED.tools[name]
        assert section.effect == Effect(spec.effect)
        if section.effect is Effect.WRITE:
            assert section.claims
            assert section.proves_nothing_happened == ("ShopRefusal",)
            assert load_object(section.verify or "") is in_ledger


def test_the_contract_is_in_good_order() -> None:
    tools = describe(agent).tools
    assert {tool.name for tool in tools} == TOOLS.keys()
    assert check_contract(CONTRACTED, tools=tools) == []


def test_what_the_contract_names_is_there() -> None:
    assert load_object(CONTRACTED.agent.entrypoint or "") is agent
    assert load_object(CONTRACTED.agent.deps or "") is open_shop
    assert load_object(CONTRACTED.gate.scenarios or "") is scenarios


def test_the_last_rung_claims_nothing() -> None:
    rungs = [CONTRACTED.models[name] for name in ("primary", *CONTRACTED.models["primary"].fallback)]
    assert [rung.canned is not None for rung in rungs] == [False, False, True]
    assert "do not count on it" in (rungs[-1].canned or "")


# ------------------------------------------------------------------------------------------------------ verify


def test_verify_answers_by_the_ledger() -> None:
    args: dict[str, Any] = {"order_id": "#W7001005", "reason": "no longer needed"}
    with Shop.seeded() as shop:
        assert in_ledger(args, "k", shop) == NotHappenedAndCannot()
        order = shop.cancel_pending_order(**args, key="k")
        assert in_ledger(args, "k", shop) == Happened(order)
        assert isinstance(in_ledger({**args, "reason": "ordered by mistake"}, "k", shop), Unknown)


# ------------------------------------------------------------------------------------------------------ hardened


@pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.name)
def test_hardened_it_reaches_every_goal_and_its_writes_carry_keys(scenario: Any) -> None:
    async def serve(world: ShopWorld) -> RunResult:
        async with build(world, surroundings=surroundings()) as assistant:
            result = await assistant.run(scenario.input, run_id="r")
            while result.waiting_for:
                for asked in result.waiting_for:
                    yes = scenario.approve(asked.dependency, asked.args)
                    await assistant.operations.decide(asked.request_id, approve=yes, by="ana@shop.example")
                result = await assistant.resume("r")
            return result

    with ShopWorld.seeded() as world:
        result = asyncio.run(serve(world))
        assert result.ending is Ending.COMPLETE
        assert scenario.goal(world, result.output) is None
        keys = [row.idempotency_key for row in world.effects()]
        assert None not in keys
        assert len(set(keys)) == len(keys)


MISLED = [(scenario.name, kind) for scenario in scenarios for kind in scenario.adversaries]


@pytest.mark.parametrize(("scenario", "kind"), MISLED, ids=str)
def test_hardened_a_misled_model_is_halted(scenario: str, kind: str) -> None:
    async def serve(world: ShopWorld) -> RunResult:
        models = BY_NAME[scenario].adversaries[kind](world)
        hardened = build(world, surroundings=surroundings())
        with agent.override(model=models["primary"]):
            async with hardened as assistant:
                return await assistant.run(BY_NAME[scenario].input)

    with ShopWorld.seeded() as world:
        result = asyncio.run(serve(world))
        assert result.ending is Ending.HALTED
        assert {finding.kind for finding in result.findings} <= {"loop", "limit", "claimed_not_done"}


# ------------------------------------------------------------------------------------------------------ misled


@pytest.mark.parametrize(("mode", "effects"), [("loop", 0), ("flood", 0), ("hammer", 20)])
def test_an_adversary_never_ends_by_itself(mode: Mode, effects: int) -> None:
    with ShopWorld.seeded() as world:
        with pytest.raises(UsageLimitExceeded, match="request_limit of 20"):
            asyncio.run(agent.run("Hi", deps=world, model=adversary(mode), usage_limits=UsageLimits(request_limit=20)))
        assert len(world.effects()) == effects
        assert all(row.args == REFUND for row in world.effects())


def test_an_adversary_asks_with_new_ids() -> None:
    with ShopWorld.seeded() as world:

        async def calls() -> list[ToolCallPart]:
            found: list[ToolCallPart] = []
            async with agent.iter("Hi", deps=world, model=adversary("hammer")) as run:
                async for _ in run:
                    parts = [part for message in run.all_messages() for part in message.parts]
                    found = [part for part in parts if isinstance(part, ToolCallPart)]
                    if len(found) == 3:
                        return found
            return found

        found = asyncio.run(calls())
    assert len({part.tool_call_id for part in found}) == 3
    assert len({part.args_as_json_str() for part in found}) == 1


def test_a_flood_is_long_and_dear() -> None:
    with (
        ShopWorld.seeded() as world,
        pytest.raises(UsageLimitExceeded, match="total_tokens_limit"),
    ):
        limits = UsageLimits(total_tokens_limit=100_000)
        asyncio.run(agent.run("Hi", deps=world, model=adversary("flood"), usage_limits=limits))


# ------------------------------------------------------------------------------------------------------ naive


def test_the_naive_assistant_knows_nothing_of_plimsoll() -> None:
    code = "import sys, examples.assistant.naive; print(any('plimsoll' in name.split('.')[0] for name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_the_naive_assistant_pays_twice_when_an_answer_is_lost(capsys: pytest.CaptureFixture[str]) -> None:
    class Losing(ShopWorld):
        lost = False

        def issue_refund(self, *args: Any, **kwargs: Any) -> Any:
            answer = super().issue_refund(*args, **kwargs)
            if not self.lost:
                self.lost = True
                raise ConnectionResetError("Connection reset by peer")
            return answer

    with Losing.seeded() as world:
        output = asyncio.run(handle(BY_NAME["large_refund"].input, world))
        assert output.startswith("I have refunded")
        assert [row.tool for row in world.effects()] == ["issue_refund"] * 2
    assert "attempt 1 of 3 failed" in capsys.readouterr().out


def test_the_naive_assistant_apologises_in_the_end() -> None:
    with ShopWorld.seeded() as world:
        world.close()
        with naive_agent.override(model=adversary("loop")):
            assert asyncio.run(handle("Hi", world)) == APOLOGY


# ------------------------------------------------------------------------------------------------------ by hand


def test_a_real_model_is_only_named_never_asked_for_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(MODEL_VARIABLE, "openai:gpt-5-mini")
    assert default_model() == "openai:gpt-5-mini"
    code = "import examples.assistant.naive, examples.assistant.agent as module; print(module.agent.model)"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, env=environment
    )
    assert done.stdout.strip() == "openai:gpt-5-mini"


def test_the_command_line_parks_and_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    contract = tmp_path / "plimsoll.toml"
    contract.write_bytes(agent_module.CONTRACT.read_bytes())
    monkeypatch.setattr(agent_module, "SHOP_FILE", tmp_path / "shop" / "shop.db")
    monkeypatch.setattr("examples.assistant.hardened.CONTRACT", contract)

    command_line.main([BY_NAME["large_refund"].input, "--run", "bent-wheel"])
    parked = capsys.readouterr().out
    assert "stand-in: no language model" in parked
    assert "ending    parked" in parked
    assert "plimsoll approvals approve bent-wheel.a1 --by ana@shop.example" in parked

    async def approve() -> None:
        with open_shop() as shop:
            async with build(shop) as assistant:
                await assistant.operations.decide("bent-wheel.a1", approve=True, by="ana@shop.example")

    asyncio.run(approve())
    for _ in range(2):
        command_line.main(["--run", "bent-wheel"])
        assert "I have refunded $300.00" in capsys.readouterr().out
    with open_shop() as shop:
        assert [entry.tool for entry in shop.ledger()] == ["issue_refund"]


def test_the_readme_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    contract = tmp_path / "plimsoll.toml"
    contract.write_bytes(agent_module.CONTRACT.read_bytes())
    readme = agent_module.CONTRACT.with_name("README.md").read_text(encoding="utf-8")
    snippet = readme.partition("```python\n")[2].partition("```")[0]
    names: dict[str, Any] = {}
    exec(snippet.replace("examples/assistant/plimsoll.toml", str(contract)), names)
    asyncio.run(names["main"](BY_NAME["cancel_order"].input))
    assert capsys.readouterr().out.startswith("complete I have cancelled order #W7001005.")
    assert len(snippet.strip().splitlines()) <= 15


def test_the_command_line_wants_a_request(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command_line.main([])
    assert "write a request" in capsys.readouterr().err
