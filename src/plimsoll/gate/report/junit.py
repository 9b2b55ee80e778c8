"""The verdict as JUnit XML, which is what continuous integration systems show."""

import xml.etree.ElementTree as ET
from collections.abc import Iterable, Mapping
from datetime import datetime

from plimsoll.core.printable import printable
from plimsoll.gate.report.figures import HeatRow, heat_map, storm_axis
from plimsoll.gate.report.wording import (
    accepting,
    date_text,
    failure_name,
    failure_title,
    headline,
    injected_text,
    mode_text,
    one_line,
    percent,
    percent_at_least,
    seconds,
    words,
)
from plimsoll.gate.verdict import Decision, Reach, Trial, Verdict

__all__ = ["render_junit"]

_STORY_LIMIT = 20_000
_TOLD_PER_CASE = 5


def _story(number: int, trial: Trial) -> str:
    """A failing trial in lines of text."""
    lines = [
        f"{number}. {failure_title(trial)}",
        f"   {injected_text(trial.injections)}, in {one_line(trial.scenario)}",
        *(f"   {violation.claim}: {one_line(violation.message)} [{violation.code}]" for violation in trial.violations),
        *(f"   {seconds(step.at_s):>10}  {step.who:<6}  {one_line(step.text)}" for step in trial.story),
        f"   plimsoll reproduce failures/{failure_name(number, trial)}",
    ]
    return "\n".join(lines)[:_STORY_LIMIT]


class _Suite:
    """A `testsuite` in the making."""

    def __init__(self, root: ET.Element, name: str) -> None:
        self._name = printable(name)
        self.element = ET.SubElement(root, "testsuite", name=self._name)
        self.counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}

    def case(self, name: str, *, problem: str = "", message: str = "", text: str = "") -> ET.Element:
        """Adds a case; `problem` is `failure`, `error`, `skipped` or nothing."""
        case = ET.SubElement(self.element, "testcase", classname=f"plimsoll.gate.{self._name}", name=printable(name))
        self.counts["tests"] += 1
        if problem:
            self.counts[{"failure": "failures", "error": "errors"}.get(problem, problem)] += 1
            child = ET.SubElement(case, problem, message=one_line(message))
            if problem != "skipped":
                child.set("type", problem)
            child.text = printable(text) or None
        return case


def _told(numbers: Iterable[int], verdict: Verdict) -> str:
    return "\n\n".join(_story(number, verdict.failures[number - 1]) for number in numbers)


def _decision(suite: _Suite, verdict: Verdict) -> None:
    problem = {Decision.SHIP: "", Decision.BLOCK: "failure", Decision.INCONCLUSIVE: "error"}[verdict.decision]
    message = verdict.reasons[0] if verdict.reasons else headline(verdict)
    suite.case("may this agent ship", problem=problem, message=message, text="\n".join(verdict.reasons))


def _claims(suite: _Suite, verdict: Verdict) -> None:
    for claim in verdict.claims:
        problem = "" if claim.held else "failure" if claim.tried else "skipped"
        message = f"{claim.passed} of {claim.tried} passed" if claim.tried else "no trial bears on it"
        suite.case(f"{words(claim.name)}: {claim.text}", problem=problem, message=message)


def _healthy(suite: _Suite, verdict: Verdict) -> None:
    for trial in verdict.healthy:
        good = trial.passed and trial.reach is Reach.REACHED
        problem = "" if good else "error" if trial.stuck else "failure"
        case = suite.case(f"{trial.scenario}, seed {trial.seed}", problem=problem, message=failure_title(trial))
        case.set("time", f"{trial.virtual_s:.3f}")


def _kind(suite: _Suite, row: HeatRow, verdict: Verdict) -> None:
    for square in row.squares:
        if square is None or not square.tried:
            continue
        message = f"{square.passed} of {square.tried} passed"
        told = _told(square.stories[:_TOLD_PER_CASE], verdict)
        suite.case(square.group, problem="failure" if square.failed else "", message=message, text=told)


def _storms(suite: _Suite, verdict: Verdict) -> None:
    storms = verdict.storms
    if storms is not None:
        message = (
            f"{storms.passed} of {storms.tried} survived: at least {percent_at_least(storms.lower_bound)} with "
            f"{percent(storms.confidence)} confidence; the target is {percent(storms.target)}"
        )
        problem = {"yes": "", "none": "error", "no": "failure"}[storm_axis(storms).state]
        suite.case("the share survived", problem=problem, message=message)


def _other_failures(suite: _Suite, verdict: Verdict, placed: set[int]) -> None:
    for number, trial in enumerate(verdict.failures, start=1):
        if number not in placed:
            name = f"{injected_text(trial.injections)}, in {trial.scenario}"
            suite.case(name, problem="failure", message=failure_title(trial), text=_story(number, trial))


def _finish(root: ET.Element, suites: list[_Suite], verdict: Verdict) -> None:
    try:
        timestamp = datetime.fromisoformat(verdict.made_at).strftime("%Y-%m-%dT%H:%M:%S")
    except ValueError:
        timestamp = ""
    for suite in suites:
        if not suite.counts["tests"]:
            root.remove(suite.element)
            continue
        suite.element.attrib.update({name: str(number) for name, number in suite.counts.items()})
        suite.element.set("time", "0")
        if timestamp:
            suite.element.set("timestamp", timestamp)
    for name in ("tests", "failures", "errors"):
        root.set(name, str(sum(suite.counts[name] for suite in suites)))


def render_junit(verdict: Verdict) -> str:
    """JUnit XML: the decision, the claims, the healthy runs, a suite for each fault kind, storms and combinations.

    The file is without failures and errors if and only if the decision is SHIP and nothing in the verdict failed.
    Characters that XML cannot carry are written out.
    """
    root = ET.Element("testsuites", name=f"plimsoll gate: {one_line(verdict.subject)}", time=f"{verdict.wall_s:.3f}")
    heat = heat_map(verdict)
    suites = [_Suite(root, "decision"), _Suite(root, "claims"), _Suite(root, "healthy runs")]
    _decision(suites[0], verdict)
    _claims(suites[1], verdict)
    _healthy(suites[2], verdict)
    placed: set[int] = set()
    for row in heat.rows:
        suites.append(_Suite(root, words(row.kind)))
        _kind(suites[-1], row, verdict)
        placed.update(number for square in row.squares if square and square.failed for number in square.stories)
    suites += [_Suite(root, "storms"), _Suite(root, "other failures")]
    _storms(suites[-2], verdict)
    _other_failures(suites[-1], verdict, placed)
    _finish(root, suites, verdict)
    facts = ET.Element("properties")
    for name, value in (
        ("fingerprint", verdict.fingerprint),
        ("contract_digest", verdict.contract_digest),
        ("campaign_digest", verdict.campaign_digest),
        ("seed", str(verdict.seed)),
        ("mode", mode_text(verdict)),
        ("made_at", date_text(verdict.made_at)),
        ("accepting", accepting(verdict) or "nothing"),
        ("local_models", _listed(verdict.local_models)),
        ("guard_models", _listed(verdict.guard_models)),
    ):
        ET.SubElement(facts, "property", name=name, value=printable(value))
    suites[0].element.insert(0, facts)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _listed(models: Mapping[str, str]) -> str:
    return " ".join(f"{name}={weights}" for name, weights in models.items()) or "none"
