"""What a policy says when no call is left to make: a labelled text that claims nothing but what the results show.

It cannot write, so it reports. Where the author gave a template for the tool that was called last, that is filled with
each of its results (Jinja2, in its sandbox); otherwise each call is named with what came of it.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import msgspec
from jinja2 import StrictUndefined, TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

from plimsoll.core.canonical import canonical_json, is_json, parse_json
from plimsoll.core.errors import Misuse
from plimsoll.learning.conversations import Made
from plimsoll.learning.policy.candidates import kind_of

__all__ = ["LABEL", "Look", "check_templates", "look_of", "looks_done", "report"]

LABEL = "This answer was put together automatically, and nobody has looked at it."
NOTHING = "I looked nothing up, and changed nothing. Please ask again later, or ask for a person."
_MOST_CALLS = 5
_MOST_FIELDS = 6
_LONGEST = 300

_environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined, autoescape=False)  # plain text, never a page


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What results of a tool look like when it did what it was asked: their JSON types, the `keys` that all objects
    have, and whether texts are of several `words`."""

    kinds: tuple[str, ...]
    keys: tuple[str, ...] = ()
    words: bool = False


def look_of(results: Sequence[Any]) -> Look:
    """How these results, of calls that went well, look."""
    objects = [set(result) for result in results if isinstance(result, Mapping)]
    return Look(
        kinds=tuple(sorted({kind_of(result) for result in results})),
        keys=tuple(sorted(set.intersection(*objects))) if objects else (),
        words=any(isinstance(result, str) and " " in result.strip() for result in results),
    )


def looks_done(result: Any, look: Look | None) -> bool:
    """Whether a result looks like those of calls that went well. What nobody has seen (None) does not."""
    if isinstance(result, str) and is_json(result) and kind_of(parse_json(result)) in (look.kinds if look else ()):
        return True  # a number, say, that the agent's framework handed on as text
    if look is None or kind_of(result) not in look.kinds:
        return False
    if isinstance(result, Mapping):
        return all(key in result for key in look.keys) and "error" not in result
    return not isinstance(result, str) or look.words or " " not in result.strip()


def check_templates(templates: Mapping[str, str]) -> None:
    """Raises `Misuse` for a template that cannot be read."""
    for tool, template in templates.items():
        try:
            _environment.from_string(template)
        except TemplateError as error:
            raise Misuse(f"the template for {tool} cannot be read: {error}") from error


def report(
    calls: Sequence[Made],
    *,
    looks: Mapping[str, Look],
    templates: Mapping[str, str],
    reads: Collection[str] = (),
    others: Sequence[Made] = (),
) -> str:
    """What is said of these calls. `reads` are the tools that change nothing: a call of any other is always named.

    `others` are the conversation's other calls: what came before its last request, which a framework may have written
    itself, and calls of which no result is there.
    """
    before = [call for call in others if call.tool not in reads]
    if not calls and not before:
        return f"{LABEL} {NOTHING}"
    changing = [call for call in calls if call.tool not in reads]
    told = _by_template(calls, looks, templates) if calls else ""
    if told:
        named = [call for call in changing if call.tool != calls[-1].tool]
    else:
        told = "This is what was called, and what came back:"
        named = [call for call in calls if call in changing or call in calls[-_MOST_CALLS:]]
    lines = [f"- {_line(call, looks.get(call.tool))}" for call in [*before, *named]]
    nothing = "Nothing else was changed." if before or changing else "Nothing was changed."
    return "\n".join([f"{LABEL} {told}", *lines, nothing])


def _by_template(calls: Sequence[Made], looks: Mapping[str, Look], templates: Mapping[str, str]) -> str:
    """What the template of the last tool makes of each of its calls; empty where it has none, or cannot."""
    last = calls[-1].tool
    if last not in templates:
        return ""
    alike = [call for call in calls if call.tool == last]
    filled = [_filled(templates[last], call) if looks_done(call.result, looks.get(last)) else "" for call in alike]
    return " ".join(dict.fromkeys(filled)) if all(filled) else ""


def _filled(template: str, call: Made) -> str:
    """The template filled; empty where it asks for what is not there."""
    try:
        return _environment.from_string(template).render(result=call.result, arguments=call.arguments).strip()
    except (TemplateError, TypeError, ValueError, ArithmeticError, LookupError):
        return ""


def _line(call: Made, look: Look | None) -> str:
    arguments = ", ".join(f"{name} {_short(value)}" for name, value in call.arguments.items())
    came = _fields(call.result) if looks_done(call.result, look) else f"no clear result ({_short(call.result)})"
    return f"{call.tool}{f' ({arguments})' if arguments else ''}: {came}"


def _fields(result: Any) -> str:
    """An object's plain fields, or the value itself."""
    if not isinstance(result, Mapping):
        return _short(result)
    plain = [
        f"{key} {_short(value)}" for key, value in result.items() if kind_of(value) in ("string", "number", "boolean")
    ]
    return ", ".join(plain[:_MOST_FIELDS]) or _short(result)


def _short(value: Any) -> str:
    text = " ".join((value if isinstance(value, str) else canonical_json(value).decode()).split())
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
