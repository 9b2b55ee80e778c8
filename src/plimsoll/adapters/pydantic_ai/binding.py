"""What the parts of one hardened run share: the run, its models, and what it has answered so far."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from pydantic_ai.models import Model

from plimsoll.adapters.common.waiting import PRIMARY, Waiting
from plimsoll.adapters.pydantic_ai.delegation import Delegate
from plimsoll.adapters.pydantic_ai.messages import MessageDigests
from plimsoll.contract.model import Contract
from plimsoll.runtime.run import Run

__all__ = ["PRIMARY", "Asker", "Binding", "ModelOf"]

ModelOf = Callable[[str], Model]
"""The model of a rung, by its name in the contract."""


class Asker(Protocol):
    """Who asks a model: one run of an agent, hardened or not."""

    run_id: str
    responses: int
    """How many responses it has had."""
    digests: MessageDigests

    def model_of(self, name: str, /) -> Model:
        """The model of a rung."""
        ...

    def now(self) -> float:
        """Wall-clock seconds since the epoch."""
        ...


class Binding(Waiting):
    """One run of one Pydantic AI agent, in this process."""

    __slots__ = ("delegates", "digests", "model_of")

    def __init__(
        self,
        run: Run,
        *,
        contract: Contract,
        model_of: ModelOf,
        verifiers: Mapping[str, Callable[..., Any]],
        delegates: Mapping[str, Delegate] | None = None,
    ) -> None:
        super().__init__(run, contract=contract, verifiers=verifiers)
        self.model_of = model_of
        self.delegates: Mapping[str, Delegate] = delegates or {}
        self.digests = MessageDigests()
