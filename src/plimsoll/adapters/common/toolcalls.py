"""Tool calls through the pipeline, as every framework makes them: one `Exchange` for each."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from plimsoll.adapters.common.dependencies import takes_deps
from plimsoll.contract.model import OutputRule
from plimsoll.core.calls import CallKind, ErrorRecord, Outcome, Status, Unknown
from plimsoll.core.canonical import canonical_json, digest, parse_json
from plimsoll.policies.ladder import Rung
from plimsoll.policies.output_check import check_value
from plimsoll.runtime.current import call_context, run_context
from plimsoll.runtime.exchange import Inspection
from plimsoll.runtime.foreign import fail_if_foreign
from plimsoll.runtime.tools import ask_verifier
from plimsoll.runtime.underway import UnderWay

__all__ = ["ToolExchange", "told"]


class ToolExchange:
    """One call of a tool. `execute` runs it; `verifier` answers whether it happened.

    `args` are its arguments as JSON; `rule` is the contract's for what it returns. `in_thread` says that the tool is a
    sync function, whose thread may outlive an attempt: `under_way` knows of those. `refusals` are the exceptions by
    which the tool itself says that nothing happened. `now` tells the wall-clock time, by which an answer may be stale.
    """

    __slots__ = (
        "_deps", "_encoded", "_execute", "_now", "_rule", "_under_way", "_verifier", "_written", "args",
        "args_digest", "dependency", "in_thread", "refusals",
    )  # fmt: skip

    kind = CallKind.TOOL
    input_tokens = 0

    def __init__(
        self,
        name: str,
        args: Mapping[str, Any],
        execute: Callable[[], Awaitable[Any]],
        *,
        rule: OutputRule,
        verifier: Callable[..., Any] | None = None,
        deps: Any = None,
        under_way: UnderWay | None = None,
        in_thread: bool = False,
        refusals: tuple[str, ...] = (),
        now: Callable[[], float] | None = None,
    ) -> None:
        self.dependency = name
        self.refusals = refusals
        self._written = canonical_json(args)
        self.args: dict[str, Any] = parse_json(self._written)
        self.args_digest = hashlib.sha256(self._written).hexdigest()
        self._under_way = under_way
        self.in_thread = in_thread
        self._execute = execute
        self._rule = rule
        self._now = now
        self._verifier = verifier
        self._deps = deps
        self._encoded: tuple[Any, Any, bytes] | None = None

    async def send(self, rung: Rung | None) -> Any:
        self._encoded = None  # an attempt may return the very object that the last one did, changed since
        info = call_context.get()
        if not self.in_thread or self._under_way is None or info is None:
            return await self._sent()
        work = asyncio.ensure_future(self._sent())  # a thread goes on when its attempt is given up, and is known to
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            self._under_way.add(info.idempotency_key, work, answers=True)
            raise

    async def _sent(self) -> Any:
        token = run_context.set(None)  # what a tool does inside is its own affair: the call is journaled as one
        try:
            return await self.executed()
        except BaseException as error:
            fail_if_foreign(error)
            raise
        finally:
            run_context.reset(token)

    async def executed(self) -> Any:
        """What the tool returns or raises. An adapter may tell its framework's own signals apart here."""
        return await self._execute()

    def as_json(self, native: Any) -> Any:
        """What the tool returned, as JSON. An adapter says how its framework's own results are written."""
        return native

    def inspect(self, native: Any) -> Inspection:
        return Inspection(problem=check_value(self.encode(native), self._rule, now=self._now))

    def encode(self, native: Any) -> Any:
        if self._encoded is None or self._encoded[0] is not native:
            written = canonical_json(self.as_json(native))  # what the journal cannot carry is no answer
            self._encoded = (native, parse_json(written), written)  # as a replay will have it, to the order of its keys
        return self._encoded[1]

    def decode(self, value: Any) -> Any:
        return value

    def cache_key(self) -> str:
        return self.args_digest

    def sameness(self, value: Any) -> str:
        known = self._encoded
        return hashlib.sha256(known[2]).hexdigest() if known is not None and known[1] is value else digest(value)

    async def verify(self, idempotency_key: str) -> Any:
        if self._under_way is not None and self._under_way.of(idempotency_key):
            return Unknown("the call is still under way")
        if self._verifier is None:
            return Unknown("the contract names no `verify` for this tool", final=True)
        options = {"deps": self._deps} if takes_deps(self._verifier) else {}
        return await ask_verifier(self._verifier, parse_json(self._written), idempotency_key, **options)


def told(name: str, outcome: Outcome) -> str:
    """What a model is told of a call that brought no result: in words why, and whether anything was done."""
    error = outcome.error or ErrorRecord(type="Unknown", message="no reason was recorded")
    if outcome.status is Status.REJECTED:
        return f"{name} was not carried out: {error.message}. Nothing was done."
    return f"{name} failed ({error.fault}) after {outcome.attempts} attempt(s): {error.message}"
