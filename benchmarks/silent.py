"""Silent failures: how many are caught in agents of each framework, bare and hardened, and at what false alarms.

The same shop assistant in each framework, with a scripted model and real tools, in virtual time. Each silent failure
(`benchmarks/silent_failures.py`) is played twice: against the agent as people write it first, around which an exception
is caught, and against the hardened one. It counts as caught where the user was not handed the failure, or what rests on
it, as an answer, and, of the hardened agent, where a finding names it. Then a thousand different healthy answers
(`benchmarks/healthy_answers.py`), at once, after a tool, and after a refund: where an alarm is raised, or the answer
does not arrive as it is, that is a false alarm.

    python -m benchmarks.silent --data DIR [--quick] [--json] [--save]

DIR holds `clinc150/` and `retail/`. The frameworks are those of Plimsoll's extras, as they are installed.
"""

import sys
from collections import Counter
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.common import finish, parser, table, track
from benchmarks.healthy_answers import CLAIMING, healthy_answers
from benchmarks.silent_failures import MAX_AGE_S, RUNAWAY, Case, Serving, cases, fresh_order
from plimsoll.contract.model import Fresh, Limits, OutputRule
from plimsoll.core.calls import Ending
from plimsoll.gate.simulator import many_simulations
from tests.adapters.conformance.desk import Bench, Desk, Script, Shop, call, contract, simulated

SEED = 7
FRAMEWORKS = {
    "plain": ("plain", "Plain", None),
    "pydantic_ai": ("pydantic_ai", "PydanticAI", "pydantic-ai-slim"),
    "langgraph": ("langgraph", "LangGraph", "langgraph"),
    "openai_agents": ("openai_agents", "OpenAIAgents", "openai-agents"),
}
"""Name → module and class of the shop assistant, and the package."""
LIMITS = Limits(steps=200, seconds=3600.0, tokens=10_000_000, repeats=3)
"""Far away, so that what stops a loop is that it was seen to be one."""
FRESH = Fresh(field="as_of", max_age_s=MAX_AGE_S)
FIND_ORDER = msgspec.structs.replace(
    contract().tool("find_order"), output=OutputRule(type="object", required=("amount",), fresh=FRESH)
)


def bench_of(framework: str) -> Bench:
    """The shop assistant in that framework."""
    module, name, _ = FRAMEWORKS[framework]
    made: Bench = getattr(import_module(f"tests.adapters.conformance.benches.{module}"), name)()
    return made


def desk_of(bench: Bench, script: Script, shop: Shop, *, dated: bool) -> Desk:
    """The agent at work in that shop. `dated` is whether its orders say how old they are."""
    tools = {"find_order": FIND_ORDER} if dated else {}
    return Desk(bench, script, shop=shop, changes={"limits": LIMITS, "tools": tools})


def hardened(bench: Bench, case: Case) -> bool:
    """Whether the hardened agent caught it."""
    desk = desk_of(bench, case.script(), case.shop(), dated=case.failure == "stale")

    async def main() -> bool:
        result = await desk.live().run("Where is W2?", run_id="r")
        told = any(kind in case.kinds and (not case.faults or fault in case.faults) for kind, _, fault in desk.kinds())
        answered = result.ending in (Ending.COMPLETE, Ending.DEGRADED)
        return told and not (answered and case.is_bad(str(result.output))) and desk.script.asked <= RUNAWAY

    return bool(simulated(main))


def bare(bench: Bench, case: Case) -> bool:
    """Whether the framework caught it by itself."""
    script, shop = case.script(), case.shop()
    desk = desk_of(bench, script, shop, dated=False)

    async def naive(request: Any, deps: Any) -> Any:
        return await bench.naive(request, deps=deps)

    async def main() -> bool:
        subject = bench.adapter.bare_subject(naive, contract(), agent=bench.agent())
        models = {name: bench.model(script) for name in ("primary", "backup")}
        process = subject.live(desk.surroundings(), models, shop)
        result = await process.run("Where is W2?", run_id="r")
        await process.close()
        handed_over = result.ending is Ending.COMPLETE and result.output != "Sorry." and case.is_bad(str(result.output))
        return not handed_over and script.asked <= RUNAWAY

    return bool(simulated(main))


def healthy(bench: Bench, number: int, text: str) -> bool:
    """Whether this answer went through as it is, and nothing was said of it. The number says how it comes about."""
    before: list[Any] = [
        [],
        [[call("find_order", order_id="W2")]],
        [[call("find_order", order_id="W2")], [call("find_order", order_id="W1")]],
        [[call("refund", order_id="W2", amount=20)]],
    ][number % 4]
    desk = desk_of(bench, Script(*before, text), Serving(value=fresh_order), dated=True)

    async def main() -> bool:
        result = await desk.live().run("Where is W2?", run_id="r")
        alarms = [each for _, _, each in desk.sink.entries if each.severity != "info"]
        return result.ending is Ending.COMPLETE and result.output == text and not alarms

    return bool(simulated(main))


def answers_for(folder: Path, count: int) -> list[str]:
    """Healthy answers; every tenth of those after a refund says so."""
    found = healthy_answers(folder, count, seed=SEED)
    for number in range(3, count, 40):
        found[number] = CLAIMING[number // 40 % len(CLAIMING)].format(order=f"order {number}")
    assert len(set(found)) == count, "no answer stands twice"
    return found


def measure(folder: Path, *, quick: bool) -> dict[str, Any]:
    """Every failure and a thousand healthy answers in every framework, or half of the failures and a sample."""
    played, answers = cases()[:: 2 if quick else 1], answers_for(folder, 60 if quick else 1000)
    benches = {name: bench_of(name) for name in FRAMEWORKS}
    caught: dict[str, Counter[str]] = {name: Counter() for name in benches}
    missed: list[str] = []
    bare_caught: dict[str, Counter[str]] = {name: Counter() for name in benches}
    alarms: list[str] = []
    with many_simulations():
        for name, bench in benches.items():
            for case in track(played, f"{name}: failures"):
                if hardened(bench, case):
                    caught[name][case.failure] += 1
                else:
                    missed.append(f"{name}: {case.failure}, {case.shape}")
                bare_caught[name][case.failure] += bare(bench, case)
            for number, text in enumerate(track(answers, f"{name}: healthy answers")):
                if not healthy(bench, number, text):
                    alarms.append(f"{name}: {text}")
    return {
        "cases": len(played) * len(benches),
        "caught": sum(map(Counter.total, caught.values())),
        "healthy": len(answers) * len(benches),
        "different_answers": len(answers),
        "false_alarms": len(alarms),
        "bare": {name: each.total() for name, each in bare_caught.items()},
        "cases_each": len(played),
        "failures": {
            failure: {
                "cases": count,
                "caught": {name: each[failure] for name, each in caught.items()},
                "bare": {name: each[failure] for name, each in bare_caught.items()},
            }
            for failure, count in Counter(case.failure for case in played).items()
        },
        "missed": missed,
        "alarmed": alarms,
        "versions": {name: version(package) for name, (_, _, package) in FRAMEWORKS.items() if package},
    }


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, required=True, help="the folder with clinc150/ and retail/")
    args = options.parse_args()
    result = measure(args.data, quick=args.quick)
    rows = [
        (failure, str(each["cases"]), *(f"{each['bare'][name]} → {each['caught'][name]}" for name in FRAMEWORKS))
        for failure, each in result["failures"].items()
    ]
    table("Caught, bare → hardened", [("", "cases", *FRAMEWORKS), *rows])
    print(f"{result['false_alarms']} false alarms in {result['healthy']:,} runs with healthy answers")
    for words in (*result["missed"], *result["alarmed"]):
        print(f"  {words}")
    finish("silent", args, result)
    return 0 if result["caught"] == result["cases"] and not result["alarmed"] else 1


if __name__ == "__main__":
    sys.exit(main())
