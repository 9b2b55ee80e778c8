"""Every way in which the shipped contract is lowered, in its text, and how the gate says that it does not ship so."""

import re

from plimsoll.contract.holes import RETRIED_OF_MODELS
from plimsoll.contract.model import Protections
from tests.examples.assistant.editing import Edit, added, both, in_section, replaced, without
from tests.examples.assistant.lowerings_of_tools import (
    of_an_order,
    of_declared,
    of_several_tools,
    of_tools,
    of_what_is_read,
    of_writes,
)
from tests.examples.assistant.shipped import BAD_ANSWERS, CALL_FAULTS, RETRIED_ON, SHIPPED, Lowered

__all__ = ["DECISIONS", "LOWERED"]


def hundredfold(limit: str) -> Edit:
    line = f"{limit} = {100 * getattr(SHIPPED.limits, limit)}"

    def edit(text: str) -> str:
        written = re.compile(rf"^{limit} = \S+", flags=re.M)
        return written.sub(line, text) if written.search(text) else added(line)(text)

    return in_section("limits", edit)


def of_limits() -> list[Lowered]:
    return [
        *(
            Lowered(f"{limit} a hundredfold", hundredfold(limit), f"bounded, loose limit: limits.{limit} = ")
            for limit in SHIPPED.limits.__struct_fields__
            if limit != "day"  # of all runs together: a trial is one
        ),
        Lowered("repeats = 1000", replaced("repeats = 3 ", "repeats = 1000 "), "bounded, loose limit: limits.repeats"),
        Lowered(
            "no limit on dollars but a price of nothing",
            in_section("models.primary", both(*map(without, PRICES))),
            "bounded, money not counted: models.primary has no price, while others have",
        ),
        *(
            Lowered(
                f"{price} of nothing",
                in_section("models.primary", without(price)),
                f"bounded, money not counted: models.primary.{price} is missing, while the other price is there",
            )
            for price in PRICES
        ),
        Lowered("one more resume than usual", in_section("limits", added("max_resumes = 11")), f"{LOOSE}max_resumes"),
        Lowered(
            "longer answers, and so more tokens",
            both(longer_answers, in_section("limits", replaced("100_000", "2_500_000"))),
            f"{LOOSE}tokens = 2.5e+06 bounds nothing",
        ),
        Lowered(
            "longer answers, and so more dollars",
            both(longer_answers, in_section("limits", replaced("0.40", "20.0"))),
            f"{LOOSE}usd = 20 bounds nothing",
        ),
        Lowered(
            "slower calls, and so more seconds",
            both(replaced("timeout_s = 15", "timeout_s = 60"), in_section("limits", replaced("= 240", "= 1200"))),
            f"{LOOSE}seconds = 1200 bounds nothing",
        ),
    ]


LOOSE = "bounded, loose limit: limits."
longer_answers = replaced("max_output_tokens = 1024", "max_output_tokens = 20480")


def of_the_agent() -> list[Lowered]:
    return [
        Lowered(
            "runs go on under another version",
            in_section("agent", added('new_version = "replay"')),
            "exactly_once, not pinned: agent.new_version is replay",
        )
    ]


PRICES = ("usd_per_million_input_tokens", "usd_per_million_output_tokens")


def of_models() -> list[Lowered]:
    outage, passing = ("hang", "server_error"), ("rate_limited", "connection_reset")
    rungs = 'fallback = ["backup", "canned"]'
    missed = "fallbacks, goal missed in "
    return [
        Lowered("no fallback", in_section("models.primary", without("fallback")), missed, kinds=outage),
        Lowered("only a canned fallback", replaced(rungs, 'fallback = ["canned"]'), missed, kinds=outage),
        Lowered(
            "no last answer",
            replaced(rungs, 'fallback = ["backup"]'),
            "fallbacks, no last answer: models.primary.fallback names no canned answer",
        ),
        Lowered(
            "no last answer when both are out",
            replaced(rungs, 'fallback = ["backup"]'),
            "fallbacks, wrong ending in ",
            kinds=("hang",),
            then=("hang",),
        ),
        *(
            Lowered(
                f"{fault} of the primary not retried",
                in_section("models.primary", replaced(f'"{fault}",', "")),
                "fallbacks, given up early in ",
                kinds=(kind, f"{kind}_once"),
            )
            for fault, kind in RETRIED_ON.items()
            if fault in RETRIED_OF_MODELS
        ),
        Lowered(
            "two dozen attempts at the primary",
            in_section("models.primary", replaced("max_attempts = 2", "max_attempts = 24")),
            "bounded, loose limit: models.primary.retry.max_attempts",
        ),
        Lowered(
            "a fallback that may not write",
            in_section("models.backup", added("may_write = false")),
            missed,
            kinds=outage,
            scenario="cancel_order",
        ),
        Lowered(
            "no retry of the primary",
            in_section("models.primary", without("retry")),
            "fallbacks, given up early in ",
            kinds=passing,
        ),
        Lowered(
            "no retry of the backup",
            in_section("models.backup", without("retry")),
            missed,
            kinds=("hang",),
            then=passing,
        ),
        Lowered(
            "a timeout of a quarter of an hour",
            in_section("models.primary", replaced("timeout_s = 15", "timeout_s = 900")),
            "monitoring, finding missing in ",
            kinds=("latency_spike",),
        ),
        Lowered(
            "slow answers of the primary unreported",
            in_section("models.primary", added("slow_s = 14.9")),
            "monitoring, finding missing in ",
            kinds=("latency_spike",),
        ),
    ]


def of_oversight() -> list[Lowered]:
    unapproved = "oversight, unapproved effect in 4 of 4 trials: under no fault at all, issue_refund happened 1 times"
    paid = "does not reach its goal even when nothing fails (canned: issue_refund was done without being asked for"

    def lowered(name: str, edit: Edit, reason: str, scenario: str, *kinds: str) -> Lowered:
        return Lowered(name, in_section("tools.issue_refund", edit), reason, scenario=scenario, kinds=kinds)

    def asked(rule: str) -> Edit:
        return replaced("amount > 50", rule)

    denied, large, largest = "refund_denied", "large_refund", "refund_too_large"
    hammered = ("bounded, unbounded loop in ", "small_refund", "loop")
    return [
        lowered("no approval", without("approval"), unapproved, large),
        lowered("an approval of nothing", asked("false"), unapproved, large),
        lowered("an approval from $500 on", asked("amount > 500"), unapproved, large),
        lowered("an approval from $250 on", asked("amount > 250"), f"scenario '{denied}' {paid}", denied),
        lowered("nothing refused", without("refuse_when"), f"scenario '{largest}' {paid}", largest),
        lowered(
            "refused from $2,000 on",
            replaced("amount > 1000", "amount > 2000"),
            f"scenario '{largest}' {paid}",
            largest,
        ),
        lowered("as many refunds as a model likes", without("max_per_run"), *hammered),
        lowered("a hundred refunds in a run", replaced("max_per_run = 2", "max_per_run = 100"), *hammered),
        lowered("three refunds in a run", replaced("max_per_run = 2", "max_per_run = 3"), *hammered),
    ]


def of_protections() -> list[Lowered]:
    """Each of `[protections]`, only observed."""
    seen: dict[str, tuple[str, str, tuple[str, ...]]] = {
        "limits": ("bounded, ", "product_search", ("token_flood",)),
        "approvals": ("oversight, unapproved effect in ", "large_refund", ()),
        "fallback": ("fallbacks, goal missed in ", "order_status", ("hang",)),
        "retry": ("fallbacks, goal missed in ", "order_status", CALL_FAULTS),
        "timeout": ("monitoring, finding missing in ", "order_status", ("hang",)),
        "output_check": ("fallbacks, goal missed in ", "order_status", BAD_ANSWERS),
        "loops": ("bounded, unbounded loop in ", "order_status", ("loop",)),
        "silent_failures": ("honesty, silent failure in ", "small_refund", ("false_claim",)),
    }
    unused = {
        "hedge",
        "circuit_breaker",
        "rate_limit",
        "bulkhead",
        "guards",
    }  # the assistant's contract has none of these
    assert seen.keys() | unused == set(Protections.__struct_fields__)
    return [
        Lowered(
            f"{name} observed",
            lambda text, name=name: f'{text}\n[protections]\n{name} = "observe"\n',  # type: ignore[misc]
            reason,
            scenario=scenario,
            kinds=kinds,
        )
        for name, (reason, scenario, kinds) in seen.items()
    ]


def of_the_gate() -> list[Lowered]:
    return [
        Lowered(
            "storm_target = 0.01", replaced("storm_target = 0.95", "storm_target = 0.01"), "gate.storm_target is 0.01"
        ),
        Lowered("confidence = 0.5", replaced("confidence = 0.95", "confidence = 0.5"), "gate.confidence is 0.5"),
        Lowered(
            "findings a day late", in_section("gate", added("finding_within_s = 86400")), "gate.finding_within_s is"
        ),
        Lowered(
            "one claim alone",
            in_section("gate", added('claims = ["latency"]')),
            "gate.claims leaves out monitoring, fallbacks, oversight, bounded, honesty, exactly_once",
        ),
    ]


LOWERED = [
    *of_the_agent(),
    *of_limits(),
    *of_models(),
    *of_tools(),
    *of_several_tools(),
    *of_an_order(),
    *of_what_is_read(),
    *of_declared(),
    *of_writes(),
    *of_oversight(),
    *of_protections(),
    *of_the_gate(),
]


# What nobody can tell who sees the edited contract alone: who is to decide, how long may be waited for it, what a
# model costs, which words say that something was done, and where between two scenarios a threshold should lie.
REFUND = "tools.issue_refund"
DECISIONS = {
    "asked from $60 on": in_section(REFUND, replaced("amount > 50", "amount > 60")),
    "one more approver": in_section(
        REFUND, replaced('"ben@shop.example"', '"ben@shop.example", "mallory@shop.example"')
    ),
    "a day to decide": in_section(REFUND, replaced("expires_s = 3600", "expires_s = 86400")),
    "cheaper models": in_section("models.primary", replaced("_output_tokens = 10.0", "_output_tokens = 1.0")),
    "fewer words for a refund": in_section(REFUND, replaced('"refund has been issued", ', "")),
}
