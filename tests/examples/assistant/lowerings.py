"""Every way in which the shipped contract is lowered, in its text, and how the gate says that it does not ship so."""

import re
from pathlib import Path
from typing import Any

from examples.assistant.agent import CONTRACT
from plimsoll.contract.holes import RETRIED_OF_MODELS, RETRIED_OF_TOOLS
from plimsoll.contract.loading import parse_contract
from plimsoll.contract.model import Protections
from plimsoll.core.calls import Effect
from tests.examples.assistant.editing import Edit, added, both, in_section, replaced, without

__all__ = [
    "DECISIONS",
    "DOUBT",
    "LOWERED",
    "SHIPPED",
    "TEXT",
    "USED_IN",
    "Lowered",
    "Tried",
    "everywhere",
    "of_declared",
    "of_tools",
]

TEXT = Path(CONTRACT).read_text(encoding="utf-8")
SHIPPED = parse_contract(TEXT, file=CONTRACT)
CALL_FAULTS = ("rate_limited", "server_error", "connection_reset", "response_lost")
BAD_ANSWERS = ("malformed", "empty", "error_in_success")
DOUBT = ("response_lost", "crash_after_call")
RETRIED_ON = {
    "rate_limited": "rate_limited",
    "connection": "connection_reset",
    "server_error": "server_error",
    "empty": "empty",
    "malformed": "malformed",
    "timeout": "answer_never_comes",
    "exception": "exception",
    "error_in_success": "error_in_success",
}
"""The faults that another try may cure, and a kind that shows each."""

# For each tool the scenario that uses it. `think` is used by none; nobody looks at its answer.
USED_IN = {
    "find_user_id_by_email": "order_status",
    "find_user_id_by_name_zip": "change_order_address",
    "get_user_details": "small_refund",
    "get_order_details": "order_status",
    "get_product_details": "product_search",
    "list_all_product_types": "product_search",
    "calculate": "large_refund",
    "issue_refund": "small_refund",
    "cancel_pending_order": "cancel_order",
    "return_delivered_order_items": "return_items",
    "exchange_delivered_order_items": "exchange_item",
    "modify_pending_order_items": "change_order_items",
    "modify_pending_order_payment": "change_order_payment",
    "modify_pending_order_address": "change_order_address",
    "modify_user_address": "change_default_address",
    "transfer_to_human_agents": "hand_over",
}


def hundredfold(limit: str) -> Edit:
    line = f"{limit} = {100 * getattr(SHIPPED.limits, limit)}"

    def edit(text: str) -> str:
        written = re.compile(rf"^{limit} = \S+", flags=re.M)
        return written.sub(line, text) if written.search(text) else added(line)(text)

    return in_section("limits", edit)


def everywhere(field: str) -> Edit:
    """Takes a setting out of every tool."""

    def edit(text: str) -> str:
        for name, tool in SHIPPED.tools.items():
            if getattr(tool, field):
                text = in_section(f"tools.{name}", without(field))(text)
        return text

    return edit


# ------------------------------------------------------------------------------------------------------- what is tried


Tried = tuple[str, tuple[str, ...], str, tuple[str, ...]]
"""The scenario, the kinds of fault, the dependency that they strike (empty: each), and kinds where those lead."""


class Lowered:
    """An edit, what is tried of it, and how the reason begins for which it does not ship."""

    def __init__(
        self,
        name: str,
        edit: Edit,
        reason: str,
        *,
        scenario: str = "order_status",
        kinds: tuple[str, ...] = (),
        at: str = "",
        then: tuple[str, ...] = (),
    ) -> None:
        self.name = name
        self.edit = edit
        self.reason = reason
        self.tried = (scenario, kinds, at, then)


def of_limits() -> list[Lowered]:
    return [
        *(
            Lowered(f"{limit} a hundredfold", hundredfold(limit), f"bounded, loose limit: limits.{limit} = ")
            for limit in SHIPPED.limits.__struct_fields__
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


def of_tools() -> list[Lowered]:
    """Everything that every tool has, taken out of one after the other."""
    found = []
    for name, scenario in USED_IN.items():
        here, tool = f"tools.{name}", SHIPPED.tools[name]
        if tool.retry is not None:
            found.append(
                Lowered(
                    f"no retry of {name}",
                    in_section(here, without("retry")),
                    "fallbacks, goal missed in ",
                    scenario=scenario,
                    kinds=CALL_FAULTS,
                    at=name,
                )
            )
        if tool.verify is not None:
            found.append(
                Lowered(
                    f"no verify of {name}",
                    in_section(here, without("verify")),
                    "exactly_once, goal missed in ",
                    scenario=scenario,
                    kinds=DOUBT,
                    at=name,
                )
            )
        if tool.claims:
            unnamed = f"tools.{name} has no claims, so that nobody finds out an agent that says it was done"
            found.append(
                Lowered(f"no claims of {name}", in_section(here, without("claims")), unnamed, scenario=scenario)
            )
        found.append(
            Lowered(
                f"no output of {name}",
                in_section(here, without("output")),
                "monitoring, finding missing in ",
                scenario=scenario,
                kinds=BAD_ANSWERS,
                at=name,
            )
        )
    return found


def of_several_tools() -> list[Lowered]:
    return [
        Lowered("no retry of any tool", everywhere("retry"), "fallbacks, goal missed in ", kinds=CALL_FAULTS),
        Lowered("no output of any tool", everywhere("output"), "monitoring, finding missing in ", kinds=BAD_ANSWERS),
        Lowered(
            "no verify of any tool",
            everywhere("verify"),
            "exactly_once, goal missed in ",
            scenario="cancel_order",
            kinds=DOUBT,
        ),
        Lowered(
            "no claims of any tool",
            everywhere("claims"),
            "monitoring, finding missing in ",
            scenario="small_refund",
            kinds=("false_claim",),
        ),
    ]


def of_an_order() -> list[Lowered]:
    """What can be done to one tool that reads, otherwise than by taking something out."""
    tool = "get_order_details"

    def lowered(name: str, edit: Edit, reason: str, kinds: tuple[str, ...]) -> Lowered:
        return Lowered(name, in_section(f"tools.{tool}", edit), reason, kinds=kinds, at=tool)

    unread = both(without("output"), added("output = { may_be_empty = true }"))
    unnoticed, missed = "monitoring, finding missing in ", "fallbacks, goal missed in "
    return [
        *(
            lowered(f"{fault} of an order not retried", replaced(f'"{fault}",', ""), missed, (kind,))
            for fault, kind in RETRIED_ON.items()
            if fault != "malformed"
        ),
        lowered(
            "malformed of an order not retried",
            replaced('"malformed",', ""),
            f"fallbacks, not retried: tools.{tool}.retry.on leaves out malformed",
            (),
        ),
        lowered(
            "a wrong shape of an order not retried",
            replaced('"wrong_shape",', ""),
            missed,
            ("malformed",),
        ),
        lowered("an order of any keys", replaced(SHIPPED_KEYS, ""), unnoticed, ("hollow",)),
        lowered(
            "ten times as long", replaced("timeout_s = 5", "timeout_s = 50"), f"bounded, loose limit: tools.{tool}.", ()
        ),
        lowered("one attempt", replaced("base_s", "max_attempts = 1, base_s"), missed, CALL_FAULTS),
        lowered("null for an order", replaced("output = {", "output = { may_be_empty = true,"), unnoticed, BAD_ANSWERS),
        lowered(
            "an error for an order",
            replaced("output = {", "output = { may_look_like_error = true,"),
            unnoticed,
            BAD_ANSWERS,
        ),
        lowered("an order that nobody looks at", unread, missed, BAD_ANSWERS),
        lowered("a slow order unreported", added("slow_s = 4.9"), unnoticed, ("latency_spike",)),
        lowered(
            "eight minutes for an order",
            replaced("timeout_s = 5", "timeout_s = 500"),
            "latency, goal missed in ",
            ("latency_spike",),
        ),
        lowered("a tool undeclared", lambda section: "", missed, CALL_FAULTS),
    ]


SHIPPED_KEYS = ', required = ["order_id", "user_id", "status", "address", "items", "payment_history"]'


def of_what_is_read() -> list[Lowered]:
    """Of tools that the scenarios use little, or not at all."""
    thinking, listing = "tools.think", "tools.list_all_product_types"
    return [
        Lowered(
            "no products",
            in_section(listing, replaced(", may_be_empty = false", "")),
            UNNOTICED,
            **of_products("hollow"),
        ),
        Lowered(
            "nothing for products",
            in_section(listing, replaced("may_be_empty = false", "may_be_empty = true")),
            UNNOTICED,
            **of_products("empty"),
        ),
        Lowered(
            "no retry of a thought", in_section(thinking, without("retry")), f"{NOT_RETRIED}{thinking}.retry is missing"
        ),
        Lowered(
            "timeouts of a thought not retried",
            in_section(thinking, replaced('"timeout",', "")),
            f"{NOT_RETRIED}{thinking}.retry.on leaves out timeout",
        ),
        Lowered(
            "nothing said of a thought",
            in_section(thinking, without("output")),
            f"monitoring, not checked: {thinking}.output is missing",
        ),
    ]


def of_products(*kinds: str) -> dict[str, Any]:
    return {"scenario": "product_search", "kinds": kinds, "at": "list_all_product_types"}


UNNOTICED, NOT_RETRIED = "monitoring, finding missing in ", "fallbacks, not retried: "
RETRIED = f"retry = {{ on = {[fault.value for fault in RETRIED_OF_TOOLS]} }}"


def of_declared() -> list[Lowered]:
    """Every tool that writes, declared to do less than that, and nothing left to look it up by."""
    found = []
    for name, tool in SHIPPED.tools.items():
        if tool.effect is not Effect.WRITE:
            continue
        for effect, retry, reason in (
            ("read", "", "exactly_once, effect of a read in "),
            ("read", RETRIED, "exactly_once, effect of a read in "),
            ("idempotent", "", f"{NOT_RETRIED}tools.{name}.retry is missing"),
            ("idempotent", RETRIED, DONE_TWICE[name]),
        ):
            edit = both(replaced('"write"', f'"{effect}"'), without("verify"), *([added(retry)] if retry else []))
            found.append(
                Lowered(
                    f"{'retried' if retry else 'unverified'} {effect}: {name}",
                    in_section(f"tools.{name}", edit),
                    reason,
                    scenario=USED_IN[name],
                    kinds=("answer_never_comes",),
                    at=name,
                )
            )
    return found


# What comes of asking again: the shop refuses what was done before, or does it once more.
DONE_TWICE = {
    name: "exactly_once, effect doubled in "
    if name in ("modify_user_address", "modify_pending_order_address", "transfer_to_human_agents")
    else "exactly_once, not idempotent in "
    for name, tool in SHIPPED.tools.items()
    if tool.effect is Effect.WRITE
}


def of_writes() -> list[Lowered]:
    tool = "cancel_pending_order"

    def lowered(name: str, edit: Edit, reason: str, kinds: tuple[str, ...]) -> Lowered:
        return Lowered(name, in_section(f"tools.{tool}", edit), reason, scenario="cancel_order", kinds=kinds, at=tool)

    refusals = replaced('["ShopRefusal"]', '["ShopRefusal", "ConnectionResetError"]')
    return [
        lowered("a write declared a read", replaced('"write"', '"read"'), "exactly_once, goal missed in ", DOUBT),
        lowered(
            "a write declared idempotent", replaced('"write"', '"idempotent"'), "exactly_once, goal missed in ", DOUBT
        ),
        lowered("a lost answer taken for a refusal", refusals, "fallbacks, goal missed in ", CALL_FAULTS),
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
    assert set(seen) == set(Protections.__struct_fields__)
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
