"""False alarms: what the detectors say of runs of which nothing is wrong, and which differ as much as runs do.

Four kinds of healthy work, in virtual time. *Patterns*: a service under its contract that reads, pages, polls,
searches, writes, waits, talks and asks people, fast and slow, few calls and many, with a dispatcher that watches over
it. *Assistant*: the gate's healthy runs of examples/assistant, latency varied. *Retail* (with --data): the right
sequence of calls of each of tau-bench's 115 retail tasks on its real shop. *Monitors*: services just within their
objectives for a month, and people who approve 93 % of what they are asked. Of each detector: how much it saw, and how
often it spoke.

    python -m benchmarks.false_alarms [--data DIR] [--quick] [--json] [--save]
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.common import finish, parser, table, track
from benchmarks.healthy_service import serve
from benchmarks.retail import image_of, tools_of
from examples.assistant.agent import CONTRACT, agent
from examples.assistant.scenarios import scenarios
from examples.assistant.shop import Shop
from examples.assistant.tools import TOOLS
from plimsoll import harden, load_contract
from plimsoll.adapters.pydantic_ai import hardened_subject
from plimsoll.contract.model import Contract, Limits, Tool
from plimsoll.core.calls import Effect, Usage
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import PlimsollError
from plimsoll.core.events import Finding
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.gate.healthy import stage_of
from plimsoll.gate.simulator import simulate
from plimsoll.gate.trial import Plan, try_plan
from plimsoll.journal.memory import MemoryStore
from plimsoll.observability.findings import MemorySink
from plimsoll.observability.monitors.burn_rate import BurnRate
from plimsoll.observability.monitors.reviewers import ReviewMonitor
from plimsoll.observability.monitors.views import Decision, View
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.surroundings import Surroundings

SEED = 7
MONTH_S = 30 * 86_400.0
TERMS = load_contract(CONTRACT)


@dataclass(frozen=True)
class Detector:
    """What is counted as one: findings by kind, and by fault where several share one. `page` describes it."""

    page: str
    kinds: tuple[str, ...]
    is_it: Callable[[str | None], bool] = lambda fault: True
    unit: str = "runs"


DETECTORS = {
    "failing and slow dependencies": Detector(
        "failures", ("attempt_failed", "call_failed", "slow", "fallback", "not_asked", "circuit_open")
    ),
    "answers that are none": Detector("silent-failures", ("silent_failure",), lambda fault: fault != "stale"),
    "stale answers": Detector("stale-answers", ("silent_failure",), lambda fault: fault == "stale"),
    "claimed but not done": Detector("claimed-not-done", ("claimed_not_done",)),
    "loops: the same call, or a cycle": Detector("loops", ("loop",), lambda fault: fault != "no_progress"),
    "no progress": Detector("no-progress", ("loop",), lambda fault: fault == "no_progress"),
    "spending": Detector("spending", ("spending",)),
    "limits": Detector("limits", ("limit",)),
    "doubts and refusals": Detector("doubts", ("in_doubt", "in_doubt_unresolved", "decision_refused")),
    "queue too old": Detector("queue-too-old", ("queue_too_old",)),
    "rubber-stamping": Detector("rubber-stamping", ("rubber_stamp",), unit="decisions"),
    "silent runs": Detector("silent-runs", ("silent_run",)),
    "burn rates": Detector("service-levels", ("burn_rate",), unit="events"),
}
WATCHED = ("queue too old", "silent runs")
"""What only a dispatcher sees."""


class Tally:
    """What each detector saw, and how often it spoke."""

    def __init__(self) -> None:
        self.seen: Counter[str] = Counter()
        self.alarms: Counter[str] = Counter()
        self.others: Counter[str] = Counter()

    def saw(self, names: Iterable[str], count: int) -> None:
        for name in names:
            self.seen[name] += count

    def told(self, findings: Iterable[Finding]) -> None:
        """Counts findings of severity warning and worse; others are news, not alarms."""
        for finding in findings:
            if finding.severity == "info":
                continue
            names = [
                name for name, each in DETECTORS.items() if finding.kind in each.kinds and each.is_it(finding.fault)
            ]
            for name in names:
                self.alarms[name] += 1
            if not names:
                self.others[finding.kind] += 1


OF_A_RUN = [name for name, each in DETECTORS.items() if each.unit == "runs" and name not in WATCHED]


def patterns(tally: Tally, *, runs: int) -> int:
    """The service, over as many runs as it takes."""
    served = serve(runs, seed=SEED)
    tally.saw([*OF_A_RUN, *WATCHED], served.runs)
    tally.saw(["rubber-stamping"], served.decisions)
    tally.saw(["burn rates"], served.events)
    tally.told(served.findings)
    return served.runs


def assistant(tally: Tally, *, times: int) -> int:
    """The gate's healthy runs of the assistant."""
    subject = hardened_subject(harden(agent, TERMS))
    for scenario in track(scenarios, "assistant"):
        stage, first = stage_of(subject, scenario, promised=TERMS, seed=SEED)
        played = [first, *(try_plan(stage, Plan(seed=SEED + number, latency=True)) for number in range(times - 1))]
        for each in played:
            tally.told(finding for _, finding in each.scene.alerts.entries)
    tally.saw(OF_A_RUN, len(scenarios) * times)
    return len(scenarios) * times


# --------------------------------------------------------------------------------------------------------------- retail


def terms_of_retail() -> Contract:
    """The shipped contract's tools and limits, with steps for the longest task. Nobody is asked: it has no refunds."""
    tools = {
        name: Tool(
            effect=Effect(spec.effect),
            proves_nothing_happened=("ShopRefusal",),
            output=TERMS.tool(name).output,
            claims=TERMS.tool(name).claims,
        )
        for name, spec in TOOLS.items()
    }
    steps = Limits(steps=60, seconds=TERMS.limits.seconds, tokens=TERMS.limits.tokens, usd=TERMS.limits.usd)
    return Contract(agent=TERMS.agent, limits=steps, models=TERMS.models, tools=tools)


async def by_the_book(run: Run, actions: list[dict[str, Any]]) -> str:
    """Plays the right sequence of calls, with a model that is told of each, as an agent's conversation goes."""
    said: list[Any] = []
    for action in actions:
        await run.model(said)
        try:
            said.append(await run.call(action["name"], action["arguments"]))
        except PlimsollError as error:  # what the shop refuses is part of it
            said.append(type(error).__name__)
    return (await run.model([*said, "done?"])).text


async def talker(prompt: list[Any]) -> ModelReply:
    usage = Usage(input_tokens=1500 + len(json.dumps(prompt)) // 4, output_tokens=60)
    return ModelReply(text=f"That is step {len(prompt)}.", usage=usage)


def retail(tally: Tally, folder: Path, *, quick: bool) -> int:
    """The tasks of the retail domain, each played right."""
    image = image_of(folder)
    tasks = json.loads((folder / "tasks.json").read_text())
    chosen = random.Random(SEED).sample(tasks, 30) if quick else tasks
    contract = terms_of_retail()
    for task in track(chosen, "retail"):
        tally.told(_played(image, contract, task["actions"]))
    tally.saw(OF_A_RUN, len(chosen))
    return len(chosen)


def _played(image: bytes, contract: Contract, actions: list[dict[str, Any]]) -> list[Finding]:
    sink = MemorySink()

    async def trial() -> None:
        with Shop.from_image(image) as shop:
            surroundings = Surroundings(
                store=MemoryStore(), owner="one", clock=LoopClock(), rng=seeded_rng(SEED), ids=SequentialIds(),
                sinks=(sink,),
            )  # fmt: skip
            models = {name: talker for name, model in contract.models.items() if model.canned is None}
            async with Harness(
                contract, agent=by_the_book, surroundings=surroundings, tools=tools_of(shop), models=models
            ) as harness:
                await harness.run(actions, run_id="task")

    simulate(trial)
    return sink.findings


# ------------------------------------------------------------------------------------------------------------- monitors


def services(tally: Tally, *, quick: bool) -> int:
    """Services whose events are good just as often as their objective says, for a month each."""
    months = 0
    for objective in (0.9, 0.95, 0.99, 0.999):
        for per_hour in (2, 20, 200) if quick else (2, 20, 200, 600):
            rng = seeded_rng(f"{objective} {per_hour}")
            rate, every_s = BurnRate(objective), 3600.0 / per_hour
            count = int(MONTH_S / every_s)
            for number in range(count):
                if rate.add(number * every_s, good=rng.random() < objective):
                    tally.alarms["burn rates"] += 1
            tally.saw(["burn rates"], count)
            months += 1
    return months


def reviewers(tally: Tally, *, people: int) -> int:
    """People who read what they are asked and approve 93 % of it, 500 decisions each."""
    for person in range(people):
        rng, monitor, at = seeded_rng(person), ReviewMonitor(), 0.0
        for number in range(500):
            at += rng.uniform(4.0, 120.0)
            decision = Decision(run_id=f"r{number}", by="ana", approved=rng.random() < 0.93, at=at, asked_at=at - 600.0)
            tally.alarms["rubber-stamping"] += len(monitor.look(View(decided=(decision,)), now=at))
        tally.saw(["rubber-stamping"], 500)
    return people


def measure(folder: Path | None, *, quick: bool) -> dict[str, Any]:
    """All of it, or a sample."""
    tally = Tally()
    work = {
        "patterns": patterns(tally, runs=200 if quick else 3000),
        "assistant": assistant(tally, times=2 if quick else 20),
        "retail": retail(tally, folder, quick=quick) if folder is not None else 0,
        "months_of_services": services(tally, quick=quick),
        "reviewers": reviewers(tally, people=20 if quick else 200),
    }
    return {
        **work,
        "runs": work["patterns"] + work["assistant"] + work["retail"],
        "alarms": sum(tally.alarms.values()) + sum(tally.others.values()),
        "other_findings": dict(tally.others),
        "detectors": {
            name: {"page": each.page, "unit": each.unit, "seen": tally.seen[name], "alarms": tally.alarms[name]}
            for name, each in DETECTORS.items()
        },
    }


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, help="the folder with users.json, tasks.json, …; without it, no retail")
    args = options.parse_args()
    result = measure(args.data, quick=args.quick)
    found = result["detectors"].items()
    rows = [(name, f"{each['seen']:,} {each['unit']}", str(each["alarms"])) for name, each in found]
    table(f"{result['runs']:,} healthy runs", [("", "seen", "alarms"), *rows])
    finish("false_alarms", args, result)
    return 0 if result["alarms"] == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
