"""The demo: one assistant twice, as people write it first and hardened, and the gate's word on each.

    python -m examples.assistant.demo [--out DIR] [--storms N]

No key and no server: the models are deterministic stand-ins, the shop is SQLite in memory, and time is virtual.
"""

import sys
from argparse import ArgumentParser
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from examples.assistant import naive
from examples.assistant.agent import CONTRACT, agent
from examples.assistant.scenarios import scenarios
from plimsoll import Contract, harden, load_contract
from plimsoll.adapters.pydantic_ai import bare_subject, hardened_subject
from plimsoll.core.clock import SystemClock
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.mutants import MUTANTS
from plimsoll.gate.report import GateProgress, print_summary, write_reports
from plimsoll.gate.self_test import Fate, SelfTest, self_test
from plimsoll.gate.subject import SubjectLike
from plimsoll.gate.verdict import Decision, Trial, Verdict

__all__ = ["main"]

CONTRACT_PATH = "examples/assistant/plimsoll.toml"
NAIVE = {"bare": "examples.assistant.naive:handle", "through": "examples.assistant.naive:naive_agent"}
BROKEN = ("approvals_observed", "no_fallback", "timeouts_observed", "answers_unchecked", "limits_observed")
"""The five protections that the demo breaks, by the names of the gate's mutants."""


@dataclass(frozen=True)
class Reason:
    """A reason to believe: what it is called, and which broken promise under which faults tells it."""

    title: str
    codes: tuple[str, ...]
    kinds: tuple[str, ...] = ()


REASONS = (
    Reason("Paid again after a crash", ("effect_doubled", "effect_unasked"), ("crash_before_call", "crash_after_call")),
    Reason("A loop that nothing ends", ("unbounded_loop",)),
    Reason("A silent failure", ("silent_failure",)),
    Reason("A hung primary that nobody gives up on", ("hung",), ("hang",)),
    Reason("A risky write that nobody approved", ("unapproved_effect",)),
)


def main() -> int:
    """Tries both; 0 when the gate said what it should: BLOCK, SHIP, and BLOCK for each broken protection."""
    options = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--out", type=Path, default=Path("gate-report"), help="where the reports go")
    options.add_argument("--storms", type=int, default=None, help="how many sampled combinations of faults")
    args = options.parse_args()
    console, clock = Console(), SystemClock()
    started_s = clock.monotonic()
    contract = load_contract(CONTRACT)
    console.print(
        f"\nOne customer-service assistant, tried twice in {len(scenarios)} scenarios. Its model is a deterministic "
        "stand-in: no key, no server, no real time. The gate breaks what it depends on, and then looks at the shop's "
        "own ledger.\n"
    )

    console.rule("1. As people write it first: examples/assistant/naive.py")
    naively = _try(bare_subject(naive.handle, contract, agent=naive.naive_agent, name="naive"), args.storms)
    paths = write_reports(naively, args.out / "naive", references=NAIVE, contract_path=CONTRACT_PATH)
    _print_naive(naively, console)
    console.print(f"Report: {paths.html}\n", highlight=False)

    console.rule("2. Hardened: the same agent under examples/assistant/plimsoll.toml")
    hardened = _try(hardened_subject(harden(agent, contract), name="hardened"), args.storms)
    paths = write_reports(hardened, args.out / "hardened", contract_path=CONTRACT_PATH)
    print_summary(hardened, console, report_path=paths.html, failures_dir=paths.failures_dir)

    console.rule("3. Break a protection of that contract, and it no longer ships")
    broken = _break(contract)
    _print_broken(broken, console)

    right = (
        naively.decision is Decision.BLOCK
        and hardened.decision is Decision.SHIP
        and all(result.fate is Fate.BLOCKED for result in broken.results)
    )
    console.print(
        f"naive: [bold]{naively.decision.value.upper()}[/]   hardened: [bold]{hardened.decision.value.upper()}[/]   "
        f"({clock.monotonic() - started_s:.0f} s in all)"
    )
    console.print(
        f"Open {args.out}/naive/report.html and {args.out}/hardened/report.html in a browser.", highlight=False
    )
    return 0 if right else 1


def _try(subject: SubjectLike, storms: int | None) -> Verdict:
    with GateProgress(Console(stderr=True), title=subject.name) as progress:
        return run_campaign(subject, scenarios, storm_count=storms, progress=progress)


def _break(contract: Contract) -> SelfTest:
    """The self-test of the gate, with five of its mutants."""
    chosen = [mutant for mutant in MUTANTS if mutant.name in BROKEN]
    with GateProgress(Console(stderr=True), title="broken on purpose") as progress:
        return self_test(
            lambda promised: hardened_subject(harden(agent, promised)),
            contract,
            scenarios,
            mutants=chosen,
            progress=progress,
        )


def _print_naive(verdict: Verdict, console: Console) -> None:
    """The verdict in a few lines, and five of its reasons."""
    held = sum(claim.held for claim in verdict.claims)
    line = f"{held} of {len(verdict.claims)} claims hold, in {verdict.trials:,} trials"
    console.print(Panel(f"[bold red]✗ {verdict.decision.value.upper()}[/]  {line}", expand=False))
    for number, reason in enumerate(REASONS, 1):
        trial = _trial_for(reason, verdict)
        if trial is not None:
            _print_reason(number, reason, trial, console)
    console.print()


def _trial_for(reason: Reason, verdict: Verdict) -> Trial | None:
    """The failure that tells the reason best: one about money, if there is one."""
    fitting = [
        trial
        for trial in verdict.failures
        if any(violation.code in reason.codes for violation in trial.violations)
        and (not reason.kinds or any(injection.kind in reason.kinds for injection in trial.injections))
    ]
    return min(fitting, key=lambda trial: ("refund" not in trial.scenario, len(trial.injections)), default=None)


def _print_reason(number: int, reason: Reason, trial: Trial, console: Console) -> None:
    violation = next(each for each in trial.violations if each.code in reason.codes)
    faults = " and ".join(map(str, trial.injections)) or "no fault at all"
    console.print(f"  {number}. [bold]{reason.title}[/]", highlight=False)
    console.print(f"     {trial.scenario}, {faults}: {violation.message}", markup=False, highlight=False)


def _print_broken(tested: SelfTest, console: Console) -> None:
    table = Table()
    for column in ("what was broken", "the gate", "for example"):
        table.add_column(column, overflow="fold")
    for result in tested.results:
        word = "[green]BLOCK[/]" if result.fate is Fate.BLOCKED else f"[bold red]{result.fate.value}[/]"
        table.add_row(result.about, word, result.example)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
