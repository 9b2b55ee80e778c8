"""Alerts by HTTP, against a real server: signed, sent again, bounded, and never in anybody's way."""

import asyncio
import base64
import hmac
import json
import logging
import subprocess
import sys
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.core.clock import Clock, ManualClock, SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.core.events import Finding
from plimsoll.core.ids import SequentialIds
from plimsoll.core.rng import seeded_rng
from plimsoll.observability.webhook import WebhookSink, signature, webhook_key
from tests.observability.receivers import Receiver, receiver

KEY = bytes(range(32))
SAYS = "gpt took <9 s> & more"
SLOW = Finding(kind="slow", severity="warning", message=SAYS, dependency="gpt", fault="slow", evidence=("1:gpt",))


def sink_for(told: Receiver | str, *, clock: Clock | None = None, **options: Any) -> WebhookSink:
    url = told if isinstance(told, str) else told.url
    return WebhookSink(url, clock=clock or ManualClock(), rng=seeded_rng(7), ids=SequentialIds(), **options)


def emit(sink: WebhookSink, *findings: Finding, run_id: str = "run 1/a") -> None:
    for finding in findings:
        sink.emit(finding, run_id=run_id, agent="shop", at=1_767_225_600.25)


def deliver(sink: WebhookSink, *findings: Finding) -> None:
    async def session() -> None:
        emit(sink, *findings)
        await sink.settle()

    asyncio.run(session())


def test_what_arrives_is_a_message_for_people_and_for_programs() -> None:
    with receiver() as told:
        deliver(sink_for(told, run_url="https://ops.example/runs/{run_id}?tab=findings"), SLOW)

    ((headers, body),) = told.requests
    assert headers["content-type"] == "application/json"
    assert headers["webhook-id"] == "alert-1"
    assert "webhook-signature" not in headers
    assert json.loads(body) == {
        "text": "[warning] shop: slow: gpt took &lt;9 s&gt; &amp; more (run 1/a)\n"
        "https://ops.example/runs/run%201%2Fa?tab=findings",
        "type": "plimsoll.finding",
        "timestamp": "2026-01-01T00:00:00.250000+00:00",
        "data": {
            "kind": "slow",
            "severity": "warning",
            "message": "gpt took <9 s> & more",
            "agent": "shop",
            "run_id": "run 1/a",
            "run_url": "https://ops.example/runs/run%201%2Fa?tab=findings",
            "dependency": "gpt",
            "fault": "slow",
            "evidence": ["1:gpt"],
            "observed": False,
        },
    }


def test_a_signature_is_what_the_standard_says() -> None:
    clock = ManualClock()
    with receiver() as told:
        deliver(sink_for(told, key=KEY, clock=clock), SLOW)

    ((headers, body),) = told.requests
    assert headers["webhook-timestamp"] == str(int(clock.now()))
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    expected = base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"


def test_the_standards_own_example() -> None:
    key = webhook_key("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", source="the example")
    signed = signature(
        key, message_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp=1614265330, body=b'{"test": 2432232314}'
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_passes_is_sent_again_as_the_same_message(status: int) -> None:
    with receiver(status, status) as told:
        sink = sink_for(told, key=KEY)
        deliver(sink, SLOW)

    assert len(told.requests) == 3
    assert len({body for _, body in told.requests}) == 1
    assert len({headers["webhook-id"] for headers, _ in told.requests}) == 1
    assert not sink.lost


@pytest.mark.parametrize("status", [301, 400, 403, 404, 410])
def test_what_does_not_pass_is_counted_and_logged(status: int, caplog: pytest.LogCaptureFixture) -> None:
    with receiver(status) as told:
        sink = sink_for(told)
        deliver(sink, SLOW, replace(SLOW, kind="loop"))

    assert len(told.requests) == 2  # the next one is tried all the same
    assert sink.lost == {f"answered {status}": 1}
    assert caplog.messages == [f"an alert could not be delivered (answered {status}): slow run=run 1/a"]


def test_it_waits_for_as_long_as_it_is_asked_to_and_longer_each_time() -> None:
    clock = ManualClock()
    with receiver((429, {"retry-after": "120"}), (503, {"retry-after": "soon"})) as told:
        deliver(sink_for(told, clock=clock), SLOW)
    assert 120.0 <= clock.monotonic() < 122.0

    clock = ManualClock()
    with receiver((503, {"retry-after": "Thu, 01 Jan 2026 00:01:00 GMT"})) as told:
        deliver(sink_for(told, clock=clock), SLOW)
    assert 60.0 <= clock.monotonic() < 61.0

    clock = ManualClock()
    with receiver(*[500] * 20) as told:
        sink = sink_for(told, clock=clock, max_attempts=6, base_s=1.0, cap_s=4.0)
        deliver(sink, SLOW)
    assert len(told.requests) == 6
    assert 0.0 < clock.monotonic() <= 1.0 + 2.0 + 4.0 + 4.0 + 4.0
    assert sink.lost == {"answered 500": 1}


def test_a_dead_endpoint_fails_nobody() -> None:
    with receiver() as told:
        url = told.url
    sink = sink_for(url, max_attempts=2)
    deliver(sink, SLOW)
    assert sink.lost == {"ConnectError": 1}


def test_one_that_never_answers_holds_nobody_up(caplog: pytest.LogCaptureFixture) -> None:
    with receiver(silent=True) as told:
        sink = sink_for(told, clock=SystemClock(), patience_s=0.05)

        async def session() -> None:
            emit(sink, *[SLOW] * 20)
            await asyncio.to_thread(told.arrived.wait, 30.0)  # the loop goes on while the request is under way
            await sink.settle()
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(session())
    assert sink.lost == {"the process ended": 20}
    assert len(caplog.messages) == 20


def test_the_queue_is_bounded_and_what_is_critical_stays() -> None:
    async def session() -> None:
        emit(sink, *(replace(SLOW, kind=f"slow-{number}") for number in range(4)))
        emit(sink, *(replace(SLOW, kind=f"loop-{number}", severity="critical") for number in range(2)))
        await sink.settle()

    with receiver() as told:
        sink = sink_for(told, max_queue=3)
        asyncio.run(session())

    assert [json.loads(body)["data"]["kind"] for _, body in told.requests] == ["loop-0", "loop-1", "slow-3"]
    assert sink.lost == {"the queue is full": 3}


def test_it_works_in_one_loop_after_another_and_keeps_what_came_outside_of_any() -> None:
    with receiver() as told:
        sink = sink_for(told)
        emit(sink, SLOW)  # no loop: it waits for the next
        deliver(sink, replace(SLOW, kind="loop"))
        deliver(sink, replace(SLOW, kind="limit"))
    assert [json.loads(body)["data"]["kind"] for _, body in told.requests] == ["slow", "loop", "limit"]


def test_the_address_stays_out_of_every_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with receiver(400) as told:
        deliver(sink_for(told), SLOW, SLOW)
    assert "could not be delivered" in caplog.text
    assert "s3cret" not in caplog.text
    assert not logging.getLogger("httpx2").filters


def test_a_text_that_no_encoding_can_carry_still_arrives() -> None:
    with receiver() as told:
        deliver(sink_for(told), replace(SLOW, message="half a pair: \ud800"))
    assert "half a pair: ?" in json.loads(told.requests[0][1])["text"]


@pytest.mark.parametrize(
    "text", ["", "secret", "whsec_", "whsec_c2hvcnQ=", "whsec_not base64!", base64.b64encode(KEY).decode()]
)
def test_a_key_that_is_none_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(Misuse, match=r"hook\.key holds no webhook key") as caught:
        webhook_key(text, source="hook.key")
    assert len(text) < 7 or text not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["", "hooks.example/s3cret", "ftp://hooks.example/s3cret", "https://", "http://s3cret:port"]
)
def test_an_address_that_is_none_is_refused_and_not_shown(url: str) -> None:
    with pytest.raises(Misuse, match="address is none") as caught:
        sink_for(url)
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize("options", [{"max_queue": 0}, {"max_attempts": 0}, {"timeout_s": 0.0}, {"patience_s": 0.0}])
def test_what_it_cannot_do_is_refused(options: dict[str, Any]) -> None:
    with pytest.raises(Misuse, match="at least 1"):
        sink_for("https://hooks.example", **options)


def test_the_extra_is_named_where_it_is_missing() -> None:
    code = "import sys; sys.modules['httpx2'] = None; import plimsoll.observability.webhook"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert "pip install 'plimsoll-ai[alerts]'" in done.stderr


@pytest.mark.parametrize(
    "asked", ["Mon, 99999999999999999999 Jan 2026 00:00:00 GMT", "nan", "-5", "\N{SUPERSCRIPT TWO}"]
)
def test_a_retry_after_that_is_none_holds_up_nothing(asked: str) -> None:
    """A date that no calendar has ended the delivery without a word: of this alert, and of all behind it."""
    clock = ManualClock()
    with receiver((503, {"retry-after": asked})) as told:
        deliver(sink_for(told, clock=clock), SLOW, replace(SLOW, kind="loop"))
    assert len(told.requests) == 3
    assert clock.monotonic() <= 1.0


def test_where_nothing_can_be_sent_at_all_each_is_counted_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A proxy of the environment that is none ended the delivery without a word, again with each alert."""
    monkeypatch.setenv("http_proxy", "nonsense://proxy")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    sink = sink_for("http://hooks.example/s3cret")
    deliver(sink, SLOW, replace(SLOW, kind="loop"))
    ((why, count),) = sink.lost.items()
    assert (count, why.endswith("Error")) == (2, True)
    assert len(caplog.messages) == 2 and "s3cret" not in caplog.text
