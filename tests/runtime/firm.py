"""An agent with a billing department: what the tests of children share."""

from functools import partial
from typing import Any

from plimsoll.contract.model import AgentSection
from plimsoll.core.calls import CallKind
from plimsoll.core.events import CallSettled, RunStarted
from plimsoll.runtime.harness import Harness
from plimsoll.runtime.run import Run
from tests.runtime.bench import Desk, contract

BILLING = contract(agent=AgentSection(name="billing"))


async def billing(run: Run, request: dict[str, Any]) -> dict[str, Any]:
    """Refunds, and says what came of it."""
    done = await run.call("refund", {"order": request["order"], "amount": float(request.get("amount", 20.0))})
    return {"refunded": done["refunded"]}


async def front(run: Run, request: dict[str, Any]) -> str:
    """Looks the order up, and leaves the money to billing."""
    order = await run.call("look", {"order": request["order"]})
    done = await run.child("billing", {**request, "paid": order["paid"]})
    return f"{done['refunded']:g} back"


class Firm(Desk):
    """A desk with a billing department."""

    def __init__(self, *, front: Any = front, billing: Any = billing, terms: Any = BILLING, **changes: Any) -> None:
        super().__init__(**changes)
        self.agent = front
        self.billing = billing
        self.terms = terms

    def children(self) -> dict[str, Any]:
        return {"billing": partial(Harness, self.terms, agent=self.billing, fingerprint="b1", **self.means())}

    async def began(self, run_id: str) -> RunStarted:
        """The run's first event."""
        event = (await self.store.read(run_id))[0].event
        assert isinstance(event, RunStarted)
        return event

    async def settled(self, run_id: str = "r") -> list[CallSettled]:
        """The outcomes of the run's calls of children."""
        events = [record.event for record in await self.store.read(run_id)]
        return [event for event in events if isinstance(event, CallSettled) and event.kind is CallKind.RUN]


class Refused(ValueError):
    """The child gives up."""


async def gives_up(run: Run, request: Any) -> Any:
    raise Refused("not my job")


async def for_ever(run: Run, request: Any) -> Any:
    while True:
        await run.call("look", {"order": "W1"})


async def hands_off(run: Run, request: Any) -> Any:
    await run.call("look", {"order": request["order"]})
    await run.handoff("billing", request)
