"""The capabilities by which a run of any Pydantic AI agent is put under its contract."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from pydantic_ai import RunContext
from pydantic_ai.capabilities import AbstractCapability, CapabilityOrdering
from pydantic_ai.models import Model
from pydantic_ai.tools import DeferredToolRequests, DeferredToolResults, ToolApproved
from pydantic_ai.toolsets import AbstractToolset

from plimsoll.adapters.pydantic_ai.binding import Binding
from plimsoll.adapters.pydantic_ai.delegation import delegates_toolset
from plimsoll.adapters.pydantic_ai.models import JournaledModel
from plimsoll.adapters.pydantic_ai.remote import with_listings
from plimsoll.adapters.pydantic_ai.tools import JournaledToolset

__all__ = ["Hardening", "Leaving", "capabilities_of"]


def capabilities_of(binding: Binding) -> list[AbstractCapability[Any]]:
    """Made for one run and handed to it, so the agent itself stays as it is."""
    return [Leaving(binding=binding), Hardening(binding=binding)]


@dataclass
class Hardening(AbstractCapability[Any]):
    """Puts the run's models and tools into the journal's hands."""

    binding: Binding = field(kw_only=True)

    def get_ordering(self) -> CapabilityOrdering:
        # Innermost: models and tools are wrapped beneath whatever other capabilities do to them.
        return CapabilityOrdering(position="innermost")

    def get_toolset(self) -> AbstractToolset[Any] | None:
        return delegates_toolset(self.binding.delegates)

    def get_wrapper_model(self, model: Model) -> Model:
        return JournaledModel(model, self.binding)

    def get_wrapper_toolset(self, toolset: AbstractToolset[Any]) -> AbstractToolset[Any]:
        return JournaledToolset(with_listings(toolset, self.binding), self.binding)

    def get_run_clock(self) -> Callable[[], datetime]:
        return lambda: datetime.fromtimestamp(self.binding.now(), UTC)

    def get_default_run_id(self) -> str:
        return self.binding.run_id

    def get_default_conversation_id(self, run_id: str) -> str:
        return run_id


@dataclass
class Leaving(AbstractCapability[Any]):
    """Takes the run off the stack once the parallel calls of a response have settled."""

    binding: Binding = field(kw_only=True)

    def get_ordering(self) -> CapabilityOrdering:
        return CapabilityOrdering(position="outermost")  # before anybody else answers for a call that waits

    async def handle_deferred_tool_calls(
        self, ctx: RunContext[Any], *, requests: DeferredToolRequests
    ) -> DeferredToolResults | None:
        """Leaves, if a call is waiting to.

        A tool that asks for approval by Pydantic AI's own flag is let through where the contract has an approval rule
        for it: the rule, and the person it asks for, decide instead.
        """
        self.binding.leave()
        ruled = [call for call in requests.approvals if self.binding.contract.tool(call.tool_name).approval is not None]
        if not ruled:
            return None
        return DeferredToolResults(approvals={call.tool_call_id: ToolApproved() for call in ruled})
