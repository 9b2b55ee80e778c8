"""A verdict speaks for a model that it names, for a while, and if it is at one with itself."""

import hashlib
from typing import Any

import msgspec
import pytest

from plimsoll.gate.verdict import Decision
from plimsoll.learning.errors import PromotionRefused
from plimsoll.learning.registry.verdicts import check_verdict, read_verdict
from tests.learning.registry.made import NOW, report

DAY_S = 86_400.0


def check(content: bytes, *, digest: str = "mine", now: float = NOW, **chosen: float) -> None:
    check_verdict(read_verdict(content), digest=digest, now=now, **chosen)


def test_ship_of_this_model_speaks_for_it() -> None:
    check(report("mine"))
    check(report("another", "mine"))
    read = read_verdict(report("mine"))
    assert read.digest == hashlib.sha256(report("mine")).hexdigest()
    assert read.local_models == {"local-0": "mine"}


def test_ship_speaks_for_a_guard_that_was_seen_to_stop_a_text() -> None:
    check(report(guard_models={"injection": "mine"}))
    check(report("theirs", guard_models={"injection": "mine"}))


@pytest.mark.parametrize("decision", [Decision.BLOCK, Decision.INCONCLUSIVE])
def test_any_other_decision_does_not(decision: Decision) -> None:
    with pytest.raises(PromotionRefused, match=f"the gate says {decision.upper()}: why not. Mend that"):
        check(report("mine", decision=decision, reasons=["why not."]))


def test_a_verdict_of_another_model_or_of_none_does_not() -> None:
    with pytest.raises(PromotionRefused, match=r"of other models \(local-0 theirs\), and not of mine"):
        check(report("theirs"))
    with pytest.raises(PromotionRefused, match="names no model of one's own"):
        check(report())
    with pytest.raises(PromotionRefused, match=r"of other models \(guards.injection theirs\), and not of mine"):
        check(report(guard_models={"injection": "theirs"}))
    raw = msgspec.json.decode(report())
    del raw["local_models"], raw["guard_models"]  # as the gate wrote it before it tried such models
    with pytest.raises(PromotionRefused, match="names no model of one's own"):
        check(msgspec.json.encode(raw))


def test_a_verdict_expires() -> None:
    check(report("mine"), now=NOW + 30 * DAY_S)
    with pytest.raises(PromotionRefused, match=r"has expired: .* holds for 30 days"):
        check(report("mine"), now=NOW + 30 * DAY_S + 1)
    with pytest.raises(PromotionRefused, match=r"holds for 0.5 days"):
        check(report("mine"), now=NOW + DAY_S, max_age_s=DAY_S / 2)
    with pytest.raises(PromotionRefused, match=r"has expired"):
        check(report("mine"), now=NOW, max_age_s=float("nan"))
    check(report("mine"), now=NOW - 300)
    with pytest.raises(PromotionRefused, match="yet to come"):
        check(report("mine"), now=NOW - 301)


def storms(**changes: float) -> dict[str, Any]:
    figures = {"tried": 300, "passed": 300, "lower_bound": 0.99, "target": 0.97, "confidence": 0.95}
    return {"storms": figures | changes}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"failing_trials": 2}, "2 of its trials failed"),
        ({"failures": [{}]}, "1 of its trials failed"),
        ({"claims": []}, "it has no claims"),
        ({"healthy": []}, "no healthy run"),
        ({"claims": [{"name": "latency", "tried": 9, "passed": 8}]}, "`latency` held in 8 of 9"),
        ({"storms": None}, "storms do not reach"),
        (storms(lower_bound=0.96), "storms do not reach"),
        (storms(passed=301), "more of its storms passed"),
        (storms(passed=0, tried=0), "fewer of its storms passed"),
        (storms(passed=290), "fewer of its storms passed"),
        ({"trials": 4}, "do not add up"),
        ({"made_at": "yesterday"}, "'yesterday' is no time"),
    ],
)
def test_figures_that_do_not_come_to_ship_were_altered(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(PromotionRefused, match=f"was altered: .*{said}"):
        check(report("mine", **changes))


@pytest.mark.parametrize(
    "content",
    [b"", b"{", b"\xff", b'{"decision": "ship"}', b"[" * 100_000, b'{"decision": "ship", "exit_code": 0, "trials": 1}'],
)
def test_what_is_no_verdict_is_told(content: bytes) -> None:
    with pytest.raises(PromotionRefused, match=r"report.json is no verdict of the gate: .*gate-report/verdict.json"):
        read_verdict(content, name="report.json")


def test_a_verdict_that_is_no_utf_8_anywhere_is_none() -> None:
    content = report("mine")[:-1] + b',"a field of tomorrow":"\xff"}'
    with pytest.raises(PromotionRefused, match=r"report.json is no verdict of the gate: 'utf-8'"):
        read_verdict(content, name="report.json")
