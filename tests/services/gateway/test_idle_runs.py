"""What becomes of a run that its client named and does not come back to."""

import asyncio
from pathlib import Path
from typing import Any

import openai
import pytest

from plimsoll.core.calls import Ending
from plimsoll.core.clock import SystemClock
from plimsoll.journal.store import RunState
from plimsoll.runtime.operations import Operations
from plimsoll.services.gateway import app
from tests.services.gateway.serving import SPOKEN, Gateway, Upstream, fails, gateway, streamed
from tests.services.gateway.test_runs import head, say

DAY_S = 86_400.0


class Later(SystemClock):
    """The machine's clock, some days on."""

    __slots__ = ("_days",)

    def __init__(self, days: float) -> None:
        self._days = days

    def now(self) -> float:
        return SystemClock.now() + self._days * DAY_S


def test_a_run_ends_when_its_client_stays_away(tmp_path: Path, upstream: Upstream, upstream_url: str) -> None:
    with gateway(tmp_path, upstream_url) as running:
        client = running.client()
        say(client, run="answered")
        upstream.does["first"] = fails(500)
        say(client, run="degraded")
        upstream.does["second"] = lambda body: streamed([*SPOKEN, *[SPOKEN[1]] * 20_000])
        messages: Any = [{"role": "user", "content": "hello"}]
        left = {"x-plimsoll-run": "left"}
        with client.chat.completions.create(
            model="second", messages=messages, stream=True, extra_headers=left
        ) as stream:
            next(iter(stream))
        for headers in ({"run": "unanswered"}, {"key": "unanswered"}):
            with pytest.raises(openai.InternalServerError):
                say(client, model="lone", **headers)
        upstream.does.clear()
        names = ["answered", "degraded", "left", "unanswered", *_keyed(running)]
        assert len(names) == 5
    with gateway(tmp_path, upstream_url, clock=Later(6)) as running:
        assert {head(running, f"team-a/{name}").state for name in names} == {RunState.PARKED}
    with gateway(tmp_path, upstream_url, clock=Later(8)) as running:
        ended = [head(running, f"team-a/{name}").ending for name in names]
        assert ended == [Ending.COMPLETE, Ending.DEGRADED, *[Ending.FAILED] * 3]
        with pytest.raises(openai.ConflictError) as over:
            say(running.client(), run="answered")
        assert isinstance(over.value.body, dict)
        assert over.value.body["code"] == "run_over"
    assert len(upstream.asked) == 6


def _keyed(running: Gateway) -> list[str]:
    heads = asyncio.run(running.store.heads(state=RunState.PARKED))
    return [found.run_id.partition("/")[2] for found in heads if "/key-" in found.run_id]


def test_a_client_that_comes_back_is_waited_for_anew(tmp_path: Path, upstream: Upstream, upstream_url: str) -> None:
    for days in (0, 5, 10):
        with gateway(tmp_path, upstream_url, clock=Later(days)) as running:
            say(running.client(), f"after {days} days", run="slow")
    with gateway(tmp_path, upstream_url, clock=Later(16)) as running:
        assert head(running, "team-a/slow").state is RunState.PARKED
    with gateway(tmp_path, upstream_url, clock=Later(18)) as running:
        assert head(running, "team-a/slow").ending is Ending.COMPLETE


def test_a_run_that_is_cancelled_ends_while_the_gateway_runs(
    tmp_path: Path, upstream: Upstream, upstream_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "LOOK_S", 0.01)
    with gateway(tmp_path, upstream_url) as running:
        say(running.client(), run="unwanted")
        asyncio.run(Operations(running.store).cancel("team-a/unwanted", by="ops"))
        while head(running, "team-a/unwanted").state is not RunState.ENDED:
            pass  # until the gateway has looked
        assert head(running, "team-a/unwanted").ending is Ending.HALTED
