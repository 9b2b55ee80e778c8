"""The first contract of an agent, as `plimsoll init` writes it: safe, complete, and with comments that teach it."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

import msgspec

from plimsoll.contract.argument_kinds import argument_facts, argument_names
from plimsoll.contract.concessions import CONCESSIONS
from plimsoll.contract.holes import holes
from plimsoll.contract.loading import parse_contract
from plimsoll.contract.model import GateSection, JournalSection, Limits, Model, ServiceLevels
from plimsoll.contract.rule_types import Kind
from plimsoll.contract.shapes import ToolShape, guess_effect
from plimsoll.core.calls import Effect

__all__ = ["initial_contract", "initial_effect"]

_MONEY = frozenset({"amount", "cost", "fee", "price", "sum", "total"})
_WORDS = re.compile(r"[a-z]+")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_NOT_NAME = re.compile(r"[^A-Za-z0-9_.-]+")
_IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_LONGEST_COMMENT = 100
_ON_MODEL = ("rate_limited", "server_error", "connection", "timeout", "empty", "malformed")
_ON_TOOL = (*_ON_MODEL, "exception", "wrong_shape", "error_in_success")

_HEAD = """\
# What was decided about this agent. The runtime enforces it, and `plimsoll gate` proves it.
#
# A line that starts with "# " explains. A line that starts with "#" and no space is a setting that is switched off:
# take the "#" away to use it. A setting that is left out has the default that docs/contract.md tells.
# After a change, run `plimsoll check`.
"""

_LIMITS = """
# What one run may use up at most. Each call is checked before it is made, with its worst case.
[limits]
steps = {steps}  # calls of models and tools together
seconds = {seconds:g}  # time in which the run is active; waiting for a person does not count
tokens = {tokens}
usd = {usd:g}  # counted by the prices of the models below
repeats = {repeats}  # the same call with the same arguments and result, so often, is a loop
# What all runs of a day (UTC) together may use up, in every process on this journal:
#[limits.day]
#usd = 25
#runs = 1000
"""

_PROTECTIONS = """
# Every protection is enforced. To see first what one would do, let it only observe: it then reports, and acts never.
[protections]
#limits = "observe"
#approvals = "observe"

# Small models of your own may judge texts on their way: what is asked, what tools bring, what is answered.
#[guards.injection]
#model = "registry:injection@champion"  # or the directory that `plimsoll learn export` wrote
#on = ["input", "tool_result"]
#label = "injection"  # which of its labels to look for,
#above = 0.9  # and from which probability on
#action = "halt"  # or only a finding; or hand_over, to people; or replace
"""

_PRIMARY = """
# The model that the agent asks. When it fails, the models named in `fallback` answer instead, in their order.
[models.primary]{own}
timeout_s = {timeout_s:g}
retry = {retry}
fallback = [{fallback}]
# What a call may cost is worked out from its prices, for limits.usd. Without them, a model with an id has a table's:
#usd_per_million_input_tokens = 1.25
#usd_per_million_output_tokens = 10.0
"""

_SPARE = """
# A rung below. Best is another provider's model, for it does not fail together with the first.
[models.{key}]
id = {id}
timeout_s = {timeout_s:g}
retry = {retry}
"""

_LOCAL = """
# A model of your own, for when no provider answers: fitted on your agent's journals (see docs/local-models.md), it runs
# in this process. It may decline, and the rung below is asked. Name it in `fallback`, before "canned".
#[models.own]
#local = "models/assistant"  # or "http://127.0.0.1:8000/v1", or "registry:assistant@champion"
#may_write = false
"""

_CANNED = """
# The last rung: an honest answer that cannot fail. After it, the run may only read.
[models.canned]
canned = "I cannot answer that at the moment. Nothing further was done. Please try again later."
may_write = false
"""

_TOOLS = """
# ------------------------------------------------------------------------------------------------------------ tools
#
# `effect` says what may follow when a call's outcome is not known (a crash, a timeout, a lost answer):
#   read         changes nothing: it is simply called again
#   idempotent   the service behind it deduplicates by idempotency key: sent again with the same key
#   transaction  works on a database's connection that it is handed, named by `connection`: exactly once, by itself
#   write        must happen exactly once: never sent again until `verify`, or a person, says that it did not happen
# A tool that is not listed here is a write. Correct what is wrong below: only you know these tools.
#
# What every tool should have besides:
#   output       what an answer is, so that one of another shape is found out. Where nothing is said, null, [] and {}
#                are answers, and a blank text is none; may_be_empty = true or false decides it either way
#
# What a write should have besides:
#   verify       finds out whether a call happened, by its idempotency key; without it, doubt waits for a person
#   claims       phrases by which the agent tells that it was done: said and not done, that is found out
#   compensate   takes a call back, when a person says so after a run that was stopped midway
#   approval     when a person is asked first, and who may decide; nobody answering in time means no
"""

_JOURNAL = """
# ---------------------------------------------------------------------------------------------------------- the rest

# Where every run is recorded, so that it can go on after a crash. From this file's folder.
[journal]
path = {path}
patience_s = {patience_s:g}  # how long a run waits for a journal that cannot be written, before it parks
# Where it says anything of people, encrypt it from the first day: what is recorded in the clear can never be erased.
# `plimsoll keys make journal.key` makes the key; `plimsoll keys make audit.key --signing` one that signs checkpoints.
#encrypt = true
#key_file = "journal.key"
#signing_key_file = "audit.key"

# Telemetry goes where the environment's OTEL_ variables say, and holds names and numbers only.
#[telemetry]
#record_content = true  # also what was asked and answered: wherever telemetry goes, that goes too
"""

_ALERTS = """
# What you promise of its runs: people are told when that is not kept any more (see docs/findings/service-levels.md).
[service_levels]
#runs = {{ objective = 0.95, within_s = 60 }}  # this share ends well, and of these most take no longer
waiting_s = {waiting_s:g}  # how long runs may wait for people, before people are told

# Findings go to the log, and to a webhook, such as Slack's, where one is named. No prompt and no argument is in them.
[alerts]
#webhook = "env:ALERT_WEBHOOK"  # the variable of the environment that holds its address
#run_url = "https://ops.example/runs/{{run_id}}"  # where a run can be looked at
"""

_GATE = """
# How sure `plimsoll gate` must be before it says SHIP.
[gate]
#scenarios = "{module}_scenarios:SCENARIOS"  # what the agent must still achieve while faults are injected
storms = {storms}  # trials with several random faults at once
storm_target = {storm_target:g}  # the share of them that must be survived,
confidence = {confidence:g}  # and how surely that must be shown
"""

_ACCEPTS = """\
# What this agent does without, for now; every verdict shows it. Take a line out as soon as you have what it names, and
# the gate holds the agent to that.
accepts = [
"""

_UNTIL = {
    "canned_answers": "until another model can answer, and write, while the first is out",
    "unretried_faults": "until every model, and every tool that may be called again, has a retry",
    "parked_writes": "until every write has a `verify`: doubt waits for a person",
    "unchecked_answers": "until every tool says in `output` what an answer is",
    "unnamed_claims": "until every tool with an effect has `claims`",
    "untried_tools": "until your scenarios call every tool",
    "unpriced_models": "until every model has its prices: money is not counted",
}


def initial_contract(
    *,
    agent_name: str,
    entrypoint: str | None,
    tools: Sequence[ToolShape],
    models: Sequence[str] = (),
    approvers: Sequence[str] = ("operator",),
) -> str:
    """The text of a contract that holds safely from the first day, for its author to read and correct.

    `entrypoint` is `module:attribute`, or None. `models` are the framework's names: the first is the agent's own, the
    others become rungs below it. `approvers` are put where somebody must be named. What the tools say of themselves is
    shown in comments and never runs over into settings.
    """
    module = (entrypoint or "agent").partition(":")[0]
    parts = [
        _HEAD,
        f"\n[agent]\nname = {_text(_agent_name(agent_name))}\n",
        f"entrypoint = {_text(entrypoint)}\n" if entrypoint else '#entrypoint = "module:agent"\n',
        f'#deps = "{module}:make_deps"  # what makes the tools\' dependencies, so that the command line can go on\n',
        f'#harness = "{module}:make"  # or what makes all of it, in the surroundings that it is given: with children\n',
        _LIMITS.format(**_fields(Limits())),
        _PROTECTIONS,
        *_models(list(dict.fromkeys(models))),
        _TOOLS,
        *(_tool(tool, module, approvers) for tool in tools),
        _JOURNAL.format(**_fields(JournalSection()) | {"path": _text(JournalSection().path)}),
        _ALERTS.format(**_fields(ServiceLevels())),
        _GATE.format(**_fields(GateSection()), module=module),
    ]
    decided = "".join(parts)
    return decided + "".join(_accepts(decided))


def _accepts(decided: str) -> Iterator[str]:
    """The concessions without which the gate would block a contract for what it does not say yet."""
    contract = parse_contract(decided, file="contract")
    needed = {hole.concession for hole in holes(contract)}
    if contract.tools:
        needed.add("untried_tools")
    names = [name for name in CONCESSIONS if name in needed]
    if names:
        yield _ACCEPTS
        yield from (f"    {_text(name)},  # {_UNTIL[name]}\n" for name in names)
        yield "]\n"


def initial_effect(tool: ToolShape) -> tuple[Effect, str]:
    """The effect that a tool starts with, and why, as a comment.

    Only what the tool itself declares is believed. What its name suggests is said, and the effect stays `write`.
    """
    if tool.read_only_hint:
        return Effect.READ, "the tool declares it (readOnlyHint); a hint is no proof: confirm it"
    if tool.idempotent_hint:
        return Effect.IDEMPOTENT, "the tool declares it (idempotentHint); confirm that it deduplicates by key"
    if tool.read_only_hint is None and guess_effect(tool.name) is Effect.READ:
        return Effect.WRITE, 'its name looks like a read: if it changes nothing, write "read"'
    return Effect.WRITE, "until you know better"


# --------------------------------------------------------------------------------------------------------- models


def _models(names: list[str]) -> Iterator[str]:
    spares = {f"fallback_{number}": name for number, name in enumerate(names[1:], start=1)}
    own = f"\n#id = {_text(names[0])}  # the agent's own" if names else ""
    yield _PRIMARY.format(
        own=own,
        timeout_s=Model().timeout_s,
        retry=_retry(_ON_MODEL, 2),
        fallback=", ".join(_text(key) for key in (*spares, "canned")),
    )
    for key, name in spares.items():
        yield _SPARE.format(key=key, id=_text(name), timeout_s=Model().timeout_s, retry=_retry(_ON_MODEL, 2))
    yield _LOCAL
    yield _CANNED


def _retry(on: Sequence[str], attempts: int) -> str:
    return f"{{ on = [{', '.join(map(_text, on))}], max_attempts = {attempts} }}"


# ---------------------------------------------------------------------------------------------------------- tools


def _tool(tool: ToolShape, module: str, approvers: Sequence[str]) -> str:
    effect, why = initial_effect(tool)
    lines = ["", f"[tools.{_key(tool.name)}]"]
    if tool.description:
        lines.insert(1, f"# {_comment(tool.description)}")
    lines.append(f'effect = "{effect}"  # {why}')
    lines.append(
        '#output = { type = "object", required = ["id"] }  # or type = "array", "string", …; may_be_empty = true'
    )
    if effect is Effect.WRITE:
        lines += _write(tool, module, approvers)
    else:
        lines.append(f"retry = {_retry(_ON_TOOL, 3)}")
        lines += [_claims(tool)] if effect is Effect.IDEMPOTENT else []
    return "\n".join(lines) + "\n"


def _claims(tool: ToolShape) -> str:
    return f"#claims = [{_text(f'{_spoken(tool)} is done')}]"


def _spoken(tool: ToolShape) -> str:
    return " ".join(re.findall(r"[A-Za-z0-9]+", tool.name)) or "it"


def _write(tool: ToolShape, module: str, approvers: Sequence[str]) -> Iterator[str]:
    identifier = re.sub(r"\W+", "_", _spoken(tool), flags=re.ASCII)
    yield f'#verify = "{module}:verify_{identifier}"'
    if guess_effect(tool.name) is Effect.READ and tool.read_only_hint is None:
        return  # most likely no write at all: the rest would only be in the way
    yield _claims(tool)
    rule, comment, on = _approval(tool)
    off = "" if on else "#"
    names = ", ".join(_text(name) for name in approvers)
    yield f"{off}[tools.{_key(tool.name)}.approval]"
    yield f"{off}when = {_text(rule)}  # {comment}"
    yield f"{off}approvers = [{names}]  # who may decide: put your people here"
    yield f"{off}expires_s = 3600"


def _approval(tool: ToolShape) -> tuple[str, str, bool]:
    """The rule to start with, what to say about it, and whether it is switched on: it is where money is at stake."""
    for name in argument_names(tool.parameters):
        words = set(_WORDS.findall(re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()))
        if not words & _MONEY or not _IDENTIFIER.fullmatch(name):
            continue
        facts = argument_facts(tool.parameters, (name,))
        if facts is None or Kind.NUMBER not in facts.kinds:
            return "true", f"{name} is no number, so every call is asked about", True
        return f"{name} > {5000 if 'cents' in words else 50}", "from what sum on would you want to be asked?", True
    return "true", 'asks about every call; or a rule over its arguments, such as "amount > 50"', False


# ----------------------------------------------------------------------------------------------------------- text


def _fields(section: msgspec.Struct) -> dict[str, object]:
    return msgspec.structs.asdict(section)


def _text(value: str) -> str:
    """A TOML text. JSON's escapes are TOML's too, but for a half of a surrogate pair and the delete character."""
    whole = value.encode("utf-8", "replace").decode("utf-8")
    return msgspec.json.encode(whole).decode().replace("\x7f", "\\u007f")


def _key(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _comment(text: str) -> str:
    """One line of plain characters, so that no description can write settings of its own."""
    line = " ".join("".join(char if _printable(char) else " " for char in text).split())
    return line if len(line) <= _LONGEST_COMMENT else line[: _LONGEST_COMMENT - 1].rstrip() + "…"


def _printable(char: str) -> bool:
    return unicodedata.category(char)[0] != "C"


def _agent_name(name: str) -> str:
    return _NOT_NAME.sub("-", name).strip("-_.") or "agent"
