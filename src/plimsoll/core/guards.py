"""Guards: small models that say what a text is, before an agent reads it or a person does.

Here is the seam to whatever judges, and what stands of its verdicts in a journal: a `ValueRecorded` for each text,
under a key that begins with `guard:`. A replay goes by that, whatever model judges by then.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import msgspec

from plimsoll.core.events import Event, ValueRecorded

__all__ = [
    "INPUT",
    "OUTPUT",
    "Guard",
    "GuardVerdict",
    "PhraseGuard",
    "Screening",
    "is_screening",
    "place_of",
    "screening_in",
    "text_of",
]

_PREFIX = "guard:"
INPUT = f"{_PREFIX}input"
"""The key of what the guards said of a run's input."""
OUTPUT = f"{_PREFIX}output"
"""The key of what they said of its output. That of a tool's result is `guard:tool_result:` and the call's own key."""


class Guard(Protocol):
    """Judges texts. `digest` names the very model that does (SHA-256), `labels` what it can tell apart."""

    @property
    def digest(self) -> str: ...

    @property
    def labels(self) -> tuple[str, ...]: ...

    async def judge(self, text: str) -> Mapping[str, float]:
        """How likely each label is of `text`, from 0 to 1. Whatever it raises is a failure to judge."""
        ...


class PhraseGuard:
    """A test double: a text that has one of `phrases` in it is of `label` for sure, any other is `other`.

    `asked` are the texts that it judged, in order.
    """

    def __init__(self, label: str, *phrases: str, other: str = "other", digest: str = "phrases") -> None:
        self.labels = (label, other)
        self.digest = digest
        self.asked: list[str] = []
        self._phrases = phrases

    async def judge(self, text: str) -> Mapping[str, float]:
        self.asked.append(text)
        found = any(phrase in text for phrase in self._phrases)
        label, other = self.labels
        return {label: float(found), other: float(not found)}


class GuardVerdict(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one guard said of a text: how likely it is what its `label` names, by the model of that digest.

    `action` is what follows; empty: nothing, the text passes. `observed`: it would have followed, were guards enforced.
    `fault` is why the guard could not judge; it names no probability then.
    """

    guard: str
    model: str
    label: str
    probability: float | None = None
    action: str = ""
    observed: bool = False
    fault: str = ""
    duration_s: float = 0.0

    @property
    def stops(self) -> bool:
        """Whether the text did not simply pass because of it."""
        return self.action not in ("", "finding") and not self.observed


class Screening(msgspec.Struct, frozen=True, kw_only=True):
    """What the guards said of one text, as the journal has it. `text` is its digest."""

    text: str
    verdicts: tuple[GuardVerdict, ...]


def is_screening(key: str) -> bool:
    """Whether what is recorded under this key is what guards said. No key of an agent's own begins so."""
    return key.startswith(_PREFIX)


def place_of(key: str) -> str:
    """Where the text of the screening that is recorded under this key came from: `input`, `tool_result`, `output`."""
    return key.removeprefix(_PREFIX).partition(":")[0]


def screening_in(event: Event) -> Screening | None:
    """What guards said, where the event tells that; None for any other, and for one whose run was erased."""
    if not isinstance(event, ValueRecorded) or not is_screening(event.key) or not isinstance(event.value, dict):
        return None
    return msgspec.convert(event.value, Screening)


def text_of(value: Any, *, keys: bool = True) -> str:
    """The texts in a JSON value, one a line: what a guard reads of it.

    `keys`: those of objects that have a blank in them, too. No field is named so, and somebody could hide words there.
    """
    return value if isinstance(value, str) else "\n".join(_texts(value, keys))


def _texts(value: Any, keys: bool) -> Iterator[str]:
    waiting = [value]  # and no recursion: what comes from outside may be nested as deep as it likes
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            yield item
        elif isinstance(item, dict):
            waiting.extend(reversed(item.values()))
            if keys:
                yield from (key for key in item if isinstance(key, str) and any(map(str.isspace, key)))
        elif isinstance(item, (list, tuple)):
            waiting.extend(reversed(item))
