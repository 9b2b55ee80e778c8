"""The registry of faults, what each owes, and the journal's own troubles."""

from typing import Any

import msgspec
import pytest

from plimsoll.contract.model import Limits, OutputRule
from plimsoll.core.calls import CallKind, Effect, Ending, Fault
from plimsoll.gate.fault_kinds import How
from plimsoll.gate.faults import KINDS
from plimsoll.gate.plain import DependencyError, PlainForger
from plimsoll.gate.sites import Site, SiteKind, call_site, group_of, site_kind
from plimsoll.gate.verdict import CLAIMS, Injection, Reach
from plimsoll.policies.classify import classify
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from tests.gate.sample import RETRY, USAGE, accepting, agent, contract, hardened, scenario, with_tool
from tests.gate.test_oracles import codes, play

PLACES = {
    SiteKind.MODEL: ("primary@1:primary", "primary@7:primary"),
    SiteKind.READ: ("find_order@2:find_order",),
    SiteKind.WRITE: ("refund@4:refund", "tell_customer@6:tell_customer"),
    SiteKind.APPEND: ("append@1", "append@2", "append@4", "append@6"),
    SiteKind.APPROVAL: ("approval@1",),
    SiteKind.SCENARIO: ("scenario",),
}
CELLS = [
    (kind.name, site, variant)
    for kind in KINDS.values()
    if kind.how is not How.AGE  # no tool of the sample dates its answers; see test_declared
    and kind.how is not How.TAINT  # and none of its texts is hostile; see test_guards
    for place, sites in PLACES.items()
    if place in kind.strikes
    for site in sites
    for variant in kind.variants
    if not (variant == "prefix" and site == "append@1")
    and not (kind.how is How.BREAK and site == "primary@1:primary")  # it calls a tool, and streams no text
]


@pytest.mark.parametrize(("kind", "site", "variant"), CELLS)
def test_the_hardened_agent_withstands(kind: str, site: str, variant: str) -> None:
    trial = play(hardened(), (kind, site), variant=variant).trial
    assert trial.fired
    assert trial.passed, trial.violations
    if site_kind(site, contract()) in KINDS[kind].survivable:
        assert trial.reach is Reach.REACHED


@pytest.mark.parametrize(
    "fault", ["latency_spike", "hang", "rate_limited", "server_error", "connection_reset", "crash_before_call"]
)
def test_verify_itself_may_fail(fault: str) -> None:
    trial = play(hardened(), ("response_lost", "refund@4:refund"), (fault, "refund.verify@4:refund")).trial
    assert trial.fired and trial.passed, trial.violations
    assert trial.reach is (Reach.HELD if fault == "hang" else Reach.REACHED)


def test_every_kind_says_what_it_does() -> None:
    for name, kind in KINDS.items():
        assert kind.name == name and kind.about and kind.strikes
        assert set(kind.claims) <= set(CLAIMS) and kind.goal_claim in CLAIMS
        assert kind.lasting <= kind.strikes
        assert Reach.LOST not in kind.endings
        changed = (How.SILENCE, How.HOLLOW, How.AGE, How.BREAK)
        forged = kind.how in (How.RAISE, How.LOSE, How.FORGE, How.FORGE_INSTEAD, *changed)
        assert forged == (kind.fault is not None)


def test_a_read_without_retries_owes_an_honest_ending_only_where_that_is_accepted() -> None:
    promised = with_tool(contract(), "find_order", retry=None)
    fault = ("connection_reset", "find_order@2:find_order")
    assert ("fallbacks", "goal_missed") in codes(play(hardened(promised), fault, promised=promised).trial)
    promised = accepting(promised, "unretried_faults")
    trial = play(hardened(promised), fault, promised=promised).trial
    assert trial.passed and trial.reach is Reach.CANNED


def test_an_idempotent_write_is_survived_by_its_retries() -> None:
    promised = with_tool(contract(), "refund", effect=Effect.IDEMPOTENT, verify=None, retry=RETRY)
    trial = play(hardened(promised), ("connection_reset", "refund@4:refund"), promised=promised).trial
    assert trial.passed and trial.reach is Reach.REACHED


@pytest.mark.parametrize("fault", ["response_lost", "crash_after_call"])
def test_a_write_without_verify_waits_for_a_person_where_that_is_accepted(fault: str) -> None:
    promised = with_tool(contract(), "refund", verify=None)
    at_refund = (fault, "refund@4:refund")
    assert "goal_missed" in {code for _, code in codes(play(hardened(promised), at_refund, promised=promised).trial)}
    promised = accepting(promised, "parked_writes")
    trial = play(hardened(promised), at_refund, promised=promised).trial
    assert trial.passed and trial.reach is Reach.HELD and trial.ending is Ending.PARKED


@pytest.mark.parametrize("fault", ["rate_limited", "connection_reset"])
def test_what_passes_by_itself_costs_a_run_no_model(fault: str) -> None:
    models = contract().models
    promised = contract(models={**models, "primary": msgspec.structs.replace(models["primary"], retry=None)})
    at_primary = (fault, "primary@3:primary")
    assert play(hardened(), at_primary).trial.ending is Ending.COMPLETE
    trial = play(hardened(promised), at_primary, promised=promised).trial
    assert trial.reach is Reach.REACHED and trial.ending is Ending.DEGRADED
    assert codes(trial) == {("fallbacks", "given_up_early")}
    promised = accepting(promised, "unretried_faults")
    assert play(hardened(promised), at_primary, promised=promised).trial.passed


def test_while_one_model_is_out_the_other_is_given_up_no_sooner() -> None:
    models = contract().models
    promised = contract(models={**models, "backup": msgspec.structs.replace(models["backup"], retry=None)})
    faults = (("hang", "primary@1:primary"), ("connection_reset", "backup@1:primary"))
    assert play(hardened(), *faults).trial.reach is Reach.REACHED
    assert ("fallbacks", "goal_missed") in codes(play(hardened(promised), *faults, promised=promised).trial)
    promised = accepting(promised, "unretried_faults")
    trial = play(hardened(promised), *faults, promised=promised).trial
    assert trial.passed and trial.reach is Reach.CANNED


def test_a_canned_answer_is_enough_where_that_is_accepted() -> None:
    models = contract().models
    promised = contract(models={**models, "primary": msgspec.structs.replace(models["primary"], fallback=("sorry",))})
    fault = ("server_error", "primary@3:primary")
    assert ("fallbacks", "goal_missed") in codes(play(hardened(promised), fault, promised=promised).trial)
    promised = accepting(promised, "canned_answers")
    trial = play(hardened(promised), fault, promised=promised).trial
    assert trial.passed and trial.reach is Reach.CANNED


@pytest.mark.parametrize(
    ("fault", "rule"),
    [
        ("malformed", OutputRule()),
        ("empty", OutputRule(may_be_empty=True, type="object")),
        ("error_in_success", OutputRule(type="object", may_look_like_error=True)),
    ],
)
def test_a_bad_answer_passes_for_one_only_where_that_is_accepted(fault: str, rule: OutputRule) -> None:
    async def trusting(run: Run, order_id: Any) -> str:
        await run.call("find_order", {"order_id": order_id})
        return await agent(run, order_id)

    promised = with_tool(contract(), "find_order", output=rule)
    whole = hardened(run=trusting)
    bad = (fault, "find_order@1:find_order")
    found = play(hardened(promised, run=trusting), bad, promised=promised, against=whole).trial
    assert codes(found) == {("monitoring", "finding_missing")}
    promised = accepting(promised, "unchecked_answers")
    assert play(hardened(promised, run=trusting), bad, promised=promised, against=whole).trial.passed


def test_of_an_answer_that_nobody_looks_at_nobody_need_notice_that_it_is_bad() -> None:
    promised = with_tool(contract(), "find_order", output=OutputRule(may_be_empty=True))
    trial = play(hardened(promised), ("malformed", "find_order@2:find_order"), promised=promised).trial
    assert "finding_missing" not in {code for _, code in codes(trial)}
    assert not trial.passed, "here somebody does look at it, and the goal is missed"


def test_a_prefix_of_one_event_is_none() -> None:
    assert not play(hardened(), ("crash_at_append", "append@1"), variant="prefix").trial.fired


def test_a_crash_before_the_request_is_accepted_is_asked_again() -> None:
    played = play(hardened(), ("crash_at_append", "append@1"), variant="none")
    assert played.trial.passed and played.scene.lives == 2 and not played.scene.noticed_crashes


def test_an_outage_parks_the_run_which_then_goes_on() -> None:
    played = play(hardened(), ("journal_outage", "append@4"), recording=True)
    assert played.trial.passed and played.trial.reach is Reach.REACHED
    assert any("parks: journal" in step.text for step in played.trial.story)


def test_a_lasting_fault_strikes_every_later_call() -> None:
    played = play(hardened(), ("server_error", "primary@3:primary"))
    failed = [call.site for call in played.scene.calls if call.error]
    assert list(dict.fromkeys(failed)) == ["primary@3:primary", "primary@5:primary", "primary@7:primary"]


def test_a_spike_is_due_a_finding_also_where_the_contract_would_rather_wait() -> None:
    models = contract().models
    patient = {**models, "primary": msgspec.structs.replace(models["primary"], slow_s=9.0)}
    promised = contract(models=patient)
    trial = play(hardened(promised), ("latency_spike", "primary@1:primary"), promised=promised).trial
    assert codes(trial) == {("monitoring", "finding_missing")}


def test_time_runs_out_when_everything_hangs() -> None:
    promised = contract(limits=Limits(steps=20, seconds=15.0, tokens=100_000, repeats=3))
    trial = play(hardened(promised), ("hang", "primary@1:primary"), promised=promised, against=hardened(promised)).trial
    assert ("latency", "hung") not in codes(trial)


class TestSites:
    def test_kinds(self) -> None:
        promised = contract()
        assert site_kind("primary@1:primary", promised) is SiteKind.MODEL
        assert site_kind("find_order@2", promised) is SiteKind.READ
        assert site_kind("refund@2", promised) is SiteKind.WRITE
        assert site_kind("undeclared@2", promised) is SiteKind.WRITE
        assert site_kind("refund.verify@2", promised) is SiteKind.VERIFY
        assert site_kind("append@2", promised) is SiteKind.APPEND

    def test_a_canned_answer_is_no_site(self) -> None:
        assert call_site("sorry@1:primary", CallKind.MODEL, contract()) is None
        assert call_site("primary@1:primary", CallKind.MODEL, contract()) == Site("primary@1:primary", SiteKind.MODEL)

    def test_groups(self) -> None:
        assert group_of(Injection(kind="hang", site="refund.verify@3:refund")) == "refund.verify"
        assert group_of(Injection(kind="crash_at_append", site="append@3")) == "journal"
        assert group_of(Injection(kind="loop", site="scenario")) == "model itself"


class TestPlainForger:
    def model_call(self) -> object:
        from plimsoll.runtime.models import ModelExchange

        return ModelExchange("primary", [], functions={}, sections=contract().models)

    @pytest.mark.parametrize("fault", [Fault.RATE_LIMITED, Fault.SERVER_ERROR, Fault.CONNECTION])
    def test_exceptions_are_classified_as_what_they_are(self, fault: Fault) -> None:
        with pytest.raises((DependencyError, ConnectionError)) as caught:
            PlainForger().forge(fault, self.model_call(), None)  # type: ignore[arg-type]
        record = classify(caught.value)
        assert record.fault is fault
        assert record.retry_after_s == (2.0 if fault is Fault.RATE_LIMITED else None)

    @pytest.mark.parametrize("fault", [Fault.EMPTY, Fault.TRUNCATED, Fault.ERROR_IN_SUCCESS])
    @pytest.mark.parametrize("native", [ModelReply(text="A whole answer.", usage=USAGE), None])
    def test_replies_are_found_out(self, fault: Fault, native: ModelReply | None) -> None:
        exchange = self.model_call()
        reply = PlainForger().forge(fault, exchange, native)  # type: ignore[arg-type]
        problem = exchange.inspect(reply).problem  # type: ignore[attr-defined]
        assert problem is not None and problem.fault is fault

    def test_what_cannot_be_shown(self) -> None:
        from plimsoll.runtime.tools import BoundTool, ToolExchange, tool_spec

        async def find() -> int:
            return 1

        exchange = ToolExchange(BoundTool(tool_spec(find), section=contract().tool("find")), {})
        for target in (exchange, self.model_call()):
            with pytest.raises(LookupError):
                PlainForger().forge(Fault.FILTERED, target, None)  # type: ignore[arg-type]


def test_the_first_append_of_all_may_fail_for_good() -> None:
    """The request is refused, asked again, and served when the disk is back."""
    played = play(hardened(), ("journal_outage", "append@1"), of=scenario("W2"))
    assert played.trial.passed and played.trial.reach is Reach.REACHED
