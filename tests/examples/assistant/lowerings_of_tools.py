"""The lowerings of what the shipped contract says of tools."""

from typing import Any

from plimsoll.contract.holes import RETRIED_OF_TOOLS
from plimsoll.core.calls import Effect
from tests.examples.assistant.editing import Edit, added, both, in_section, replaced, without
from tests.examples.assistant.shipped import (
    BAD_ANSWERS,
    CALL_FAULTS,
    DOUBT,
    RETRIED_ON,
    SHIPPED,
    USED_IN,
    Lowered,
    everywhere,
)

__all__ = ["of_an_order", "of_declared", "of_several_tools", "of_tools", "of_what_is_read", "of_writes"]


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
            "a write declared idempotent",  # and verified still; see `of_declared` for one that is not
            replaced('"write"', '"idempotent"'),
            f"{NOT_RETRIED}tools.{tool}.retry is missing",
            DOUBT,
        ),
        lowered("a lost answer taken for a refusal", refusals, "fallbacks, goal missed in ", CALL_FAULTS),
    ]
