"""`plimsoll gate` and `plimsoll reproduce`: may this agent ship, and why not?"""

import json
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table

from plimsoll.cli.journal_access import guarded
from plimsoll.cli.subjects import References, scenarios_of, subject_maker
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.report import GateProgress, ReportPaths, print_summary, write_reports
from plimsoll.gate.reproducing import Reproduction, read_failure
from plimsoll.gate.reproducing import reproduce as reproduce_trial
from plimsoll.gate.self_test import Fate, SelfTest, self_test
from plimsoll.gate.verdict import Trial, Verdict

__all__ = ["gate", "print_self_test", "reproduce"]

_STYLES = {Fate.BLOCKED: "green", Fate.SURVIVED: "bold red"}


@click.command()
@click.option("--contract", "contract_path", type=click.Path(path_type=Path), default=Path("plimsoll.toml"),
              show_default=True, help="The agent's contract.")  # fmt: skip
@click.option("--agent", help="module:attribute of the agent; the contract's entrypoint if left out.")
@click.option("--bare", help="module:function of an agent without any protection, tried as it is.")
@click.option("--through", help="With --bare: module:attribute of the agent object that the function uses.")
@click.option("--scenarios", help="module:attribute of the scenarios; those of the contract if left out.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("gate-report"),
              show_default=True, help="Where the reports go.")  # fmt: skip
@click.option("--seed", type=int, help="Seed of all chance; the contract's if left out. Same seed, same campaign.")
@click.option(
    "--storms", type=click.IntRange(min=0), help="How many sampled combinations; the contract's if left out."
)
@click.option("--workers", type=click.IntRange(min=1), help="How many processes; one for each core if left out.")
@click.option("--self-test", "testing_itself", is_flag=True,
              help="Break the contract, one protection after the other, and see that the gate notices.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
@click.pass_context
def gate(  # noqa: PLR0917 -- click hands every option over
    context: click.Context,
    contract_path: Path,
    agent: str | None,
    bare: str | None,
    through: str | None,
    scenarios: str | None,
    out: Path,
    seed: int | None,
    storms: int | None,
    workers: int | None,
    testing_itself: bool,
    as_json: bool,
) -> None:
    """May this agent ship? Injects faults into it and looks at what really happened.

    Exits with 0 SHIP, 1 BLOCK, 2 INCONCLUSIVE. Writes report.html, verdict.json, junit.xml and a file for each failure
    that `plimsoll reproduce` plays again.

    \b
    Examples:
      plimsoll gate
      plimsoll gate --contract deploy/plimsoll.toml --storms 1000
      plimsoll gate --bare shop.naive:handle --through shop.naive:agent
      plimsoll gate --self-test
    """
    references = References(agent=agent, bare=bare, through=through, scenarios=scenarios)
    contract = guarded(lambda: load_contract(contract_path))
    console = Console(stderr=as_json)
    if testing_itself:
        tested = guarded(lambda: _self_test(references, contract, seed=seed, workers=workers, console=console))
        print_self_test(tested, console)
        if as_json:
            click.echo(json.dumps(msgspec.to_builtins(tested)))
        context.exit(0 if tested.passed else 1)
    verdict = guarded(
        lambda: _campaign(references, contract, seed=seed, storms=storms, workers=workers, console=console)
    )
    paths = write_reports(verdict, out, references=references.as_json(), contract_path=str(contract_path))
    print_summary(verdict, console, report_path=paths.html, failures_dir=paths.failures_dir)
    if as_json:
        click.echo(json.dumps(_summary(verdict, paths)))
    context.exit(verdict.decision.exit_code)


@click.command()
@click.argument("failure", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.option("--contract", "contract_path", type=click.Path(path_type=Path),
              help="Another contract than the one that the file names: does it still fail?")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="One JSON object on the last line.")
@click.pass_context
def reproduce(context: click.Context, failure: Path, contract_path: Path | None, as_json: bool) -> None:
    """Plays one failure of the gate again, and tells its story.

    Exits with 1 when the same promise is broken again, and with 0 when it no longer is.

    \b
    Example:
      plimsoll reproduce gate-report/failures/001-refund-response-lost-issue-refund.json
    """

    def play() -> Reproduction:
        recorded = read_failure(failure)
        references = References.of(recorded.subject)
        contract = load_contract(contract_path or recorded.contract_path)
        subject = subject_maker(references, contract)(contract)
        return reproduce_trial(recorded, subject, scenarios_of(references, contract))

    again = guarded(play)
    console = Console(stderr=as_json)
    print_story(again.trial, console)
    for note in again.notes:
        console.print(f"Note: {note}.", markup=False)
    console.print("It fails the same way again." if again.same else "It no longer fails this way.", style="bold")
    if as_json:
        violations = msgspec.to_builtins(again.trial.violations)
        click.echo(json.dumps({"same": again.same, "digest": again.trial.digest, "violations": violations}))
    context.exit(1 if again.same else 0)


def print_story(trial: Trial, console: Console) -> None:
    """What happened in a trial, line by line."""
    faults = " and ".join(map(str, trial.injections)) or "no fault"
    console.print(f"{trial.scenario} under {faults}", style="bold", markup=False, highlight=False)
    for step in trial.story:
        took = f" ({step.duration_s:.3g} s)" if step.duration_s else ""
        console.print(f"  {step.at_s:9.3f} s  {step.who:6}  {step.text}{took}", markup=False, highlight=False)
    for violation in trial.violations:
        console.print(f"  broken: {violation.claim}: {violation.message}", style="red", markup=False, highlight=False)


def print_self_test(tested: SelfTest, console: Console) -> None:
    """What became of each mutant."""
    for reason in tested.reasons:
        console.print(f"The self-test could not be made: {reason}", markup=False)
    table = Table(title="Broken on purpose: does the gate notice?", title_justify="left")
    for column in ("what was broken", "the gate", "by the claims", "for example"):
        table.add_column(column, overflow="fold")
    for result in tested.results:
        fate = f"[{_STYLES.get(result.fate, 'dim')}]{result.fate.value.replace('_', ' ')}[/]"
        table.add_row(result.about, fate, ", ".join(result.broken), result.example)
    if tested.results:
        console.print(table)


def _campaign(
    references: References,
    contract: Contract,
    *,
    seed: int | None,
    storms: int | None,
    workers: int | None,
    console: Console,
) -> Verdict:
    subject = subject_maker(references, contract)(contract)
    tried = scenarios_of(references, contract)
    with GateProgress(Console(stderr=True), title=subject.name) as progress:
        return run_campaign(subject, tried, seed=seed, storm_count=storms, workers=workers, progress=progress)


def _self_test(
    references: References, contract: Contract, *, seed: int | None, workers: int | None, console: Console
) -> SelfTest:
    if references.bare is not None:
        raise Misuse("--self-test breaks a contract's protections, and a --bare agent has none")
    with GateProgress(Console(stderr=True), title="self-test") as progress:
        return self_test(
            subject_maker(references, contract),
            contract,
            scenarios_of(references, contract),
            seed=seed,
            workers=workers,
            progress=progress,
        )


def _summary(verdict: Verdict, paths: ReportPaths) -> dict[str, object]:
    return {
        "decision": verdict.decision.value,
        "exit_code": verdict.decision.exit_code,
        "subject": verdict.subject,
        "reasons": list(verdict.reasons),
        "trials": verdict.trials,
        "failing_trials": verdict.failing_trials,
        "reach": verdict.reach,
        "claims": {claim.name: {"passed": claim.passed, "tried": claim.tried} for claim in verdict.claims},
        "campaign_digest": verdict.campaign_digest,
        "report": str(paths.html),
    }
