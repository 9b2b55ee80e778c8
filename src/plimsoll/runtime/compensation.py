"""Compensation: a run that takes back what another has done, because a person said so.

Each call is taken back by a call of its own, to `TOOL.compensate`: journaled, never made twice, verified or in doubt
where nobody knows, by whatever the contract says of it in `[tools."TOOL.compensate"]`. A tool that it does not name is
a write.
"""

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.runtime.environment import Environment
from plimsoll.runtime.imports import functions_of
from plimsoll.runtime.run import Run
from plimsoll.runtime.tools import BoundTool, ToolExchange, ToolSpec, Verifier

__all__ = ["Compensator", "Undoing", "UndoingOf", "undo", "undoing_of"]

Compensator = Callable[[Any, Any], Any]
"""`compensate(args, result)`: takes back a call that had these arguments and this result (JSON); may be async."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Undoing:
    """What takes calls back, by tool, and what finds out whether it did, by the names of those calls."""

    compensators: Mapping[str, Compensator]
    verifiers: Mapping[str, Verifier] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class UndoingOf:
    """What takes calls back, for a run that is about to: `make` brings it. `tools` are those whose calls it can take
    back although the contract names nothing for them."""

    tools: frozenset[str]
    make: Callable[[Run], Awaitable[Undoing]]


def undoing_of(
    contract: Contract,
    compensators: Mapping[str, Compensator] | UndoingOf,
    verifiers: Mapping[str, Verifier],
    *,
    directory: str | Path,
) -> UndoingOf:
    """What takes calls back: as it was handed over, and what was not by the contract, imported when it is needed."""
    if isinstance(compensators, UndoingOf):
        return compensators

    async def undoing(run: Run) -> Undoing:
        found = functions_of(contract, "compensate", given=compensators, directory=directory)
        return Undoing(compensators=found, verifiers=verifiers)

    return UndoingOf(tools=frozenset(compensators), make=undoing)


async def undo(run: Run, asked: Mapping[str, Any], *, undoing: UndoingOf) -> dict[str, int]:
    """The agent of a run that takes calls back, one after the other. The first that cannot be ends it."""
    given = await undoing.make(run)
    for call in asked["calls"]:
        exchange = _exchange(run.state.env, call, given)
        (await run.exchange(exchange, key=call["key"])).unwrap()
    return {"undone": len(asked["calls"])}


def _exchange(env: Environment, call: Mapping[str, Any], given: Undoing) -> ToolExchange:
    compensator = given.compensators.get(call["tool"])
    if compensator is None:
        raise Misuse(f"nothing is there that takes {call['tool']} back: name its `compensate` in the contract")
    name = f"{call['tool']}.compensate"
    tool = BoundTool(
        ToolSpec(name, _by_position(compensator)),
        section=env.tool(name),
        verifier=given.verifiers.get(name),
        under_way=env.under_way,
        now=env.clock.now,
    )
    return ToolExchange(tool, {"args": call["args"], "result": call["result"]})


def _by_position(compensator: Compensator) -> Callable[..., Any]:
    """The function, called as its author was told: what its parameters are called is their own affair."""
    if inspect.iscoroutinefunction(compensator):

        async def taking_back(args: Any, result: Any) -> Any:
            return await compensator(args, result)

        return taking_back

    def taking_back_in_thread(args: Any, result: Any) -> Any:
        return compensator(args, result)

    return taking_back_in_thread
