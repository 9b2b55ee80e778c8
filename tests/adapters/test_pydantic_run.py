"""A hardened agent runs as it did before, and its journal has it all."""

from plimsoll.core.calls import Ending
from plimsoll.core.events import CallSettled
from tests.adapters.bench import Desk, call, simulated


def test_a_run_completes_and_its_journal_has_every_call() -> None:
    async def main() -> None:
        desk = Desk([call("look", "c1", order="W1")], [call("refund", "c2", order="W1", amount=20.0)], "Done.")
        async with desk.live() as hardened:
            result = await hardened.run("Refund W1", run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Done."), result
        assert result.native.output == "Done."
        assert desk.shop.refunds == [("W1", 20.0)]
        settled = await desk.events(CallSettled)
        assert [event.key for event in settled] == ["1:primary", "1/c1", "2:primary", "2/c2", "3:primary"]
        assert desk.kinds() == []

    simulated(main)
