"""The contract that the assistant ships with, and what it is to lower it."""

from pathlib import Path

from examples.assistant.agent import CONTRACT
from plimsoll.contract.loading import parse_contract
from tests.examples.assistant.editing import Edit, in_section, without

__all__ = [
    "BAD_ANSWERS",
    "CALL_FAULTS",
    "DOUBT",
    "RETRIED_ON",
    "SHIPPED",
    "TEXT",
    "USED_IN",
    "Lowered",
    "Tried",
    "everywhere",
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
