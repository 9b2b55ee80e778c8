"""`plimsoll gate` and `plimsoll reproduce`: may this agent ship, and why not?"""

import json
import tempfile
from collections.abc import Sequence
from pathlib import Path

import click
import msgspec
from rich.console import Console
from rich.table import Table
from rich.text import Text

from plimsoll.cli.agents import agent_option
from plimsoll.cli.command import GateCommand, explained
from plimsoll.cli.journal_access import CONTRACT, JSON_HELP
from plimsoll.cli.printing import clean, console, line
from plimsoll.cli.subjects import References, scenarios_of, subject_maker
from plimsoll.contract.loading import load_contract
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.gate.campaign import run_campaign
from plimsoll.gate.report import GateProgress, ReportPaths, print_summary, write_reports
from plimsoll.gate.reproducing import Reproduction, read_failure
from plimsoll.gate.reproducing import reproduce as reproduce_trial
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.self_test import Fate, SelfTest, self_test
from plimsoll.gate.subject import Subject
from plimsoll.gate.verdict import Trial, Verdict
from plimsoll.runtime.imports import put_on_path

__all__ = ["gate", "reproduce"]

_STYLES = {Fate.BLOCKED: "green", Fate.SURVIVED: "bold red"}
_MARKS = {Fate.BLOCKED: "✓", Fate.SURVIVED: "✗"}
_WROTE_NOTHING = "No verdict was reached and nothing was written."


@click.command(cls=GateCommand, if_interrupted=_WROTE_NOTHING)
@click.option("--contract", "contract_path", type=click.Path(path_type=Path), default=CONTRACT,
              show_default=True, help="The agent's contract.")  # fmt: skip
@click.option("--promised", type=click.Path(path_type=Path), metavar="CONTRACT",
              help="Judge by this contract instead: does the agent still keep what was promised?")  # fmt: skip
@agent_option
@click.option("--bare", help="module:function of an agent without any protection, tried as it is.")
@click.option("--through", help="With --bare: module:attribute of the agent object that the function uses.")
@click.option("--remote", metavar="COMMAND",
              help="The command that runs an agent of any language, which asks the gateway.")  # fmt: skip
@click.option("--scenarios", help="module:attribute of the scenarios; those of the contract if left out.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("gate-report"),
              show_default=True, help="Where the reports go.")  # fmt: skip
@click.option("--seed", type=int, help="Seed of all chance; the contract's if left out. Same seed, same campaign.")
@click.option("--storms", type=click.IntRange(min=0), help="How many sampled combinations; the contract's if left out.")
@click.option("--workers", type=click.IntRange(min=1), help="How many processes; one for each core if left out.")
@click.option("--self-test", "testing_itself", is_flag=True,
              help="Break the contract, one protection after the other, and see that the gate notices.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
@click.pass_context
def gate(  # noqa: PLR0917 -- click hands every option over
    context: click.Context,
    contract_path: Path,
    promised: Path | None,
    agent: str | None,
    bare: str | None,
    through: str | None,
    remote: str | None,
    scenarios: str | None,
    out: Path,
    seed: int | None,
    storms: int | None,
    workers: int | None,
    testing_itself: bool,
    as_json: bool,
) -> None:
    """May this agent ship? Injects faults and looks at what happened.

    Writes report.html, verdict.json, junit.xml and a file for each failure that `plimsoll reproduce` plays again. Needs
    scenarios: what the agent must still achieve (docs/gate.md).

    \b
    Exits with
      0    SHIP; for --self-test: every mutant that could be tried was blocked
      1    BLOCK; for --self-test: a mutant survived, or it could not be made
      2    INCONCLUSIVE, also when the agent could not be tried at all
      130  after ctrl-C

    \b
    Examples:
      plimsoll gate
      plimsoll gate --contract deploy/plimsoll.toml --storms 1000
      plimsoll gate --contract looser.toml --promised plimsoll.toml
      plimsoll gate --bare shop.naive:handle --through shop.naive:agent
      plimsoll gate --remote "node agent.mjs" --workers 8
      plimsoll gate --self-test
      plimsoll gate --json | tail -1 | jq .decision
    """
    if through is not None and bare is None:
        raise click.UsageError("--through goes with --bare: it names the agent that a bare function uses")
    if sum(each is not None for each in (agent, bare, remote)) > 1:
        what = "--agent is a hardened agent, --bare one without protection, --remote one that asks the gateway"
        raise click.UsageError(f"{what}: give one of them")
    references = References(agent=agent, bare=bare, through=through, remote=remote, scenarios=scenarios)
    contract = load_contract(contract_path)
    put_on_path(contract_path.parent)
    if testing_itself:
        tested = _self_test(references, contract, contract_path.parent, seed=seed, workers=workers)
        _print_self_test(tested, console(stderr=as_json))
        if as_json:
            click.echo(json.dumps(msgspec.to_builtins(tested)))
        context.exit(0 if tested.passed else 1)
    _make_folder(out)
    judged_by = load_contract(promised) if promised is not None else contract
    make = subject_maker(references, contract, folder=contract_path.parent)
    verdict = _campaign(
        make(contract), scenarios_of(references, contract), judged_by, seed=seed, storms=storms, workers=workers
    )
    paths = write_reports(verdict, out, references=references.as_json(), contract_path=str(contract_path))
    print_summary(verdict, Console(stderr=as_json), report_path=paths.html, failures_dir=paths.failures_dir)
    if as_json:
        click.echo(json.dumps(_summary(verdict, paths)))
    context.exit(verdict.decision.exit_code)


def _make_folder(out: Path) -> None:
    """The folder of the reports, before minutes are spent on what is to go there."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise click.UsageError(f"--out: {out} cannot be written ({error.strerror}); name another folder") from error


@click.command(cls=GateCommand)
@click.argument("failure", metavar="FILE", type=click.Path(path_type=Path))
@click.option("--contract", "contract_path", type=click.Path(path_type=Path),
              help="Another contract than the one that the file names: does it still fail?")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help=JSON_HELP)
@click.pass_context
def reproduce(context: click.Context, failure: Path, contract_path: Path | None, as_json: bool) -> None:
    """Plays one failure of the gate again, and tells its story.

    It is played under the contract and with the scenarios that FILE names, from the folder in which `plimsoll gate`
    ran. Exits with 1 when the same promise is broken again, with 0 when it no longer is, and with 2 when it could not
    be played.

    \b
    Examples:
      plimsoll reproduce gate-report/failures/001-refund-response-lost-issue-refund.json
      plimsoll reproduce gate-report/failures/001-refund-response-lost-issue-refund.json --contract fixed.toml
    """
    recorded = read_failure(failure)
    references = References.of(recorded.subject)
    used = contract_path or Path(recorded.contract_path)
    contract = load_contract(used)
    put_on_path(used.parent)
    subject = subject_maker(references, contract, folder=used.parent)(contract)
    scenarios = scenarios_of(references, contract)
    with explained("playing it again"):
        again = reproduce_trial(recorded, subject, scenarios)
    out = console(stderr=as_json)
    _print_story(again.trial, out)
    for note in again.notes:
        line(out, f"Note: {note}.")
    line(out, (_outcome(again), "bold"))
    if as_json:
        violations = msgspec.to_builtins(again.trial.violations)
        click.echo(json.dumps({"same": again.same, "digest": again.trial.digest, "violations": violations}))
    context.exit(1 if again.same else 0)


def _outcome(again: Reproduction) -> str:
    if again.same:
        return "It fails the same way again."
    if again.trial.violations:
        return "It no longer fails this way, but in another."
    return "It no longer fails."


def _print_story(trial: Trial, out: Console) -> None:
    """What happened in a trial, line by line."""
    faults = " and ".join(map(str, trial.injections)) or "no fault"
    line(out, (f"{trial.scenario} under {faults}", "bold"))
    story = Table.grid(padding=(0, 2))
    for justify in ("right", "left", "left"):
        story.add_column(justify=justify, overflow="fold", no_wrap=justify == "right")
    for step in trial.story:
        took = f" ({step.duration_s:.3g} s)" if step.duration_s else ""
        story.add_row(f"  {step.at_s:.3f} s", step.who, Text(clean(f"{step.text}{took}")))
    out.print(story)
    for violation in trial.violations:
        line(out, (f"  broken: {violation.claim}: {violation.message}", "red"))


def _print_self_test(tested: SelfTest, out: Console) -> None:
    """What became of each mutant."""
    for reason in tested.reasons:
        line(out, f"The self-test could not be made: {reason}")
    if tested.results:
        line(out, ("Broken on purpose: does the gate notice?", "bold"))
    for result in tested.results:
        style = _STYLES.get(result.fate, "dim")
        fate = result.fate.value.replace("_", " ")
        by = f" ({', '.join(result.broken)})" if result.broken else ""
        line(out, "  ", (f"{_MARKS.get(result.fate, '–')} {fate:15}", style), f" {result.about}", (by, style))
        if result.example:
            line(out, (f"{'':20}{result.example}", "dim"))


def _campaign(
    subject: Subject,
    tried: Sequence[Scenario],
    promised: Contract,
    *,
    seed: int | None,
    storms: int | None,
    workers: int | None,
) -> Verdict:
    with explained("the campaign"), GateProgress(Console(stderr=True), title=subject.name) as progress:
        return run_campaign(
            subject, tried, promised=promised, seed=seed, storm_count=storms, workers=workers, progress=progress
        )


def _self_test(
    references: References, contract: Contract, folder: Path, *, seed: int | None, workers: int | None
) -> SelfTest:
    if references.bare is not None:
        raise Misuse("--self-test breaks a contract's protections, and a --bare agent has none")
    make, tried = subject_maker(references, contract, folder=folder), scenarios_of(references, contract)
    with explained("the self-test"), GateProgress(Console(stderr=True), title="self-test") as progress:
        return self_test(make, contract, tried, seed=seed, workers=workers, progress=progress)


def _summary(verdict: Verdict, paths: ReportPaths) -> dict[str, object]:
    return {
        "decision": verdict.decision.value,
        "exit_code": verdict.decision.exit_code,
        "subject": verdict.subject,
        "reasons": list(verdict.reasons),
        "accepts": [each.name for each in verdict.accepts],
        "local_models": verdict.local_models,
        "guard_models": verdict.guard_models,
        "trials": verdict.trials,
        "failing_trials": verdict.failing_trials,
        "reach": verdict.reach,
        "claims": {claim.name: {"passed": claim.passed, "tried": claim.tried} for claim in verdict.claims},
        "campaign_digest": verdict.campaign_digest,
        "report": str(paths.html),
    }
