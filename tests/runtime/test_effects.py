"""What a doubt leaves in the journal, and when `verify` is asked: each word of it, since people decide by it."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest

from plimsoll.contract.model import Mode, Protections, Retry, Tool
from plimsoll.core.calls import (
    CallInfo,
    CallKind,
    Effect,
    Ending,
    Fault,
    Happened,
    NotHappenedAndCannot,
    Status,
    Unknown,
    idempotency_key,
)
from plimsoll.core.clock import LoopClock
from plimsoll.core.errors import Misuse
from plimsoll.core.events import CallIntended, CallSettled, DoubtRaised, DoubtResolved, Event
from plimsoll.runtime.current import current_call
from plimsoll.runtime.effects import settle_leftovers
from plimsoll.runtime.exchange import Exchange, Send
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run
from tests.runtime.bench import Crash, Desk, Refusal, pass_time, simulated

KEY = "1:refund"
LOST = ConnectionResetError("the answer was lost")


class Bank(Desk):
    """A desk whose agent makes one refund. `comes` is what the sendings come to, in turn; `says` what `verify` says.

    None among what comes is the refund itself. `verify` is asked as long as it says anything.
    """

    def __init__(self, *comes: BaseException | None, says: Any = None, **changes: Any) -> None:
        super().__init__(intercept=self.between, **changes)
        self.comes = list(comes)
        self.says = says
        self.infos: list[tuple[str, CallInfo, float]] = []
        self.agent = self.refunds
        if says is not None:
            self.shop.verify = self.check  # type: ignore[method-assign]

    async def refunds(self, run: Run, asked: Any) -> Any:
        try:
            return await run.call("refund", {"order": "W1", "amount": 20.0})
        except Exception as error:
            return f"{type(error).__name__}: {error}"

    async def between(self, site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        assert exchange.dependency == info.dependency
        self.infos.append((site, info, LoopClock().monotonic()))
        error = self.comes.pop(0) if site == "refund" and self.comes else None
        if error is not None:
            raise error
        return await send()

    def check(self, args: Mapping[str, Any], key: str) -> Any:
        answer = self.says.pop(0) if isinstance(self.says, list) else self.says
        return answer() if callable(answer) else answer

    async def serve(self, *, crashes: int = 0) -> RunResult:
        """The run, after so many lives that a crash ends."""
        for _ in range(crashes):
            with pytest.raises(Crash):
                await self.live().run({}, run_id="r")
        return await self.live().run({}, run_id="r")

    async def all_of(self, *kinds: type[Event]) -> list[Any]:
        """The run's events of these kinds."""
        events = [record.event for record in await self.store.read("r")]
        return [event for event in events if isinstance(event, kinds)]

    async def settled(self) -> CallSettled:
        (event,) = await self.all_of(CallSettled)
        assert isinstance(event, CallSettled)
        return event

    def sent(self) -> int:
        """How often the refund was sent."""
        return len([site for site, _, _ in self.infos if site == "refund"])

    def asked_at(self) -> list[float]:
        """When `verify` was asked, in seconds."""
        return [at for site, _, at in self.infos if site == "refund.verify"]


def told(test: Callable[[], Any]) -> Callable[[], None]:
    """A coroutine as a test in virtual time."""

    def run() -> None:
        simulated(test)

    run.__name__ = test.__name__
    return run


# ------------------------------------------------------------------------------------------------- what came of a call


@told
async def test_a_write_that_succeeds_at_once_was_tried_once() -> None:
    bank = Bank()
    assert (await bank.serve()).output == {"refunded": 20.0}
    settled = await bank.settled()
    assert (settled.outcome.status, settled.outcome.attempts, settled.outcome.error) == (Status.OK, 1, None)
    assert await bank.all_of(DoubtRaised, DoubtResolved) == []
    (sent,) = [info for site, info, _ in bank.infos if site == "refund"]
    assert (sent.effect, sent.kind, sent.key, sent.attempt, sent.rung) == (Effect.WRITE, CallKind.TOOL, KEY, 1, 0)


@told
async def test_every_sending_counts_as_an_attempt() -> None:
    bank = Bank(LOST, LOST, says=NotHappenedAndCannot())
    await bank.serve()
    assert (await bank.settled()).outcome.attempts == 3
    assert len(bank.shop.ledger) == 1


@told
async def test_a_write_that_never_gets_through_is_given_up_with_its_last_error() -> None:
    bank = Bank(LOST, LOST, ConnectionResetError("the last one"), None, says=NotHappenedAndCannot())
    assert "the last one" in (await bank.serve()).output
    outcome = (await bank.settled()).outcome
    assert (outcome.status, outcome.attempts, bank.shop.ledger) == (Status.FAILED, 3, [])
    assert outcome.error is not None
    assert (outcome.error.type, outcome.error.message) == ("ConnectionResetError", "the last one")
    assert len(await bank.all_of(CallIntended)) == 4, "one before each sending, and one that a crash would find"


@told
async def test_a_refusal_is_no_doubt() -> None:
    bank = Bank(Refusal("not today"))
    await bank.serve()
    outcome = (await bank.settled()).outcome
    assert outcome.error is not None
    assert (outcome.status, outcome.attempts, outcome.error.message) == (Status.FAILED, 1, "not today")
    assert await bank.all_of(DoubtRaised, DoubtResolved) == []


@dataclass(frozen=True)
class Receipt:
    """What a `verify` may return: JSON is made of it."""

    number: int


@told
async def test_what_verify_found_is_the_answer_of_the_call() -> None:
    bank = Bank(LOST, says=Happened(Receipt(7)))
    assert (await bank.serve()).output == {"number": 7}
    assert (await bank.settled()).outcome.attempts == 1
    (resolved,) = await bank.all_of(DoubtResolved)
    assert (resolved.key, resolved.answer, resolved.by, resolved.value) == (KEY, "happened", "verify", {"number": 7})
    assert bank.shop.ledger == []


# ---------------------------------------------------------------------------------------------------- what a doubt says


@told
async def test_a_doubt_says_which_call_under_which_key_and_what_was_wrong() -> None:
    bank = Bank(ConnectionResetError("x" * 600), says=Happened({}))
    await bank.serve()
    (doubt,) = await bank.all_of(DoubtRaised)
    assert (doubt.key, doubt.dependency, doubt.fault) == (KEY, "refund", Fault.CONNECTION)
    assert doubt.idempotency_key == idempotency_key("r", KEY)
    assert doubt.message == "x" * 500


@told
async def test_a_write_that_is_sent_again_has_its_doubt_answered_and_its_intent_renewed() -> None:
    bank = Bank(LOST, says=NotHappenedAndCannot())
    await bank.serve()
    events = await bank.all_of(CallIntended, DoubtRaised, DoubtResolved, CallSettled)
    assert [type(event) for event in events] == [CallIntended, DoubtRaised, DoubtResolved, CallIntended, CallSettled]
    assert events[0] == events[3]
    resolved = events[2]
    assert (resolved.key, resolved.answer, resolved.by, resolved.value) == (KEY, "not_happened", "verify", None)


@told
async def test_a_doubt_that_nobody_can_settle_says_why_and_parks() -> None:
    bank = Bank(LOST, says=Unknown("the bank is closed", final=True))
    result = await bank.serve()
    assert (result.ending, result.reason) == (Ending.PARKED, f"doubt: {KEY}")
    (resolved,) = await bank.all_of(DoubtResolved)
    assert (resolved.key, resolved.answer, resolved.by) == (KEY, "unknown", "verify")
    assert resolved.value == "the bank is closed"
    head = await bank.store.head("r")
    assert head is not None and head.wake_at is None


@told
async def test_a_crash_between_intent_and_outcome_is_a_doubt_of_its_own_kind() -> None:
    bank = Bank(Crash(), says=Happened({"refunded": 20.0}))
    assert (await bank.serve(crashes=1)).output == {"refunded": 20.0}
    (doubt,) = await bank.all_of(DoubtRaised)
    assert doubt.fault is Fault.CRASH
    assert doubt.message == "the process died before the outcome was recorded"
    assert (await bank.settled()).outcome.attempts == 1


@told
async def test_a_person_s_answer_is_the_answer_of_the_call() -> None:
    bank = Bank(Crash(), verify=False)
    assert (await bank.serve(crashes=1)).ending is Ending.PARKED
    await bank.live().operations.resolve("r", KEY, happened=True, by="ana", value={"refunded": 19.0})
    (result,) = await bank.live().wake()
    assert result.output == {"refunded": 19.0}
    outcome = (await bank.settled()).outcome
    assert (outcome.status, outcome.attempts) == (Status.OK, 1)
    assert len(await bank.all_of(DoubtRaised)) == 1, "it is not asked about again"


@told
async def test_a_person_s_no_lets_it_be_sent_and_holds_for_that_sending_only() -> None:
    bank = Bank(Crash(), Crash(), verify=False)
    assert (await bank.serve(crashes=1)).ending is Ending.PARKED
    await bank.live().operations.resolve("r", KEY, happened=False, by="ana")
    with pytest.raises(Crash):
        await bank.live().resume("r")
    assert (await bank.live().resume("r")).reason == f"doubt: {KEY}"
    assert len(await bank.all_of(CallIntended)) == 2
    assert bank.shop.ledger == []


@told
async def test_what_still_runs_in_this_process_is_not_sent_again_whatever_a_person_says() -> None:
    bank = Bank(LOST, verify=False)
    harness = bank.live()
    assert (await harness.run({}, run_id="r")).ending is Ending.PARKED
    thread = asyncio.get_running_loop().create_future()
    harness.env.under_way.add(idempotency_key("r", KEY), thread, answers=True)
    await harness.operations.resolve("r", KEY, happened=False, by="ana")
    assert (await harness.resume("r")).reason == f"doubt: {KEY}"
    assert len(await bank.all_of(CallIntended)) == 1
    thread.set_result(None)
    await pass_time(1.0)
    assert (await harness.resume("r")).output == {"refunded": 20.0}
    assert len(bank.shop.ledger) == 1


@told
async def test_what_is_deduplicated_is_sent_again_without_a_doubt() -> None:
    bank = Bank(Crash(), tools={"refund": Tool(effect=Effect.IDEMPOTENT)})
    assert (await bank.serve(crashes=1)).output == {"refunded": 20.0}
    assert await bank.all_of(DoubtRaised, DoubtResolved) == []
    assert len(await bank.all_of(CallIntended)) == 1


@told
async def test_what_is_deduplicated_is_sent_again_after_a_lost_answer_without_a_retry() -> None:
    bank = Bank(LOST, tools={"refund": Tool(effect=Effect.IDEMPOTENT)}, verify=False)
    assert (await bank.serve()).output == {"refunded": 20.0}
    assert await bank.all_of(DoubtRaised, DoubtResolved) == []
    assert (await bank.settled()).outcome.attempts == 2
    assert [info.attempt for _, info, _ in bank.infos] == [1, 2]
    assert {info.idempotency_key for _, info, _ in bank.infos} == {idempotency_key("r", KEY)}
    assert bank.kinds() == [("attempt_failed", "refund", "connection")]


@told
async def test_what_is_deduplicated_and_answers_twice_with_trouble_is_in_doubt() -> None:
    bank = Bank(LOST, LOST, LOST, tools={"refund": Tool(effect=Effect.IDEMPOTENT)}, verify=False)
    assert (await bank.serve()).reason == f"doubt: {KEY}"
    assert bank.sent() == 2


@told
async def test_what_is_deduplicated_is_sent_again_also_after_a_fault_that_its_retry_leaves_out() -> None:
    retry = Retry(on=(Fault.RATE_LIMITED,))
    bank = Bank(LOST, tools={"refund": Tool(effect=Effect.IDEMPOTENT, retry=retry)}, verify=False)
    assert (await bank.serve()).output == {"refunded": 20.0}
    assert bank.sent() == 2


@told
async def test_what_is_deduplicated_and_refused_is_known_and_not_sent_again() -> None:
    refund = Tool(effect=Effect.IDEMPOTENT, proves_nothing_happened=("Refusal",))
    bank = Bank(Refusal("closed"), tools={"refund": refund}, verify=False)
    assert (await bank.serve()).output == "CallFailed: refund failed (refused) after 1 attempt(s): closed"
    assert bank.sent() == 1


@told
async def test_a_retry_that_only_observes_is_not_made_for_what_is_deduplicated() -> None:
    refund = Tool(effect=Effect.IDEMPOTENT, retry=Retry(on=(Fault.CONNECTION,)))
    bank = Bank(LOST, tools={"refund": refund}, protections=Protections(retry=Mode.OBSERVE), verify=False)
    assert (await bank.serve()).reason == f"doubt: {KEY}"
    assert ("would_retry", "refund", "connection") in bank.kinds()
    assert bank.sent() == 1


@told
async def test_what_is_deduplicated_is_not_sent_again_beside_a_thread_of_its_own() -> None:
    bank = Bank(LOST, tools={"refund": Tool(effect=Effect.IDEMPOTENT)}, verify=False)
    harness = bank.live()
    thread = asyncio.get_running_loop().create_future()
    harness.env.under_way.add(idempotency_key("r", KEY), thread, answers=False)
    assert (await harness.run({}, run_id="r")).reason == f"doubt: {KEY}"
    assert bank.sent() == 1
    thread.set_result(None)


# ------------------------------------------------------------------------------------------------ when verify is asked


@told
async def test_verify_is_asked_three_times_and_waits_in_between() -> None:
    bank = Bank(LOST, says=Unknown("no idea"))
    await bank.serve()
    assert bank.asked_at() == pytest.approx([0.0, 0.5, 2.5])


@told
async def test_verify_is_asked_until_it_knows() -> None:
    bank = Bank(LOST, says=[Unknown("no idea"), Happened({"refunded": 20.0})])
    assert (await bank.serve()).output == {"refunded": 20.0}
    assert bank.asked_at() == pytest.approx([0.0, 0.5])


@told
async def test_verify_is_not_asked_again_where_it_will_never_know() -> None:
    bank = Bank(LOST, says=Unknown("no such thing", final=True))
    await bank.serve()
    assert bank.asked_at() == [0.0]


@told
async def test_verify_has_as_long_as_the_tool() -> None:
    bank = Bank(LOST, says=lambda: pass_time(1e6))
    assert (await bank.serve()).ending is Ending.PARKED
    assert bank.asked_at() == pytest.approx([0.0, 5.5, 12.5])
    (resolved,) = await bank.all_of(DoubtResolved)
    assert resolved.value.startswith("verify failed: TimeoutError")


@told
async def test_verify_is_told_what_it_is_asked_about() -> None:
    seen: list[CallInfo | None] = []

    def look() -> Happened:
        seen.append(current_call())
        return Happened({"refunded": 20.0})

    bank = Bank(LOST, says=look)

    async def refunds(run: Run, asked: Any) -> Any:
        await run.call("look", {"order": "W0"})
        await pass_time(3.0)
        done = await run.call("refund", {"order": "W1", "amount": 20.0})
        assert current_call() is None, "that was verify's, and is over"
        return done

    bank.agent = refunds
    await bank.serve()
    (info,) = seen
    assert info == next(info for site, info, _ in bank.infos if site == "refund.verify")
    assert info is not None
    assert (info.run_id, info.key, info.dependency, info.kind) == ("r", "2:refund", "refund", CallKind.TOOL)
    assert (info.effect, info.attempt, info.rung, info.sending) == (Effect.READ, 1, 0, 1)
    assert info.deadline_s == pytest.approx(3.0 + 5.0)
    assert info.idempotency_key == idempotency_key("r", "2:refund")


@told
async def test_an_answer_that_is_none_is_quoted() -> None:
    bank = Bank(LOST, says="perhaps")
    await bank.serve()
    (resolved,) = await bank.all_of(DoubtResolved)
    words = "verify answered 'perhaps', which is none of Happened, NotHappenedAndCannot, Unknown"
    assert resolved.value == words


@told
async def test_a_verify_that_fails_is_quoted() -> None:
    def broken() -> Any:
        raise OSError("no route")

    bank = Bank(LOST, says=broken)
    await bank.serve()
    (resolved,) = await bank.all_of(DoubtResolved)
    assert resolved.value == "verify failed: OSError: no route"


@told
async def test_a_verify_that_misuses_something_has_failed_like_any_other() -> None:
    def misused() -> Any:
        raise Misuse("verify has no such table")

    bank = Bank(LOST, says=misused)
    result = await bank.serve()
    assert (result.ending, result.reason) == (Ending.PARKED, "doubt: 1:refund")
    (resolved,) = await bank.all_of(DoubtResolved)
    assert resolved.value == "verify failed: Misuse: verify has no such table"
    (found,) = [finding for _, _, finding in bank.sink.entries if finding.kind == "in_doubt_unresolved"]
    assert found.message == "a person must find out whether refund happened (verify failed: Misuse)"
    bank.says = Happened({"refunded": 20.0})
    assert (await bank.live().resume("r")).output == {"refunded": 20.0}


@told
async def test_a_verify_that_misuses_something_when_its_run_ends_leaves_a_doubt() -> None:
    def misused() -> Any:
        raise Misuse("verify has no such table")

    bank = Bank(says=misused)
    bank.comes = [Crash()]

    async def asks_no_more(run: Run, asked: Any) -> Any:
        return "done"

    with pytest.raises(Crash):
        await bank.serve()
    bank.agent = asks_no_more
    await bank.live().operations.cancel("r", by="ana")
    (result,) = await bank.live().wake()
    assert result.ending is Ending.HALTED
    (resolved,) = await bank.all_of(DoubtResolved)
    assert resolved.value == "verify failed: Misuse: verify has no such table"


# --------------------------------------------------------------------------------------------- what a run leaves behind


async def leaving(bank: Bank, *orders: str) -> RunResult:
    """A run that fails while refunds of these orders are under way."""

    async def fails(run: Run, asked: Any) -> Any:
        loop = asyncio.get_running_loop()
        tasks = [loop.create_task(run.call("refund", {"order": order, "amount": 20.0})) for order in orders]
        await pass_time(1.0)
        assert not any(task.done() for task in tasks)
        raise KeyError("order")

    async def hanging(site: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
        bank.infos.append((site, info, LoopClock().monotonic()))
        if site == "refund":
            await pass_time(1e6)
        return await send()

    bank.agent, bank.intercept = fails, hanging
    return await bank.live().run({}, run_id="r")


SLOW = {"refund": Tool(effect=Effect.WRITE, timeout_s=30.0)}


@told
async def test_what_was_under_way_when_a_run_ended_is_looked_into_each() -> None:
    bank = Bank(says=[Unknown("no idea", final=True), NotHappenedAndCannot(), Happened(Receipt(7))], tools=SLOW)
    result = await leaving(bank, "W1", "W2", "W3")
    assert result.ending is Ending.FAILED
    doubts = await bank.all_of(DoubtRaised)
    assert [doubt.key for doubt in doubts] == ["1:refund", "2:refund", "3:refund"]
    assert {(doubt.message, doubt.fault) for doubt in doubts} == {("the run ended while it was under way", Fault.CRASH)}
    answers = [(each.key, each.answer, each.by, each.value) for each in await bank.all_of(DoubtResolved)]
    assert answers == [
        ("1:refund", "unknown", "verify", "no idea"),
        ("2:refund", "not_happened", "verify", None),
        ("3:refund", "happened", "verify", {"number": 7}),
    ]
    assert [site for site, _, _ in bank.infos].count("refund") == 3, "nothing is sent again"


@told
async def test_a_write_that_the_code_did_not_come_to_again_stays_a_doubt() -> None:
    bank = Bank()
    await bank.serve()
    (intent,) = await bank.all_of(CallIntended)
    recorded: list[Any] = []
    replay = SimpleNamespace(unasked_intents=lambda: [intent])
    env = SimpleNamespace(exchange_of=lambda _: None)  # it is a tool of some framework
    state: Any = SimpleNamespace(sent={}, replay=replay, record=recorded.append, doubts={}, env=env)
    await settle_leftovers(state)
    doubt, resolved = recorded
    assert (doubt.key, doubt.dependency, doubt.fault) == (KEY, "refund", Fault.CRASH)
    assert (resolved.key, resolved.answer, resolved.by) == (KEY, "unknown", "plimsoll")
    assert doubt.message == resolved.value == "the run ended before its code came to it again"


def test_a_write_that_timed_out_is_in_doubt_whatever_its_contract_calls_proof() -> None:
    """As found in review: with "CallTimeout" among what proves that nothing happened, it was paid three times."""

    async def main() -> None:
        desk = Desk(
            verify=False,
            tools={
                "refund": Tool(
                    effect=Effect.WRITE,
                    timeout_s=1.0,
                    proves_nothing_happened=("CallTimeout",),
                    retry=Retry(on=(Fault.TIMEOUT,)),
                )
            },
        )

        async def refund(order: str, amount: float) -> dict[str, Any]:
            done = desk.shop.refund(order, amount)
            await pass_time(5.0)
            return done

        desk.tools = [desk.shop.look, refund]
        result = await desk.live().run({"order": "W1"}, run_id="r")
        assert result.ending is Ending.PARKED
        assert len(desk.shop.ledger) == 1

    simulated(main)
