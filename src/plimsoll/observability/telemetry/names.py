"""The names under which telemetry is told: OpenTelemetry's where there is one, ours where there is none.

The conventions are those for generative AI at version 1.41.0, the last before they were moved and renamed:
https://github.com/open-telemetry/semantic-conventions/tree/v1.41.0/docs/gen-ai. Every name here has a line in
docs/telemetry.md.
"""

from plimsoll.contract.model import Model

__all__ = ["SCHEMA_URL", "SCOPE", "model_id", "model_names", "provider_of"]

SCOPE = "plimsoll"
SCHEMA_URL = "https://opentelemetry.io/schemas/1.41.0"

# OpenTelemetry's
ERROR_TYPE = "error.type"
OPERATION = "gen_ai.operation.name"
PROVIDER = "gen_ai.provider.name"
AGENT = "gen_ai.agent.name"
AGENT_VERSION = "gen_ai.agent.version"
CONVERSATION = "gen_ai.conversation.id"
REQUEST_MODEL = "gen_ai.request.model"
RESPONSE_MODEL = "gen_ai.response.model"
INPUT_TOKENS = "gen_ai.usage.input_tokens"
OUTPUT_TOKENS = "gen_ai.usage.output_tokens"
TOKEN_TYPE = "gen_ai.token.type"
TOOL = "gen_ai.tool.name"
TOOL_TYPE = "gen_ai.tool.type"
TOOL_ARGUMENTS = "gen_ai.tool.call.arguments"
TOOL_RESULT = "gen_ai.tool.call.result"

INVOKE_AGENT = "invoke_agent"
CHAT = "chat"
EXECUTE_TOOL = "execute_tool"

# ours, on spans
RUN = "plimsoll.run.id"
PARENT = "plimsoll.run.parent"
RESUMED = "plimsoll.run.resumed"
CRASHED = "plimsoll.run.crashed"
ENDING = "plimsoll.run.ending"
PARKED_FOR = "plimsoll.run.parked_for"
RUN_INPUT = "plimsoll.run.input"
RUN_OUTPUT = "plimsoll.run.output"
REASON = "plimsoll.run.reason"
CALL = "plimsoll.call.key"
EFFECT = "plimsoll.call.effect"
STATUS = "plimsoll.call.status"
ATTEMPTS = "plimsoll.call.attempts"
RUNG = "plimsoll.call.rung"
COST = "plimsoll.call.cost"
IN_DOUBT = "plimsoll.call.in_doubt"
ANSWER = "plimsoll.call.answer"
ERROR_MESSAGE = "plimsoll.call.error"
ATTEMPT = "plimsoll.attempt"
SLOW = "plimsoll.attempt.slow"
OUTRUN = "plimsoll.attempt.outrun"
DECLINED = "plimsoll.attempt.declined"

# ours, on metrics and events
DEPENDENCY = "plimsoll.dependency"
FAULT = "plimsoll.fault"
TO = "plimsoll.fallback.to"
DECISION = "plimsoll.approval.decision"
REQUEST = "plimsoll.approval.id"
ANSWERED = "plimsoll.doubt.answer"
FINDING_KIND = "plimsoll.finding.kind"
SEVERITY = "plimsoll.finding.severity"
OBSERVED = "plimsoll.finding.observed"
CALLS = "plimsoll.finding.calls"
GUARD = "plimsoll.guard.name"
GUARD_ON = "plimsoll.guard.on"
GUARD_ACTION = "plimsoll.guard.action"

FINDING_EVENT = "plimsoll.finding"
REQUESTED_EVENT = "plimsoll.approval.requested"
DECIDED_EVENT = "plimsoll.approval.decided"

OTHER = "_OTHER"
"""The conventions' word for what has no name of its own."""

LOCAL = "local"

_PROVIDERS = {
    "azure": "azure.ai.openai",
    "bedrock": "aws.bedrock",
    "google": "gcp.gen_ai",
    "google-gla": "gcp.gemini",
    "google-vertex": "gcp.vertex_ai",
    "grok": "x_ai",
    "mistral": "mistral_ai",
    "openai-chat": "openai",
    "openai-responses": "openai",
    "xai": "x_ai",
}


def provider_of(model: Model) -> str:
    """Who serves the model, by its id (`openai:gpt-5`), in the conventions' words; `_OTHER` where the id is silent.

    A model of one's own is served by nobody else: `local`.
    """
    if model.local is not None:
        return LOCAL
    provider, colon, _ = (model.id or "").partition(":")
    return _PROVIDERS.get(provider, provider) if colon and provider else OTHER


def model_id(name: str, model: Model) -> str:
    """The model's own name, as its provider has it; that of the contract where the contract gives no id."""
    return (model.id or "").rpartition(":")[2] or name


def model_names(name: str, model: Model) -> dict[str, str]:
    """What tells the model `name` of the contract from others."""
    return {PROVIDER: provider_of(model), REQUEST_MODEL: model_id(name, model)}
