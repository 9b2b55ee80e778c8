"""How fast the gate tries: trials per second and core, without a framework and with Pydantic AI, and whose time it is.

A trial is a fresh world, a fresh process under its contract, virtual time, and the oracles' judgement. Without a
framework: an agent of 10 calls (5 models, 4 reads, 1 write). With Pydantic AI: healthy trials of the
assistant's scenarios, those that ask a person or are refused aside, since bare they would take another way. Plimsoll's
own share is what a trial takes beyond the same conversation run by Pydantic AI alone.

    python -m benchmarks.gate [--quick] [--json] [--save]
"""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from benchmarks.common import cpu_s, cpu_s_once, finish, parser, table
from examples.assistant.agent import CONTRACT, agent
from examples.assistant.scenarios import scenarios
from plimsoll import harden, load_contract
from plimsoll.adapters.pydantic_ai import hardened_subject
from plimsoll.contract.model import AgentSection, Contract, Model, Retry, Tool
from plimsoll.core.calls import Effect, Fault, Happened, NotHappenedAndCannot, Usage
from plimsoll.gate import EffectRow, Scenario
from plimsoll.gate.healthy import stage_of
from plimsoll.gate.plain import plain_subject
from plimsoll.gate.simulator import many_simulations
from plimsoll.gate.trial import Plan, try_plan
from plimsoll.gate.verdict import Injection
from plimsoll.runtime.current import current_call
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run

READS = 4
USAGE = Usage(input_tokens=200, output_tokens=40)


@dataclass
class Bank:
    """A world with one effect in it."""

    paid: list[EffectRow] = field(default_factory=list)

    def effects(self) -> Sequence[EffectRow]:
        return self.paid


async def ten_calls(run: Run, order: Any) -> str:
    """Five model calls, four reads, one write."""
    for number in range(READS):
        await run.model({"step": number})
        await run.call("find_order", {"order": f"{order}-{number}"})
    await run.call("refund", {"order": order, "amount": 20})
    return (await run.model({"step": "done"})).text


async def stand_in(prompt: Any) -> ModelReply:
    return ModelReply(text=f"step {prompt['step']}", usage=USAGE)


def tools(bank: Bank) -> list[Callable[..., Any]]:
    async def find_order(order: str) -> dict[str, Any]:
        return {"order": order, "total": 20, "status": "delivered", "items": ["kettle", "lamp"]}

    async def refund(order: str, amount: int) -> dict[str, Any]:
        call = current_call()
        bank.paid.append(EffectRow("refund", {"order": order, "amount": amount}, call and call.idempotency_key))
        return {"refunded": amount}

    return [find_order, refund]


def verifiers(bank: Bank) -> Mapping[str, Any]:
    def look(args: Mapping[str, Any], key: str) -> Any:
        done = [row for row in bank.paid if row.idempotency_key == key]
        return Happened({"refunded": args["amount"]}) if done else NotHappenedAndCannot()

    return {"refund": look}


def plain_stage() -> Any:
    retry = Retry(on=(Fault.TIMEOUT, Fault.CONNECTION, Fault.SERVER_ERROR, Fault.RATE_LIMITED))
    contract = Contract(
        agent=AgentSection(name="refunds"),
        models={"primary": Model(fallback=("backup",), retry=retry), "backup": Model()},
        tools={
            "find_order": Tool(effect=Effect.READ, retry=retry),
            "refund": Tool(effect=Effect.WRITE, verify="benchmarks.gate:verifiers"),
        },
    )
    scenario = Scenario(
        name="refund",
        input="W1",
        world=Bank,
        models=lambda world: {"primary": stand_in, "backup": stand_in},
        goal=lambda world, output: None if len(world.effects()) == 1 else "not one refund",
    )
    stage, _ = stage_of(
        plain_subject(ten_calls, contract, tools=tools, verifiers=verifiers), scenario, promised=contract, seed=1
    )
    return stage


def framework_free(times: int) -> tuple[float, float]:
    """CPU seconds of a healthy trial, and of one in which the refund's answer is lost."""
    stage = plain_stage()
    lost = (
        Injection(kind="response_lost", site=next(name for name in stage.baseline.sites if name.startswith("refund"))),
    )
    assert try_plan(stage, Plan(seed=1)).trial.passed
    assert try_plan(stage, Plan(seed=1, injections=lost)).trial.passed
    return (
        cpu_s(lambda: try_plan(stage, Plan(seed=1)), times=times),
        cpu_s(lambda: try_plan(stage, Plan(seed=1, injections=lost)), times=times),
    )


def with_pydantic_ai(times: int) -> tuple[float, float]:
    """CPU seconds of a trial of the assistant, and of the same conversations run by Pydantic AI alone."""
    contract = load_contract(CONTRACT)
    subject = hardened_subject(harden(agent, contract))
    quiet = [
        scenario for scenario in scenarios if scenario.name not in ("large_refund", "refund_denied", "refund_too_large")
    ]
    stages = [stage_of(subject, scenario, promised=contract, seed=1)[0] for scenario in quiet]
    loop = asyncio.new_event_loop()

    def trials() -> None:
        for stage in stages:
            try_plan(stage, Plan(seed=1))

    def alone() -> None:
        for scenario in quiet:
            with scenario.world() as world:  # type: ignore[attr-defined]
                model = scenario.models(world)["primary"]
                loop.run_until_complete(agent.run(scenario.input, deps=world, model=model))

    trials(), alone()
    pairs = [(cpu_s_once(trials, times), cpu_s_once(alone, times)) for _ in range(5)]
    loop.close()
    return median(one for one, _ in pairs) / len(quiet), median(other for _, other in pairs) / len(quiet)


def main() -> int:
    args = parser(__doc__ or "").parse_args()
    with many_simulations():  # as a worker of the gate does
        healthy_s, lost_s = framework_free(times=60 if args.quick else 400)
        trial_s, alone_s = with_pydantic_ai(times=1 if args.quick else 4)
    result = {
        "framework_free_trials_per_s": round(1 / healthy_s),
        "framework_free_faulted_trials_per_s": round(1 / lost_s),
        "pydantic_ai_trials_per_s": round(1 / trial_s, 1),
        "pydantic_ai_alone_runs_per_s": round(1 / alone_s, 1),
        "own_share": round(1 - alone_s / trial_s, 3),
    }
    table(
        "Trials per second and core (CPU time)",
        [
            ("", "CPU ms", "per second"),
            ("without a framework, 10 calls", f"{healthy_s * 1e3:.2f}", f"{1 / healthy_s:,.0f}"),
            ("the same, an answer lost", f"{lost_s * 1e3:.2f}", f"{1 / lost_s:,.0f}"),
            ("with Pydantic AI, the assistant", f"{trial_s * 1e3:.1f}", f"{1 / trial_s:,.1f}"),
            ("Pydantic AI alone, no gate", f"{alone_s * 1e3:.1f}", f"{1 / alone_s:,.1f}"),
        ],
    )
    print(f"Plimsoll's own share of a trial with Pydantic AI: {result['own_share']:.0%}")
    finish("gate", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
