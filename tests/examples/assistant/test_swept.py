"""Every field of the shipped contract, taken out, ten times as much, a tenth, any other word: what is no decision, and
does not hold the agent to more than before, does not ship."""

import functools
import re
from collections.abc import Iterator

import pytest

from plimsoll.contract.bounds import bounds
from plimsoll.contract.checking import check_contract
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.gate.faults import KINDS
from plimsoll.gate.terms import left_out, not_shown
from tests.examples.assistant.shipped import BAD_ANSWERS, CALL_FAULTS, SHIPPED, USED_IN, Tried
from tests.examples.assistant.sweep import Weakened, weakened
from tests.examples.assistant.test_lowered import reasons, reasons_of_the_shipped

EDITS = list(weakened(SHIPPED))
BOUNDS = {".".join(map(str, bound.path)): bound.value for bound in bounds(SHIPPED)}

# Edits that take no protection away, and why.
HARMLESS = {
    r"agent\.(entrypoint|deps) left out": "where the agent is found, and not what it may do",
    r"(limits|limits\.\w+) left out": "the default holds, and binds",
    r".*\.(timeout_s|max_attempts|max_output_tokens) left out": "the default holds, and binds",
    r".*\.retry\.(base_s|cap_s) .*": "a decision: how long is waited for another try, which limits.seconds ends",
    r".*\.usd_per_million_\w+ = .*": "a decision: what a model costs",
    r"models\.backup\.retry\.on without timeout": "a decision: what timed out need not be waited for once more",
    r"models\.canned\..*": "a canned answer asks nobody",
    r"tools\.think left out": "a write, then, that no scenario needs: in doubt it waits for a person",
    r".*\.output\.type left out": "what has these keys, or matches this pattern, is of this type",
    r".*\.output\.required without .*": "a decision: which keys are looked at",
    r".*\.output\.may_be_empty = False": "stricter",
    r".*\.approval\.approvers without .*": "a decision: who may approve",
    r".*\.approval\.expires_s = .*": "a decision: how long a person has",
    r".*\.approval\.when left out": "stricter: everything is asked about",
    r".*\.proves_nothing_happened .*": "stricter: also a refusal is looked up",
    r".*\.claims without .*": "a decision: which words say that something was done",
    r"journal\.(path|encrypt|checkpoint_\w+) .*": "how it is kept, and not what",
    r"journal\.patience_s = .*": "a decision: how long a journal is waited for, which limits.seconds ends",
    r"(gate|gate\.scenarios) left out": "nothing is tried then, so that nothing ships",
    r"gate\.(seed|storms) .*": "what is drawn; too few storms are INCONCLUSIVE",
    r"gate\.finding_within_s = 12\.0": "stricter",
    r"protections\.(hedge|circuit_breaker|rate_limit|bulkhead|guards) = observe": "this contract has nothing of it",
    r"models\.\w+\.answer_within_s = .*": "nothing is handed over to a person here",
    r"alerts\.\w+ = .*": "a decision: which alerts reach people, and how many; the gate sees all of them",
    r"service_levels\.\w+ = .*": "a decision: what goes well, over many runs, and a trial is one",
    r"telemetry\.record_content = True": "a decision: whether what was said may leave",
}


def is_harmless(edit: Weakened) -> bool:
    field, value = ".".join(map(str, edit.path)), edit.to.removeprefix("= ")
    lower = field in BOUNDS and edit.to != "left out" and float(value) < BOUNDS[field]
    return lower or any(re.fullmatch(pattern, str(edit)) for pattern in HARMLESS)


def is_found(edit: Weakened) -> bool:
    contract = edit.contract
    if contract is None or any(problem.severity == "error" for problem in check_contract(contract)):
        return True
    if any(left_out(contract)) or any(not_shown(contract, ())):
        return True
    return any(map(functools.partial(differs, contract), tried(edit)))


def differs(contract: Contract, trials: Tried) -> bool:
    try:
        return bool(set(reasons(contract, trials)) - set(reasons_of_the_shipped(trials)))
    except Misuse:
        return True


def tried(edit: Weakened) -> Iterator[Tried]:
    """What tells of an edit: the scenarios that use what it is about, under the faults that strike it."""
    match edit.path:
        case ("tools", str(tool), *_) if tool in USED_IN:
            yield USED_IN[tool], tuple(KINDS), tool, ()
            if tool == "issue_refund":
                yield "large_refund", (), "", ()
                yield "small_refund", ("loop",), "", ()
                yield "refund_too_large", (), "", ()
        case ("models", "backup", *_):
            yield "cancel_order", ("hang",), "primary", tuple(KINDS)
        case ("models", *_):
            yield "cancel_order", tuple(KINDS), "primary", ()
        case _:
            yield "small_refund", ("loop", "false_claim"), "", ()
            yield "order_status", ("loop", "hang", *CALL_FAULTS, *BAD_ANSWERS), "", ()
            yield "product_search", ("token_flood",), "", ()
            yield "large_refund", (), "", ()


SECTIONS = list(dict.fromkeys(".".join(map(str, edit.path[:2])) for edit in EDITS))


@pytest.mark.heavy
@pytest.mark.timeout(120)
@pytest.mark.parametrize("section", SECTIONS)
def test_whatever_is_weakened_is_found_or_takes_no_protection_away(section: str) -> None:
    edits = [edit for edit in EDITS if ".".join(map(str, edit.path[:2])) == section]
    assert [str(edit) for edit in edits if not is_harmless(edit) and not is_found(edit)] == []


def test_every_field_is_weakened() -> None:
    assert len(EDITS) > 500
    fields = {edit.path[-1] for edit in EDITS if edit.path[0] == "tools"}
    assert {"effect", "timeout_s", "retry", "on", "max_attempts", "output", "required", "pattern", "type"} < fields
    assert {"verify", "claims", "approval", "when", "refuse_when", "max_per_run", "proves_nothing_happened"} < fields


def test_what_is_called_harmless_is_there() -> None:
    unused = [pattern for pattern in HARMLESS if not any(re.fullmatch(pattern, str(edit)) for edit in EDITS)]
    assert unused == []
