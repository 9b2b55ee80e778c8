"""Checks of a contract by itself: contradictions, and what is left out of it."""

import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.checking_models import worst_time_s
from plimsoll.contract.model import AgentSection, Approval, Contract, Model, OutputRule, Retry, Tool
from plimsoll.core.calls import Fault
from tests.contract.sound import FIND, PRIMARY_RETRY, REFUND, REFUND_OUTPUT, RETRIED, SOUND, changed, found


def test_a_sound_contract_has_no_problems() -> None:
    assert found(SOUND) == []
    assert found(SOUND, [REFUND, FIND]) == []


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        # --- models
        (
            'id = "openai:gpt-5-mini"',
            'local = "."\nid = "x"',
            ["error 9: models.small.id: a local model has no id of a provider → keep local, or this"],
        ),
        (
            'canned = "Later, please."',
            'canned = "Later, please."\nlocal = "."',
            ["error 13: models.canned.local: a canned answer asks no model → keep canned, or this"],
        ),
        (
            '[models.primary]\n',
            '[models.primary]\nlocal = "."\n',
            ["error 4: models.primary.local: the first model is the agent's own, and this is what it falls back to"],
        ),
        (
            'fallback = ["small", "canned"]\n',
            "",
            ["warning 3: models.primary.fallback: has no fallback", "warning 6: models.small: is in no ladder",
             "warning 10: models.canned: is in no ladder"],
        ),
        (
            '"small", "canned"',
            '"smal", "canned"',
            ["error 4: models.primary.fallback[0]: no model is called smal → did you mean small?"],
        ),
        (
            '"small", "canned"',
            '"small", "zzz", "canned"',
            ["error 4: models.primary.fallback[1]: no model is called zzz → add [models.zzz]"],
        ),
        (
            '"small", "canned"',
            '"small", "small", "canned"',
            ["error 4: models.primary.fallback[1]: small is in this ladder twice → name each rung once"],
        ),
        (
            '"small", "canned"',
            '"primary", "small", "canned"',
            ["error 4: models.primary.fallback[0]: falls back to itself"],
        ),
        (
            'id = "openai:gpt-5-mini"',
            'id = "openai:gpt-5-mini"\nfallback = ["primary"]',
            ["error 4: models.primary.fallback[0]: small falls back to primary in its turn",
             "error 9: models.small.fallback[0]: primary falls back to small in its turn"],
        ),
        (
            '"small", "canned"',
            '"canned", "small"',
            ["error 4: models.primary.fallback[1]: small comes after the canned answer canned, which never fails"],
        ),
        (
            'canned = "Later, please."',
            'canned = "Later, please."\nid = "x"\nretry = { on = ["timeout"] }\nfallback = ["small"]',
            ["error 13: models.canned.id: a canned answer asks no model",
             "error 14: models.canned.retry: a canned answer asks no model",
             "error 15: models.canned.fallback: nothing comes after a canned answer"],
        ),
        (
            'id = "openai:gpt-5-mini"\n',
            "",
            ["warning 7: models.small.id: asks the same model as primary above it, which has failed"],
        ),
        (
            "[models.primary]",
            "[models.primary]\ntimeout_s = 301",
            ["warning 4: models.primary.timeout_s: is 301 s, and a run has 300 s in all (limits.seconds) → at most 300",
             "warning 4: models.primary.timeout_s: is more than 10 times the default (30): unless runs come near",
             "warning 8: models.small: the rungs above it may take 301 s, and a run has 300 s in all (limits.seconds)"],
        ),
        (
            "[models.primary]",
            "[models.primary]\nslow_s = 25",
            ["warning 4: models.primary.slow_s: is too late: an answer that takes 0.8 of timeout_s is to be reported → "
             "at most 24"],
        ),
        (
            "[models.primary]",
            "[limits]\ntokens = 4096\n[models.primary]\nmax_output_tokens = 4095",
            ["error 10: models.small.max_output_tokens: 4096 may pass limits.tokens (4096), so that no call is ever"],
        ),
        (
            "usd_per_million_output_tokens = 10",
            "usd_per_million_output_tokens = 300",
            ["error 5: models.primary.usd_per_million_output_tokens: one answer may cost $1.2288, more than limits.usd "
             "($1), so that no call is ever made"],
        ),
        (
            "usd_per_million_input_tokens = 1\n",
            "",
            ["warning 7: models.small.usd_per_million_input_tokens: is missing, while the other price is there"],
        ),
        # --- tools
        (
            'verify = "shop.tools:verify"\nclaims = ["refunded"]\n',
            "",
            ["warning 15: tools.refund.verify: is missing: whenever nobody knows whether this write happened, the run "
             "parks for a person", "warning 15: tools.refund.claims: is missing: an agent that says it was done"],
        ),
        (
            "[tools.refund]",
            '[tools.refund]\nretry = { on = ["timeout", "refused"] }',
            ["error 16: tools.refund.retry: a write is retried only after an error that proves that nothing happened, "
             "and none is named → name the exception classes in proves_nothing_happened; or effect = "],
        ),
        (
            "[tools.refund]",
            '[tools.refund]\nretry = { on = ["rate_limited"] }\nproves_nothing_happened = ["TooManyRequests"]',
            [],
        ),
        (
            "[tools.refund]",
            '[tools.refund]\neffect = "idempotent"',
            ["warning 15: tools.refund.retry: is missing: a fault that another try would cure fails the call"],
        ),
        (
            "[tools.refund]",
            '[tools.refund]\neffect = "idempotent"\nretry = { on = ["timeout", "connection"] }',
            ["warning 17: tools.refund.retry.on: leaves out rate_limited, server_error, exception, empty, malformed, "
             "wrong_shape, error_in_success: a fault that another try would cure fails the call → add them; or accept "
             "unretried_faults in [gate]"],
        ),
        ("[tools.refund]", f'[tools.refund]\neffect = "idempotent"\nretry.on = {RETRIED}', []),
        ('[tools.find.output]\ntype = "array"\n', "[tools.find.output]\nmay_be_empty = true\n", []),
        (
            '[tools.find.output]\ntype = "array"\n',
            "",
            ["warning 13: tools.find.output: is missing: null, [] and {} pass for an answer, and so does any shape"],
        ),
        (
            '[tools.find.output]\ntype = "array"\n',
            '[tools.find.output]\ntype = "string"\n',
            ["warning 21: tools.find.output: takes any text, also one that breaks off in the middle → a pattern"],
        ),
        ('[tools.find.output]\ntype = "array"\n', '[tools.find.output]\ntype = "string"\npattern = "W[0-9]+"\n', []),
        (
            '[tools.find.output]\ntype = "array"\n',
            '[tools.find.output]\ntype = "array"\nmay_be_empty = true\nmay_look_like_error = true\n',
            ["warning 23: tools.find.output.may_be_empty: takes null, which is what is left of an answer that was lost",
             "warning 24: tools.find.output.may_look_like_error: lets an error through that is delivered as a success"],
        ),
        (
            REFUND_OUTPUT,
            "",
            ["warning 15: tools.refund.output: is missing: null, [] and {} pass for an answer"],
        ),
        (
            PRIMARY_RETRY,
            "",
            ["warning 3: models.primary.retry: is missing: a fault that passes by itself gives this model up → retry = "
             '{ on = ["rate_limited", "connection", "server_error", "empty", "malformed"] }; or accept unretried_'
             'faults in [gate]'],
        ),
        (
            PRIMARY_RETRY,
            '[models.primary.retry]\non = ["connection"]\n',
            ["warning 28: models.primary.retry.on: leaves out rate_limited, server_error, empty, malformed: a"],
        ),
        (
            PRIMARY_RETRY,
            "[models.primary.retry]\non = []\nbase_s = 9\nmax_attempts = 1\n",
            ["warning 28: models.primary.retry.on: is empty: nothing is retried",
             "warning 29: models.primary.retry.base_s: is more than cap_s (8), which holds",
             "warning 30: models.primary.retry.max_attempts: counts the first call"],
        ),
        (
            '"small", "canned"',
            '"small"',
            ["warning 4: models.primary.fallback: names no canned answer: when every model is out the run fails, and",
             "warning 11: models.canned: is in no ladder"],
        ),
        (
            'name = "shop"',
            'name = "shop"\nnew_version = "replay"',
            ["warning 3: agent.new_version: is replay: what two versions do in one run was tried by nobody → remove "
             'it: "pin" lets somebody adopt the run; or accept unpinned_runs in [gate]'],
        ),
        (
            "[models.primary]",
            "[models.primary]\nmay_write = false",
            ["error 4: models.primary.may_write: bars nothing here: only a rung below the first keeps a"],
        ),
        (
            'id = "openai:gpt-5-mini"\n',
            'id = "openai:gpt-5-mini"\nmax_output_tokens = 40961\n',
            ["warning 9: models.small.max_output_tokens: is more than 10 times the default (4096): unless runs come"],
        ),
        (
            '"small", "canned"',
            '"canned"',
            ["warning 4: models.primary.fallback: names no other model: while primary is out, nothing is served",
             "warning 7: models.small: is in no ladder"],
        ),
        (
            'id = "openai:gpt-5-mini"\n',
            'id = "openai:gpt-5-mini"\nmay_write = false\n',
            ["warning 4: models.primary.fallback: names no model that may write: while primary is out, nothing"],
        ),
        (
            '["ann"]',
            "[]",
            ["error 18: tools.refund.approval.approvers: names nobody, so that every call that needs approval is"],
        ),
        ('["ann"]', '[" "]', ["error 18: tools.refund.approval.approvers: names nobody"]),
        (
            '["ann"]',
            '["ann"], expires_s = 59',
            ["warning 18: tools.refund.approval.expires_s: 59 s is too short for a person"],
        ),
        ("amount > 50", "1 > 2", ["warning 18: tools.refund.approval.when: never holds, so nobody is ever asked"]),
        ("amount > 50", "true", []),
        ("amount > 50", "1 / 0 > 2", []),
        (
            "[tools.refund]",
            '[tools.refund]\nrefuse_when = "true"',
            ["warning 16: tools.refund.refuse_when: always holds, so the tool can never be called"],
        ),
        ("[tools.refund]", '[tools.refund]\nrefuse_when = "false"', []),
        (
            "[tools.refund]",
            "[tools.refund]\ntimeout_s = 301\nslow_s = 301",
            ["warning 16: tools.refund.timeout_s: is 301 s, and a run has 300 s in all",
             "warning 16: tools.refund.timeout_s: is more than 10 times the default (10): unless runs come near",
             "warning 17: tools.refund.slow_s: is too late: an answer that takes 0.8 of timeout_s is to be reported"],
        ),
        # --- the rest
        (
            "[gate]",
            '[protections]\nretry = "observe"\nloops = "enforce"\n[gate]',
            ["warning 20: protections.retry: is not enforced: what it would have done is only reported"],
        ),
        (
            'scenarios = "shop.scenarios:ALL"',
            "storms = 58",
            ["warning 19: gate.scenarios: is missing: the gate has nothing to try",
             "warning 20: gate.storms: 58 cannot show a target of 0.95, even if all are survived → at least 59"],
        ),
        ("[gate]", "[gate]\nstorms = 59", []),
        (
            "[gate]",
            '[gate]\nclaims = ["honesty", "latency"]',
            ["warning 20: gate.claims: leaves out monitoring, fallbacks, oversight, bounded, exactly_once: nobody need "
             "show that it holds → remove it: then all are wanted; or accept fewer_claims in [gate]"],
        ),
        (
            "[gate]",
            "[gate]\nstorm_target = 0.5\nconfidence = 0.89\nfinding_within_s = 601",
            ["warning 20: gate.storm_target: is 0.5: too little to go by → at least 0.9; or accept low_confidence",
             "warning 21: gate.confidence: is 0.89: too little to go by → at least 0.9",
             "warning 22: gate.finding_within_s: is 601 s: too late for anybody to act on → at most 600"],
        ),
        (
            "[gate]",
            "[limits]\nsteps = 501\nseconds = 3000\ntokens = 2_000_000\nusd = 10\nrepeats = 31\n[gate]",
            ["warning 20: limits.steps: is more than 10 times the default (50): unless runs come near, it",
             "warning 24: limits.repeats: is more than 10 times the default (3)"],
        ),
        (
            "[gate]",
            '[gate]\naccepts = ["loose_limits", "parked_writes", "low_confidence"]',
            ["warning 20: gate.accepts[1]: nothing here needs parked_writes, so that it can only hide what is lowered",
             "warning 20: gate.accepts[2]: nothing here needs low_confidence"],
        ),
    ],
)  # fmt: skip
def test_each_hole_is_found_alone(old: str, new: str, expected: list[str]) -> None:
    actual = found(changed((old, new)))
    assert len(actual) == len(expected), actual
    for one, start in zip(actual, expected, strict=True):
        assert one.startswith(start)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            [("[models.primary]", "[models.primry]"), ("[models.primary.retry]", "[models.primry.retry]")],
            ["error 3: models: no model is called primary, the one that the agent asks → rename [models.primry] to"],
        ),
        (
            [('fallback = ["small", "canned"]\nusd_per_million_output_tokens = 10\nusd_per_million_input_tokens = 2\n',
              'canned = "hi"\n'),
             (PRIMARY_RETRY, "")],
            ["warning 4: models.primary.canned: the agent would never ask a model",
             "warning 5: models.small: is in no ladder", "warning 9: models.canned: is in no ladder"],
        ),
        (
            [("[models.primary]", "[models.primary]\ntimeout_s = 80"),
             (PRIMARY_RETRY, PRIMARY_RETRY.replace("']", "', 'timeout']") + "base_s = 30\ncap_s = 30\n")],
            ["warning 8: models.small: the rungs above it may take 300 s"],
        ),
        (
            [("[models.primary]", "[models.primary]\ntimeout_s = 80"),
             (PRIMARY_RETRY, PRIMARY_RETRY + "base_s = 30\ncap_s = 30\n")],
            [],
        ),
        (
            [("[tools.refund]", '[tools.refund]\neffect = "read"'),
             (REFUND_OUTPUT, REFUND_OUTPUT + f"[tools.refund.retry]\non = {RETRIED}\n")],
            ["warning 17: tools.refund.verify: a read has no effect that could be in doubt",
             "warning 18: tools.refund.claims: a read has no effect that could be in doubt"],
        ),
        (
            [(REFUND_OUTPUT, '[tools.refund.output]\ntype = "array"\nrequired = ["id"]\n')],
            ["error 27: tools.refund.output.required: has keys, and the type is array"],
        ),
        ([(REFUND_OUTPUT, '[tools.refund.output]\nrequired = ["id"]\n')], []),
        (
            [(PRIMARY_RETRY, PRIMARY_RETRY + f"[tools.primary]\neffect = 'read'\nretry.on = {RETRIED}\n"
              "output.type = 'array'\n")],
            ["error 29: tools.primary: a model is called primary too"],
        ),
        (
            [(REFUND_OUTPUT, ""), (PRIMARY_RETRY, ""), ("usd_per_million_input_tokens = 1\n", ""),
             ('verify = "shop.tools:verify"\nclaims = ["refunded"]\n', ""), ('"small", "canned"', '"canned"'),
             ("[gate]", "[gate]\naccepts = ['unchecked_answers', 'unretried_faults', 'unpriced_models', "
              "'parked_writes', 'unnamed_claims', 'canned_answers']")],
            ["warning 7: models.small: is in no ladder"],
        ),
    ],
)  # fmt: skip
def test_what_takes_several_changes(changes: list[tuple[str, str]], expected: list[str]) -> None:
    actual = found(changed(*changes))
    assert len(actual) == len(expected), actual
    for one, start in zip(actual, expected, strict=True):
        assert one.startswith(start)


def test_without_any_price_money_is_not_counted() -> None:
    prices = [line for line in SOUND.splitlines(keepends=True) if line.startswith("usd_per_million_")]
    text = changed(*((price, "") for price in prices), ("openai:gpt-5-mini", "mine:small"))
    assert found(text) == [
        "warning 1: limits.usd: no model has a price, so money is never counted "
        "→ set usd_per_million_input_tokens and usd_per_million_output_tokens; or accept unpriced_models in [gate]"
    ]


def test_contracts_built_in_code_are_checked_too() -> None:
    contract = Contract(
        agent=AgentSection(name="a"),
        models={},
        tools={
            "pay": Tool(
                refuse_when="amount =",
                approval=Approval(when="amount +", approvers=("ann",)),
                output=OutputRule(pattern="("),
            )
        },
    )
    problems = check_contract(contract)
    errors = [(problem.line, problem.field, problem.fix) for problem in problems if problem.severity == "error"]
    assert errors == [
        (1, "models", "add [models.primary]"),
        (1, "tools.pay.approval.when", "finish the rule"),
        (1, "tools.pay.refuse_when", "write == to compare"),
        (1, "tools.pay.output.pattern", "mend it, or remove it"),
    ]
    ladder = Contract(agent=AgentSection(name="a"), models={"primary": Model(fallback=("smal",)), "small": Model()})
    assert "no model is called smal → did you mean small?" in str(check_contract(ladder)[0])


def test_the_problems_of_a_bare_contract_are_only_warnings() -> None:
    assert {line.split()[0] for line in found('agent.name = "a"\n')} == {"warning"}


@pytest.mark.parametrize(
    ("retry", "expected"),
    [
        (None, 10),
        (Retry(on=(Fault.RATE_LIMITED,), max_attempts=9), 10),
        (Retry(on=(Fault.TIMEOUT,), max_attempts=1), 10),
        (Retry(on=(Fault.TIMEOUT,), max_attempts=4, base_s=1, cap_s=3), 40 + 1 + 2 + 3),
        (Retry(on=(Fault.TIMEOUT,), max_attempts=10**9, base_s=8, cap_s=8), 10**10 + 8 * (10**9 - 1)),
    ],
)
def test_the_worst_time_counts_attempts_and_waits(retry: Retry | None, expected: float) -> None:
    assert worst_time_s(10, retry) == pytest.approx(expected)
