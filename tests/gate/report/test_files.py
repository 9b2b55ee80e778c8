"""JUnit, JSON, and the directory that they are written to."""

import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import msgspec
import pytest

from plimsoll.core.errors import Misuse
from plimsoll.gate.report import (
    load_verdict,
    render_html,
    render_json,
    render_junit,
    write_reports,
)
from plimsoll.gate.report.wording import mode_text
from plimsoll.gate.verdict import Cell, Decision, Injection, Reach, StormFigures, Verdict, Violation
from tests.gate.report.sample import (
    ATTACK,
    SAMPLES,
    block,
    healthy_trial,
    huge,
    inconclusive,
    lenient,
    make_verdict,
    ship,
)


def parsed(verdict: Verdict) -> ET.Element:
    text = render_junit(verdict)
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff\ud800-\udfff]", text)
    return ET.fromstring(text.encode())


@pytest.mark.parametrize("name", SAMPLES)
def test_junit_parses_and_its_counts_are_true(name: str) -> None:
    root = parsed(SAMPLES[name]())
    assert root.tag == "testsuites"
    for element in [root, *root.iter("testsuite")]:
        assert int(element.attrib["tests"]) == len(list(element.iter("testcase"))) > 0
        assert int(element.attrib["failures"]) == len(list(element.iter("failure")))
        assert int(element.attrib["errors"]) == len(list(element.iter("error")))


def test_junit_is_green_if_and_only_if_the_agent_may_ship() -> None:
    problems = {
        name: len(parsed(make()).findall(".//failure") + parsed(make()).findall(".//error"))
        for name, make in SAMPLES.items()
    }
    assert problems["ship"] == problems["lenient"] == 0
    assert all(problems[name] for name in ("block", "inconclusive", "huge"))


def test_junit_says_what_the_contract_accepts() -> None:
    values = [parsed(make()).find(".//property[@name='accepting']") for make in (ship, lenient)]
    assert [value.attrib["value"] for value in values if value is not None] == [
        "nothing",
        "parked writes, fewer claims, canned answers",
    ]


def test_junit_has_a_case_for_every_cell() -> None:
    root = parsed(block())
    for cell in block().cells:
        (case,) = root.findall(f"./testsuite[@name='{cell.kind.replace('_', ' ')}']/testcase[@name='{cell.group}']")
        assert (case.find("failure") is not None) == (cell.passed < cell.tried)


def test_junit_tells_the_story_of_a_failure() -> None:
    root = parsed(block())
    failure = root.find("./testsuite[@name='response lost']/testcase[@name='issue_refund']/failure")
    assert failure is not None and failure.attrib["message"] == "1 of 5 passed"
    assert "the refund of €42.50 for order 1007 was paid twice [effect-doubled]" in (failure.text or "")
    assert "plimsoll reproduce failures/001-refund-after-delivery" in (failure.text or "")
    (combination,) = root.findall("./testsuite[@name='other failures']/testcase")
    assert "crash at append@7" in combination.attrib["name"]


def test_junit_has_no_failure_untold() -> None:
    """A failure whose square passed, or which has no square, still stands in the file."""
    verdict = make_verdict(
        Decision.BLOCK,
        cells=(Cell(kind="response_lost", group="issue_refund", tried=1, passed=1, reached=1),),
        failures=block().failures,
    )
    assert len(parsed(verdict).findall("./testsuite[@name='other failures']/testcase")) == 5


def test_junit_calls_what_could_not_be_tried_an_error() -> None:
    root = parsed(inconclusive())
    assert root.find("./testsuite[@name='decision']/testcase/error") is not None
    assert root.find("./testsuite[@name='healthy runs']/testcase/error") is not None
    assert len(root.findall("./testsuite[@name='claims']/testcase/skipped")) == 7
    assert root.find("./testsuite[@name='storms']/testcase/error") is not None
    missed = StormFigures(tried=10, passed=1, lower_bound=0.005, target=0.9, confidence=0.95)
    assert parsed(make_verdict(storms=missed)).find("./testsuite[@name='storms']/testcase/failure") is not None


def test_junit_of_a_verdict_without_date_storms_or_reasons() -> None:
    root = parsed(make_verdict(Decision.BLOCK, made_at="now", storms=None, reasons=()))
    assert root.find("./testsuite[@timestamp]") is None
    failure = root.find("./testsuite[@name='decision']/testcase/failure")
    assert failure is not None and failure.attrib["message"] == "A promise broke. This agent may not ship."


def test_junit_carries_any_text() -> None:
    odd = ATTACK + "\ud800\ufffe]]>&"
    trial = healthy_trial(
        odd, 1, injections=(Injection(kind=odd, site=odd),), violations=(Violation(claim=odd, code=odd, message=odd),)
    )
    root = parsed(
        make_verdict(Decision.BLOCK, subject=odd, fingerprint=odd, reasons=(odd,), failures=(trial,), healthy=(trial,))
    )
    assert not list(root.iter("script"))


@pytest.mark.parametrize("name", SAMPLES)
def test_json_round_trip(name: str) -> None:
    verdict = SAMPLES[name]()
    data = render_json(verdict)
    assert load_verdict(data) == verdict
    assert render_json(load_verdict(data)) == data


def test_json_is_stable_and_begins_with_the_decision() -> None:
    one = make_verdict(reach={"lost": 1, "reached": 2})
    other = make_verdict(reach={"reached": 2, "lost": 1})
    assert render_json(one) == render_json(other)
    assert render_json(one).startswith(b'{\n  "decision": "ship",\n  "subject": ')
    assert render_json(one).endswith(b"}\n")


def test_json_takes_answers_that_json_does_not_know() -> None:
    class Answer:
        pass

    (read,) = load_verdict(render_json(make_verdict(healthy=(healthy_trial("s", 0, output=[Answer()]),)))).healthy
    assert "Answer>" in read.output[0] and "0x" not in read.output[0]
    trials = (healthy_trial("s", 0, output={"a": ("\ud800",), "b": 1}),)
    assert load_verdict(render_json(make_verdict(healthy=trials))).healthy[0].output == {"a": ["\\ud800"], "b": 1}


def test_json_refuses_what_it_cannot_carry() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Misuse, match="this Verdict cannot be written as JSON"):
        render_json(make_verdict(healthy=(healthy_trial("s", 0, output=loop),)))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "truncated"),
        (b"{", "truncated"),
        (b"[]", "Expected `object`"),
        (b"{}", "missing required field `decision`"),
        (b'{"decision": "maybe"}', r"Invalid enum value .maybe. - at `\$.decision`"),
        (b"\xff\xfe", "malformed"),
        (b'{"subject": "\xff"}', "utf-8"),
        (b'{"healthy": [{"output": ' + b"[" * 100_000, "recursion"),
    ],
)
def test_a_bad_verdict_is_refused_with_its_place(data: bytes, said: str) -> None:
    with pytest.raises(Misuse, match=r"^v\.json is no verdict of the gate: .*(?i:" + said + ")"):
        load_verdict(data, name="v.json")


def test_write_reports_writes_everything(tmp_path: Path) -> None:
    verdict = block()
    references = {"agent": "shop.agent:agent"}
    paths = write_reports(verdict, tmp_path / "new" / "gate", references=references, contract_path="shop.toml")
    assert paths.html.read_text(encoding="utf-8") == render_html(verdict)
    assert paths.junit.read_text(encoding="utf-8") == render_junit(verdict)
    assert load_verdict(paths.verdict.read_bytes()) == verdict
    failures = [json.loads(path.read_bytes()) for path in paths.failures]
    assert [failure["scenario"] for failure in failures] == [trial.scenario for trial in verdict.failures]
    assert all(failure["subject"] == references for failure in failures)
    assert all(failure["contract_path"] == "shop.toml" for failure in failures)
    assert paths.failures[0].name == "001-refund-after-delivery-response-lost-issue-refund.json"
    names = {path.name for path in (tmp_path / "new" / "gate").iterdir()}
    assert names == {"report.html", "junit.xml", "verdict.json", "failures"}
    assert all(f"failures/{path.name}" in paths.html.read_text(encoding="utf-8") for path in paths.failures)


def test_write_reports_removes_the_failures_of_an_earlier_verdict_only(tmp_path: Path) -> None:
    write_reports(huge(), tmp_path)
    (tmp_path / "failures" / "notes.json").write_text("mine")
    (tmp_path / "failures" / "001-Mine.txt").write_text("mine")
    write_reports(ship(), tmp_path)
    assert sorted(path.name for path in (tmp_path / "failures").iterdir()) == ["001-Mine.txt", "notes.json"]


def test_a_report_that_cannot_be_made_leaves_the_old_ones(tmp_path: Path) -> None:
    write_reports(ship(), tmp_path)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(Misuse):
        write_reports(msgspec.structs.replace(block(), healthy=(healthy_trial("s", 0, output=loop),)), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_file_that_cannot_be_put_in_place_leaves_no_part_behind(tmp_path: Path) -> None:
    (tmp_path / "report.html").mkdir()
    with pytest.raises(OSError, match=r"report\.html"):
        write_reports(ship(), tmp_path)
    assert not list(tmp_path.rglob("*.part"))


def test_reach_is_counted_in_both(tmp_path: Path) -> None:
    verdict = load_verdict(write_reports(block(), tmp_path).verdict.read_bytes())
    assert set(verdict.reach) == {reach.value for reach in Reach}


def test_every_report_names_the_models_of_ones_own_that_were_tried() -> None:
    weights = "0123456789ab" + "c" * 52
    verdict = make_verdict(local_models={"own<b>": weights})
    assert load_verdict(render_json(verdict)).local_models == {"own<b>": weights}
    (told,) = parsed(verdict).findall(".//property[@name='local_models']")
    assert told.attrib["value"] == f"own<b>={weights}"
    page = render_html(verdict)
    assert weights in page and "own&lt;b&gt;" in page and "own<b>" not in page
    said = "harness proven, providers' models not tried, local models tried: own<b> (0123456789ab)"
    assert said in mode_text(verdict)
    assert "local model" not in mode_text(make_verdict())


def test_every_report_names_the_guards_that_were_seen_to_trip() -> None:
    weights = "0123456789ab" + "c" * 52
    verdict = make_verdict(guard_models={"injection": weights})
    assert load_verdict(render_json(verdict)).guard_models == {"injection": weights}
    (told,) = parsed(verdict).findall(".//property[@name='guard_models']")
    assert told.attrib["value"] == f"injection={weights}"
    assert weights in render_html(verdict)
    assert mode_text(verdict).endswith("model not tried, guards seen to trip: injection (0123456789ab)")
    assert "guards" not in mode_text(make_verdict())
