"""The people of a trial: they answer requests for approval, well or badly."""

from collections.abc import Mapping, Sequence
from typing import Any

from plimsoll.core.canonical import digest
from plimsoll.core.errors import DecisionRefused
from plimsoll.core.events import ApprovalRequested
from plimsoll.gate.fault_kinds import How
from plimsoll.gate.injector import engage_everything
from plimsoll.gate.scene import Planned, Scene
from plimsoll.runtime.inbox import decision_entry
from plimsoll.runtime.operations import Operations

__all__ = ["People"]

_THINKING_S = 30.0


class People:
    """They outlive the crashes of the agent's process, and answer each request once, 30 virtual seconds after it."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._seen: set[str] = set()
        self._operations = Operations(scene.store, clock=scene.clock)

    async def answer(self, requests: Sequence[ApprovalRequested]) -> bool:
        """Answers what is new. False when there was nothing new."""
        fresh = [request for request in requests if request.request_id not in self._seen]
        for request in fresh:
            self._seen.add(request.request_id)
            self._scene.approvals += 1
            self._scene.tell("run", f"asks a person for {request.dependency} {request.args} ({request.rule})")
            planned = self._scene.by_approval.get(self._scene.approvals)
            if planned is not None:
                planned.about = self._scene.named(request.request_id.rpartition(".")[0], request.dependency)
                self._scene.fire(planned)
            await self._answer(request, planned)
        return bool(fresh)

    async def _answer(self, request: ApprovalRequested, planned: Planned | None) -> None:
        name = planned.kind.name if planned is not None else ""
        if name == "approver_silent":
            return
        await self._scene.clock.sleep(_THINKING_S)
        if planned is not None and planned.kind.how is How.KILL:
            await engage_everything(self._scene)
        if name == "approver_changes_arguments":
            await self._decide_other(request)
            return
        args = request.args if isinstance(request.args, dict) else {}
        approve = name != "approver_denies" and self._scene.stage.scenario.approve(request.dependency, args)
        await self._decide(request, approve=approve)
        if name == "approver_twice":
            await self._repeat(request, approve=approve)

    async def _decide(self, request: ApprovalRequested, *, approve: bool) -> None:
        by = request.approvers[0]
        note = "A colleague of ours has looked into it." if request.answers else ""
        await self._operations.decide(request.request_id, approve=approve, by=by, note=note)
        if approve:
            self._scene.approved.append((request.dependency, request.args_digest))
        self._scene.tell("person", f"{by} {'approves' if approve else 'denies'} {request.dependency}")

    async def _repeat(self, request: ApprovalRequested, *, approve: bool) -> None:
        by = request.approvers[0]
        self._scene.tell("person", f"{by} submits the same decision again, and then its opposite")
        if await self._operations.decide(request.request_id, approve=approve, by=by):
            self._scene.accepted.append("a decision that was submitted twice was taken twice")
        await self._must_be_refused(
            request, approve=not approve, args=None, why="the opposite of a decision was taken after it"
        )

    async def _decide_other(self, request: ApprovalRequested) -> None:
        """Approves other arguments than those asked about: by the front door, then straight into the inbox."""
        args = _altered(request.args)
        by = request.approvers[0]
        self._scene.tell("person", f"{by} approves {request.dependency} {args}, which is not what was asked")
        await self._must_be_refused(
            request, approve=True, args=args, why="a decision about other arguments was taken for this call"
        )
        entry = decision_entry(
            request.request_id,
            approve=True,
            args_digest=digest(args),
            by=by,
            note="",
            at=self._scene.clock.now(),
        )
        await self._scene.store.post(entry)

    async def _must_be_refused(
        self, request: ApprovalRequested, *, approve: bool, args: Mapping[str, Any] | None, why: str
    ) -> None:
        try:
            taken = await self._operations.decide(
                request.request_id, approve=approve, by=request.approvers[0], args=args
            )
        except DecisionRefused:
            return
        if taken:
            self._scene.accepted.append(why)


def _altered(args: Any) -> dict[str, Any]:
    """Other arguments: every number a hundred times as large, and one more argument where there is no number."""
    known = dict(args) if isinstance(args, dict) else {}
    numbers = {
        name: value * 100
        for name, value in known.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool) and value
    }
    return {**known, **numbers} if numbers else {**known, "changed": True}
