"""A listener that fails breaks no run, and without one nothing is listened to."""

import logging
from dataclasses import replace
from typing import Any, NoReturn

import pytest
from opentelemetry.sdk.trace import SpanProcessor

from plimsoll.core.calls import Ending
from plimsoll.core.events import CallSettled
from plimsoll.runtime.surroundings import Surroundings
from plimsoll.runtime.telling import telling
from tests.observability.telemetry.heard import Heard, ToldDesk
from tests.runtime.bench import Desk, simulated


def fails(*args: Any, **options: Any) -> NoReturn:
    raise RuntimeError("broken")


class Broken:
    """Fails at whatever it is asked."""

    reads: frozenset[Any] = frozenset({CallSettled})

    @property
    def trace(self) -> NoReturn:
        raise RuntimeError("broken")

    def __getattr__(self, name: str) -> Any:
        return fails


class BrokenListener:
    """Fails at a segment (`begins` false), or in it."""

    def __init__(self, *, begins: bool) -> None:
        self._begins = begins

    @property
    def sink(self) -> Any:
        return Broken()

    served_at = ""

    def listener(self, contract: Any) -> Any:
        return self

    def segment(self, began: Any) -> Any:
        if not self._begins:
            raise RuntimeError("broken")
        return Broken()

    def committed(self, records: Any) -> None: ...

    def asked(self, requests: Any) -> NoReturn:
        raise RuntimeError("broken")


class BrokenDesk(Desk):
    begins = True

    def surroundings(self, store: Any = None) -> Surroundings:
        return replace(super().surroundings(store), telemetry=BrokenListener(begins=self.begins))


@pytest.mark.parametrize("begins", [False, True])
def test_a_listener_that_fails_breaks_no_run(begins: bool, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        desk = BrokenDesk()
        desk.begins = begins
        live = desk.live()
        result = await live.run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Sure: 20 back")
        result = await live.run({"order": "W1", "amount": 80.0}, run_id="s")
        await live.operations.decide(result.waiting_for[0].request_id, approve=True, by="ana")
        assert [each.ending for each in await desk.live().wake()] == [Ending.COMPLETE]

    with caplog.at_level(logging.WARNING, "plimsoll.telemetry"):
        simulated(main)
    assert {record.getMessage() for record in caplog.records} == {
        "telemetry failed: RuntimeError",
        "Broken raised RuntimeError: alerts are lost",
    }


class BrokenProcessor(SpanProcessor):
    """A user's own span processor, and it fails."""

    def on_start(self, span: Any, parent_context: Any = None) -> NoReturn:
        raise ValueError("broken")

    def on_end(self, span: Any) -> NoReturn:
        raise ValueError("broken")


def test_a_span_processor_that_fails_breaks_no_run(heard: Heard) -> None:
    heard.tracers.add_span_processor(BrokenProcessor())

    async def main() -> None:
        result = await ToldDesk(heard).live().run({"order": "W1"}, run_id="r")
        assert (result.ending, result.output) == (Ending.COMPLETE, "Sure: 20 back")

    simulated(main)


def test_where_nobody_listens_nothing_is_told() -> None:
    async def main() -> None:
        desk = Desk()
        live = desk.live()
        await live.run({"order": "W1"}, run_id="r")
        assert live.env.listener is None
        (started, *_) = [record.event for record in await desk.store.read("r")]
        assert telling(live.env, "r", started, came_from="") is None
        assert b"trace" not in (await desk.store.read("r"))[0].json and started.trace == ""  # type: ignore[union-attr]

    simulated(main)
