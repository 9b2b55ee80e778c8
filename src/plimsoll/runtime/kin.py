"""Kin: the other agents that a run can have children of, and one call of such a child."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from plimsoll.core.calls import CallKind, Unknown
from plimsoll.core.canonical import as_recorded, digest
from plimsoll.core.criticality import Criticality
from plimsoll.core.errors import Misuse
from plimsoll.policies.deadline import Deadline
from plimsoll.policies.ladder import Rung
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.lineage import child_id
from plimsoll.runtime.result import RunResult

__all__ = ["ChildExchange", "Descent", "Kin"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Descent:
    """Whose child a run is.

    `within` names whatever the parent is part of, itself among them; `deadline` is the parent's (None: it has none that
    is enforced). `taken_from` is the owner that the parent was just taken over from: it is stuck with the child, too.
    `criticality` is the parent's.
    """

    parent: str
    within: tuple[str, ...]
    deadline: Deadline | None
    taken_from: str = ""
    criticality: Criticality = Criticality.DEFAULT


class Kin(Protocol):
    """Who runs the children of one name: the harness of another agent."""

    async def run_child(self, run_id: str, input: Any, *, descent: Descent) -> RunResult:
        """Begins the run `run_id`, or goes on with it, until it ends or parks."""
        ...


class ChildExchange:
    """One call of a child. The pipeline sees another dependency, whose answer is how the child ended."""

    __slots__ = ("_kin", "args", "args_digest", "dependency")

    kind = CallKind.RUN
    input_tokens = 0
    refusals = ()

    def __init__(self, name: str, input: Any, *, kin: Kin) -> None:
        self.dependency = name
        self._kin = kin
        self.args = as_recorded(input, what=f"the input of the child {name}")
        self.args_digest = digest(self.args)

    async def send(self, rung: Rung | None) -> Any:
        raise Misuse("a child is run by its parent's pipeline, not sent to")

    async def run(self, key: str, descent: Descent) -> RunResult:
        """Runs the child of the call `key` until it ends or parks."""
        return await self._kin.run_child(child_id(descent.parent, key), self.args, descent=descent)

    def inspect(self, native: Any) -> Inspection:
        return Inspection()

    def encode(self, native: RunResult) -> Any:
        return {
            "run_id": native.run_id,
            "ending": native.ending.value,
            "output": native.output,
            "reason": native.reason,
            "did": list(native.did),
        }

    def decode(self, value: Any) -> Any:
        return value["output"] if isinstance(value, Mapping) else value

    def cache_key(self) -> str:
        return self.args_digest

    def sameness(self, value: Any) -> str:
        return digest(self.decode(value))

    async def verify(self, idempotency_key: str) -> Any:
        return Unknown("a child's own journal says what it did")
