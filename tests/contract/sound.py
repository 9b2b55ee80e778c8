"""A contract with nothing to object to, the tools of its agent, and what `check` finds once it is changed."""

from plimsoll.contract.checking import check_contract
from plimsoll.contract.holes import RETRIED_OF_MODELS, RETRIED_OF_TOOLS
from plimsoll.contract.loading import Source, parse_contract
from plimsoll.contract.shapes import ToolShape
from plimsoll.core.errors import ContractError

RETRIED = [fault.value for fault in RETRIED_OF_TOOLS]
MODEL_RETRIED = [fault.value for fault in RETRIED_OF_MODELS]
SOUND = f"""\
[agent]
name = "shop"
[models.primary]
fallback = ["small", "canned"]
usd_per_million_output_tokens = 10
usd_per_million_input_tokens = 2
[models.small]
id = "openai:gpt-5-mini"
usd_per_million_input_tokens = 1
usd_per_million_output_tokens = 4
[models.canned]
canned = "Later, please."
[tools.find]
effect = "read"
[tools.refund]
verify = "shop.tools:verify"
claims = ["refunded"]
approval = {{ when = "amount > 50", approvers = ["ann"] }}
[gate]
scenarios = "shop.scenarios:ALL"
[tools.find.output]
type = "array"
[tools.find.retry]
on = {RETRIED}
[tools.refund.output]
type = "object"
[models.primary.retry]
on = {MODEL_RETRIED}
[models.small.retry]
on = {MODEL_RETRIED}
"""
PRIMARY_RETRY = f"[models.primary.retry]\non = {MODEL_RETRIED}\n"
REFUND_OUTPUT = '[tools.refund.output]\ntype = "object"\n'
REFUND = ToolShape(
    name="refund",
    parameters={
        "type": "object",
        "properties": {
            "amount": {"type": "number"},
            "reason": {"anyOf": [{"type": "string"}, {"type": "null"}]},
            "customer": {"$ref": "#/$defs/Customer"},
            "tags": {"type": "array", "items": {"type": "string"}},
            "extra": {},
            "bag": {"type": "object", "additionalProperties": {"type": "number"}},
        },
        "required": ["amount", "customer", "tags", "extra", "bag"],
        "$defs": {
            "Customer": {"type": "object", "properties": {"tier": {"enum": ["gold", "tin"]}}, "required": ["tier"]}
        },
    },
)
FIND = ToolShape(name="find")


def found(text: str, tools: list[ToolShape] | None = None) -> list[str]:
    try:
        contract = parse_contract(text, file="p.toml")
    except ContractError as error:
        problems = error.problems
    else:
        problems = check_contract(contract, source=Source("p.toml", text), tools=tools)
    return [f"{problem.severity} {str(problem).removeprefix('p.toml:')}" for problem in problems]


def changed(*changes: tuple[str, str]) -> str:
    text = SOUND
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new)
    return text
