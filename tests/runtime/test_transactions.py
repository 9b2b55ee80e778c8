"""Transactions: the effect and the record of it commit together."""

from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.model import Retry
from plimsoll.core.calls import CallInfo, Ending, Fault
from plimsoll.core.events import CallSettled, DoubtRaised, DoubtResolved
from plimsoll.runtime.exchange import Exchange, Send
from tests.runtime.banks import Desk
from tests.runtime.bench import Crash, pass_time, simulated

PAY = {"to": "ann", "amount": 20.0}


def at(site: str, fault: Any, *, sent: bool, lives: int = 1) -> Any:
    """An interceptor that fails once at a site, before or after what is sent there."""

    def under(desk: Desk) -> None:
        async def intercept(name: str, info: CallInfo, exchange: Exchange, send: Send) -> Any:
            struck = name == site and desk.lives <= lives and not getattr(desk, "struck", False)
            if struck:
                desk.struck = True  # type: ignore[attr-defined]
            if struck and not sent:
                raise fault
            answer = await send()
            if struck:
                raise fault
            return answer

        desk.intercept = intercept

    return under


def test_the_effect_and_the_mark_are_there_together(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        result = await desk.live().run(PAY, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": 20.0})
        assert desk.bank.payments == [("ann", 20.0)]
        assert desk.bank.marks == ['{"paid":20.0}']
        assert desk.kinds() == []

    simulated(main)


@pytest.mark.parametrize("site", ["pay", "pay.commit"])
@pytest.mark.parametrize("sent", [False, True])
def test_a_crash_on_either_side_of_the_commit_neither_loses_nor_doubles(tmp_path: Path, site: str, sent: bool) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        at(site, Crash(), sent=sent)(desk)
        harness = desk.live()
        with pytest.raises(Crash):
            await harness.run(PAY, run_id="r")
        harness.journal.abandon()
        committed = sent
        assert desk.bank.payments == ([("ann", 20.0)] if committed else [])
        (result,) = await desk.live().wake()
        assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": 20.0})
        assert desk.bank.payments == [("ann", 20.0)]
        (resolved,) = await desk.events(DoubtResolved)
        assert (resolved.answer, resolved.by) == ("happened" if committed else "not_happened", "verify")

    simulated(main)


@pytest.mark.parametrize("sent", [False, True])
def test_a_connection_lost_at_the_commit_is_settled_by_the_mark(tmp_path: Path, sent: bool) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        at("pay.commit", ConnectionResetError("lost"), sent=sent)(desk)
        result = await desk.live().run(PAY, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, {"paid": 20.0})
        assert desk.bank.payments == [("ann", 20.0)]
        assert ("in_doubt", "pay", "connection") in desk.kinds()

    simulated(main)


def test_an_error_of_the_tool_is_rolled_back_and_proves_that_nothing_happened(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        result = await desk.live().run({"to": "ann", "amount": 5000.0}, run_id="r")
        assert "at most 1000" in result.output
        assert (desk.bank.payments, desk.bank.begun) == ([], 1)
        assert await desk.events(DoubtRaised) == []

    simulated(main)


def test_what_is_rolled_back_may_be_tried_again(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path, retry=Retry(on=(Fault.CONNECTION,)))
        tries = []

        async def pay(to: str, amount: float) -> Any:
            answer = desk.bank.paying(to, amount)
            tries.append(answer)
            if len(tries) == 1:
                raise ConnectionResetError("the bank's own service is gone for a moment")
            return answer

        desk.tools = {"pay": pay}
        result = await desk.live().run(PAY, run_id="r")
        assert (result.output, len(tries), desk.bank.payments) == ({"paid": 20.0}, 2, [("ann", 20.0)])
        assert await desk.events(DoubtRaised) == []

    simulated(main)


def test_a_timeout_is_rolled_back(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)

        async def pay(to: str, amount: float) -> Any:
            answer = desk.bank.paying(to, amount)
            await pass_time(100.0)
            return answer

        desk.tools = {"pay": pay}
        result = await desk.live().run(PAY, run_id="r")
        assert "timeout" in result.output
        assert desk.bank.payments == []
        (settled,) = await desk.events(CallSettled)
        assert settled.outcome.error.fault is Fault.TIMEOUT

    simulated(main)
