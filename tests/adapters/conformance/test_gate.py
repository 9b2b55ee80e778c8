"""The gate tries an agent of any framework: as it was written first it is blocked, hardened it ships."""

from collections.abc import Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.contract.model import GateSection
from plimsoll.core.calls import CallInfo, Fault
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.subject import Subject
from plimsoll.gate.verdict import Decision
from plimsoll.runtime.exchange import Exchange, Send
from tests.adapters.conformance.desk import Answer, Bench, Desk, Heard, Script, Shop, call, contract, simulated


def think(heard: Heard) -> Answer:
    """Looks the order up, pays back what it cost, and says what was done; or admits what was not."""
    results = dict(heard.results)
    if any("failed" in text or "not carried out" in text or "rror" in text for text in results.values()):
        return Answer("I am sorry, I could not do this. A colleague will call you.")
    order_id = heard.asked.split()[1]
    if "find_order" not in results:
        return Answer(calls=[call("find_order", order_id=order_id)])
    if "refund" not in results:
        return Answer(calls=[call("refund", order_id=order_id, amount=80 if order_id == "W1" else 20)])
    return Answer(f"{order_id} has been refunded.")


def looping(heard: Heard) -> Answer:
    return Answer(calls=[call("find_order", f"c{heard.turn}", order_id="W1")])


def flooding(heard: Heard) -> Answer:
    words = f"chapter {heard.turn} " + "and so on " * 1600
    return Answer(words, calls=[call("find_order", f"c{heard.turn}", order_id=words)], tokens=(30_000, 4096))


def lying(heard: Heard) -> Answer:
    return Answer("The order has been refunded.")


def goal(world: Any, output: Any) -> str | None:
    return None if len(world.effects()) == 1 else f"there are {len(world.effects())} refunds"


def scenario(bench: Bench, order_id: str = "W1") -> Scenario:
    def models(behaviour: Any) -> Any:
        def made(world: Any) -> Mapping[str, Any]:
            return {name: bench.model(Script(behaviour)) for name in ("primary", "backup")}

        return made

    return Scenario(
        name=f"refund-{order_id}",
        input=f"refund {order_id}",
        world=Shop,
        models=models(think),
        goal=goal,
        adversaries={"loop": models(looping), "token_flood": models(flooding), "false_claim": models(lying)},
    )


def verify(args: Mapping[str, Any], key: str, deps: Shop) -> Any:
    return deps.verify(args, key)


def hardened(bench: Bench) -> Subject:
    promised = replace(contract(), gate=GateSection(storms=10, storm_target=0.5, accepts=("low_confidence",)))
    agent = bench.adapter.harden(
        bench.agent(),
        promised,
        verifiers={"refund": verify},
        models={"backup": bench.model(Script(think))},
        fingerprint="v1",
    )
    subject: Subject = bench.adapter.hardened_subject(agent)
    return subject


def bare(bench: Bench) -> Subject:
    promised = replace(contract(), gate=GateSection(storms=10, storm_target=0.5, accepts=("low_confidence",)))

    async def naive(request: Any, deps: Any) -> Any:
        return await bench.naive(request, deps=deps)

    subject: Subject = bench.adapter.bare_subject(naive, promised, agent=bench.agent())
    return subject


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_the_hardened_agent_ships(bench: Bench) -> None:
    verdict = run_campaign(hardened(bench), [scenario(bench)], workers=1)
    failures = [(failure.where, failure.story) for failure in getattr(verdict, "failures", ())][:3]
    assert verdict.failing_trials == 0, failures
    held = {claim.name for claim in verdict.claims if claim.held}
    assert held == {claim.name for claim in verdict.claims}, verdict.reasons
    assert verdict.decision is Decision.SHIP, verdict.reasons


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_the_agent_as_it_was_written_first_is_blocked(bench: Bench) -> None:
    verdict = run_campaign(bare(bench), [scenario(bench)], workers=1)
    assert verdict.decision is Decision.BLOCK, verdict.reasons
    assert verdict.failing_trials > 0


def test_a_bare_agent_pays_twice_where_a_hardened_one_does_not(bench: Bench) -> None:
    async def main() -> None:
        for subject, paid in ((bare(bench), 2), (hardened(bench), 1)):
            struck: list[str] = []

            async def lose(
                site: str, info: CallInfo, exchange: Exchange, send: Send, subject: Any = subject, struck: Any = struck
            ) -> Any:
                answer = await send()
                if site == "refund" and not struck:
                    struck.append(site)
                    return subject.forger.forge(Fault.CONNECTION, exchange, answer)
                return answer

            shop = Shop()
            desk = Desk(bench, Script("unused"), intercept=lose)
            models = scenario(bench).models(shop)
            process = subject.live(desk.surroundings(), models, shop)
            await process.run("refund W2", run_id="r")
            assert len(shop.ledger) == paid, subject.name
            await process.close()

    simulated(main)


def test_the_forger_shows_what_the_framework_would(bench: Bench) -> None:
    """Each fault that a model can show is found by the very checks of the adapter."""

    async def main() -> None:
        subject = hardened(bench)
        shown: dict[Fault, str] = {}
        unknown: set[Fault] = set()
        for fault in Fault:

            async def strike(site: str, info: CallInfo, exchange: Exchange, send: Send, fault: Any = fault) -> Any:
                if site != "primary":
                    return await send()
                answer = await send()
                try:
                    return subject.forger.forge(fault, exchange, answer)
                except LookupError:
                    unknown.add(fault)
                    return answer

            shop = Shop()
            desk = Desk(bench, Script("unused"), intercept=strike)
            process = subject.live(desk.surroundings(), scenario(bench).models(shop), shop)
            await process.run("refund W2", run_id="r")
            await process.close()
            if fault not in unknown:
                shown[fault] = next(str(found) for _, at, found in desk.kinds() if at == "primary")
        assert shown == {fault: str(fault) for fault in shown}
        assert {Fault.EMPTY, Fault.TRUNCATED, Fault.RATE_LIMITED, Fault.MALFORMED, Fault.CONNECTION} <= shown.keys()

    simulated(main)


@pytest.mark.parametrize("missing", ["primary", "backup"])
def test_a_scenario_without_a_stand_in_never_asks_a_real_model(bench: Bench, missing: str) -> None:
    desk = Desk(bench, Script("unused"))
    models = {name: model for name, model in scenario(bench).models(desk.shop).items() if name != missing}
    with pytest.raises(Exception, match=f"the scenario gives no .* for models.{missing}"):
        hardened(bench).live(desk.surroundings(), models, desk.shop)
