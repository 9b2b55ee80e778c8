"""The guards of an agent: each with the model that judges for it, by where the texts come from."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from plimsoll.contract.checking_guards import guard_problems
from plimsoll.contract.model import Contract, GuardSection
from plimsoll.core.calls import CallKind, Unknown
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse
from plimsoll.core.guards import Guard
from plimsoll.policies.ladder import Rung
from plimsoll.runtime.exchange import Inspection

__all__ = ["BoundGuard", "GuardExchange", "Guards", "bound_guards", "guarded"]


@dataclass(frozen=True, slots=True)
class BoundGuard:
    """A guard as the contract has it, and the model that judges for it."""

    name: str
    section: GuardSection
    model: Guard


@dataclass(frozen=True, slots=True)
class Guards:
    """All of an agent's guards, in the contract's order."""

    all: tuple[BoundGuard, ...]

    @property
    def digests(self) -> dict[str, str]:
        """The digests of their models, by the guards' names."""
        return {guard.name: guard.model.digest for guard in self.all}

    def on_input(self) -> list[BoundGuard]:
        """Those that judge what the agent is asked."""
        return [guard for guard in self.all if "input" in guard.section.on]

    def on_result(self, tool: str) -> list[BoundGuard]:
        """Those that judge what this tool brings."""
        return [guard for guard in self.all if guard.section.judges(tool)]

    def on_output(self, *, done: Iterable[str]) -> list[BoundGuard]:
        """Those that judge what the agent answers, when these tools were carried out."""
        known = frozenset(done)
        return [
            guard for guard in self.all if "output" in guard.section.on and known.isdisjoint(guard.section.unless_done)
        ]


def bound_guards(contract: Contract, given: Mapping[str, Guard]) -> Guards | None:
    """The contract's guards with the models that were given for them, by name; None where it has none.

    Raises `Misuse` where they do not belong together: no run is begun without a guard that it is promised.
    """
    unknown = sorted(given.keys() - contract.guards.keys())
    if unknown:
        raise Misuse(f"guards were given that the contract does not know: {', '.join(unknown)}")
    missing = [name for name in contract.guards if name not in given]
    if missing:
        raise Misuse(
            f"nothing judges for guards.{', guards.'.join(missing)}: hand it over in `guards`, as by "
            "plimsoll.learning.guards.load_guards(contract), or harden the agent, which loads it by itself"
        )
    for name, section in contract.guards.items():
        for path, what, fix in guard_problems(name, section, contract):
            raise Misuse(f"{'.'.join(map(str, path))} {what} → {fix}")
        if section.label not in given[name].labels:
            raise Misuse(
                f"guards.{name}.label is {section.label!r}, and its model knows {', '.join(given[name].labels)}"
            )
    bound = tuple(BoundGuard(name, section, given[name]) for name, section in contract.guards.items())
    return Guards(bound) if bound else None


def guarded(fingerprint: str, guards: Mapping[str, Guard]) -> str:
    """The fingerprint of an agent with these guards: with another model in one, it is another version."""
    if not guards:
        return fingerprint
    return digest([fingerprint, {name: guard.digest for name, guard in guards.items()}])


class GuardExchange:
    """One question to a guard, as an interceptor sees it."""

    __slots__ = ("_guard", "_text", "args_digest", "dependency")

    kind = CallKind.GUARD
    args = None
    input_tokens = 0
    refusals = ()

    def __init__(self, guard: BoundGuard, text: str, *, text_digest: str) -> None:
        self.dependency = guard.name
        self.args_digest = text_digest
        self._guard = guard.model
        self._text = text

    async def send(self, rung: Rung | None) -> Mapping[str, float]:
        return await self._guard.judge(self._text)

    def inspect(self, native: Any) -> Inspection:
        return Inspection()

    def encode(self, native: Any) -> Any:
        return dict(native)

    def decode(self, value: Any) -> Any:
        return value

    def cache_key(self) -> str:
        return self.args_digest

    def sameness(self, value: Any) -> str:
        return digest(value)

    async def verify(self, idempotency_key: str) -> Any:
        return Unknown("a guard changes nothing; there is nothing to verify")
