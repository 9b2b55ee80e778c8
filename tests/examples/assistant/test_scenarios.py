"""Each scenario, played without faults by the bare agent: its goal can be reached, and means something."""

import asyncio

import pytest
from pydantic_ai.messages import ModelMessagesTypeAdapter, ToolCallPart

from examples.assistant.naive import handle, naive_agent
from examples.assistant.scenarios import scenarios
from examples.assistant.world import ShopWorld
from plimsoll.gate.scenario import EffectRow, Scenario
from tests.examples.assistant.playing import by_the_rules, claimed, play

BY_NAME = {scenario.name: scenario for scenario in scenarios}
# What the naive assistant pays although a person, or a rule, says no.
UNPROTECTED = {"refund_denied", "refund_too_large"}

each = pytest.mark.parametrize("scenario", scenarios, ids=lambda scenario: scenario.name)


def test_there_are_enough_and_each_has_its_own_name() -> None:
    assert len(BY_NAME) == len(scenarios) >= 12
    assert all(scenario.about for scenario in scenarios)


@each
def test_the_goal_is_reached(scenario: Scenario) -> None:
    with ShopWorld.seeded() as world:
        model = scenario.models(world)["primary"]
        result = play(scenario.input, world, model=model, answer=by_the_rules(scenario))
        assert scenario.goal(world, result.output) is None
        assert claimed(result.output, done=[row.tool for row in world.effects()]) == []


@each
def test_the_backup_reaches_the_goal_under_its_own_name(scenario: Scenario) -> None:
    with ShopWorld.seeded() as world:
        models = scenario.models(world)
        result = play(scenario.input, world, model=models["backup"], answer=by_the_rules(scenario))
        assert scenario.goal(world, result.output) is None
        assert models["primary"].model_name == "stand-in"
        assert result.response.model_name == "stand-in-backup"


@each
def test_silence_and_apologies_reach_no_goal(scenario: Scenario) -> None:
    with ShopWorld.seeded() as world:
        for nothing in (None, "", "Sorry, something went wrong. Please try again later."):
            assert scenario.goal(world, nothing) is not None


@each
def test_a_doubled_effect_reaches_no_goal(scenario: Scenario) -> None:
    class Doubled(ShopWorld):
        def effects(self) -> list[EffectRow]:
            return [row for row in super().effects() for _ in range(2)]

    with Doubled.seeded() as world:
        output = play(scenario.input, world, model=None, answer=by_the_rules(scenario)).output
        reached = scenario.goal(world, output) is None
        assert reached == (not world.effects())


@each
def test_a_world_is_fresh_each_time(scenario: Scenario) -> None:
    first, second = scenario.world(), scenario.world()
    assert first is not second
    assert isinstance(first, ShopWorld)
    assert list(first.effects()) == list(second.effects()) == []
    first.close()
    assert isinstance(second, ShopWorld)
    second.close()


@each
def test_the_naive_assistant_works_in_the_demo(scenario: Scenario) -> None:
    with ShopWorld.seeded() as world:
        with naive_agent.override(model=scenario.models(world)["primary"]):
            output = asyncio.run(handle(scenario.input, world))
        missing = scenario.goal(world, output)
        assert (missing is not None) == (scenario.name in UNPROTECTED)


@each
def test_two_runs_of_a_scenario_are_the_same(scenario: Scenario) -> None:
    volatile = {"timestamp", "run_id", "conversation_id"}

    def scrubbed(value: object) -> object:
        if isinstance(value, dict):
            return {name: scrubbed(item) for name, item in value.items() if name not in volatile}
        return [scrubbed(item) for item in value] if isinstance(value, list) else value

    def messages() -> object:
        with ShopWorld.seeded() as world:
            result = play(scenario.input, world, model=scenario.models(world)["primary"], answer=by_the_rules(scenario))
            return scrubbed(ModelMessagesTypeAdapter.dump_python(result.all_messages(), mode="json"))

    assert messages() == messages()


def test_effects_show_tool_arguments_and_key() -> None:
    with ShopWorld.seeded() as world:
        world.cancel_pending_order("#W7001005", reason="no longer needed", key="k1")
        row = EffectRow("cancel_pending_order", {"order_id": "#W7001005", "reason": "no longer needed"}, "k1")
        assert world.effects() == [row]


@pytest.mark.parametrize("name", ["parallel_reads", "small_refund", "exchange_item"])
def test_some_scenarios_read_two_things_in_one_go(name: str) -> None:
    scenario = BY_NAME[name]
    with ShopWorld.seeded() as world:
        messages = play(scenario.input, world).all_messages()
        calls = [sum(isinstance(part, ToolCallPart) for part in message.parts) for message in messages]
        assert max(calls) == 2
