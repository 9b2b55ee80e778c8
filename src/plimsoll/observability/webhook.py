"""Alerts by HTTP: a JSON body that Slack and its like show as it is, signed as Standard Webhooks has it.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

import asyncio
import base64
import binascii
import hashlib
import hmac
import json
import logging
import math
from collections import Counter, deque
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from plimsoll.core.clock import Clock
from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.core.events import Finding
from plimsoll.core.ids import Ids
from plimsoll.core.rng import Rng
from plimsoll.observability.background import kept_going
from plimsoll.observability.findings import SEVERITIES, link_to

try:
    import httpx2
except ImportError as error:
    raise MissingExtra("httpx2", extra="alerts") from error

__all__ = ["WebhookSink", "signature", "webhook_key"]

_KEY_PREFIX = "whsec_"
_KEY_BYTES = range(24, 65)
_LONGEST_WAIT_S = 300.0
_TEXT_CHARS = 1000
_AGAIN = frozenset({408, 425, 429})
_ESCAPED = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})


def webhook_key(text: str, *, source: str) -> bytes:
    """The key in `text`: `whsec_` and 24 to 64 bytes in base64. Raises `Misuse`, which names `source` and no key."""
    word = text.strip()
    try:
        key = base64.b64decode(word.removeprefix(_KEY_PREFIX), validate=True)
    except (binascii.Error, ValueError):
        key = b""
    if not word.startswith(_KEY_PREFIX) or len(key) not in _KEY_BYTES:
        what = f"{source} holds no webhook key: one is {_KEY_PREFIX} and 24 to 64 bytes in base64"
        raise Misuse(f"{what}; `plimsoll keys make FILE --webhook` makes one")
    return key


def signature(key: bytes, *, message_id: str, timestamp: int, body: bytes) -> str:
    """What stands in `webhook-signature`: HMAC-SHA256 over the message's id, its date (Unix seconds) and its body."""
    signed = b".".join((message_id.encode(), str(timestamp).encode(), body))
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


@dataclass(frozen=True, slots=True)
class _Message:
    """An alert on its way, by an id that stays the same however often it is sent."""

    id: str
    body: bytes
    kind: str
    run_id: str


class WebhookSink:
    """Posts each finding to `url`, beside the work: `emit` only queues it.

    The body is JSON: `text` for people, in Slack's form, and `type`, `timestamp` and `data` for programs. It holds
    names and numbers, never what an agent was asked, told or answered. With `key` it is signed (see `signature`).

    What the other side does not take (a connection that fails, no answer within `timeout_s`, 408, 425, 429 or 5xx) is
    sent again, `max_attempts` times in all, after an exponential backoff with full jitter from `base_s` up to `cap_s`,
    or as much as its Retry-After asks for. Other answers are final. At most `max_queue` wait; one more, and the oldest
    goes that is not critical. Whatever could not be delivered is counted in `lost`, by reason, and logged.
    """

    def __init__(
        self,
        url: str,
        *,
        key: bytes | None = None,
        clock: Clock,
        rng: Rng,
        ids: Ids,
        run_url: str | None = None,
        max_queue: int = 1000,
        max_attempts: int = 8,
        timeout_s: float = 10.0,
        base_s: float = 1.0,
        cap_s: float = 60.0,
        patience_s: float = 2.0,
    ) -> None:
        if max_queue < 1 or max_attempts < 1 or min(timeout_s, base_s, cap_s, patience_s) <= 0:
            raise Misuse("max_queue and max_attempts must be at least 1, all seconds above 0")
        self.lost: Counter[str] = Counter()
        self._url = _address(url)
        self._key = key
        self._clock = clock
        self._rng = rng
        self._ids = ids
        self._run_url = run_url
        self._max_queue = max_queue
        self._max_attempts = max_attempts
        self._timeout_s = timeout_s
        self._base_s = base_s
        self._cap_s = cap_s
        self._patience_s = patience_s
        self._critical: deque[_Message] = deque()
        self._others: deque[_Message] = deque()
        self._sending: _Message | None = None
        self._task: asyncio.Task[None] | None = None
        self._logger = logging.getLogger("plimsoll.alerts")

    def emit(self, finding: Finding, *, run_id: str, agent: str, at: float) -> None:
        if len(self._critical) + len(self._others) >= self._max_queue:
            self._lose((self._others or self._critical).popleft(), "the queue is full")
        urgent = SEVERITIES.get(finding.severity, 1) >= SEVERITIES["critical"]
        body = json.dumps(self._body(finding, run_id, agent, at), ensure_ascii=False).encode(errors="replace")
        message = _Message(self._ids.new("alert"), body, finding.kind, run_id)
        (self._critical if urgent else self._others).append(message)
        self._begin()

    async def settle(self) -> None:
        """Waits until everything is delivered, `patience_s` at most. What is left then is lost, and told so."""
        self._begin()
        task = self._task
        if task is not None and not task.done():
            _, late = await asyncio.wait([task], timeout=self._patience_s)
            if late:
                task.cancel()
                await asyncio.wait([task])
        left = [self._sending] if self._sending is not None else []
        left += [*self._critical, *self._others]
        self._sending = None
        self._critical.clear()
        self._others.clear()
        for message in left:
            self._lose(message, "the process ended")

    def _body(self, finding: Finding, run_id: str, agent: str, at: float) -> dict[str, Any]:
        link = link_to(run_id, self._run_url)
        observed = " (observed)" if finding.observed else ""
        text = f"[{finding.severity}] {agent}: {finding.kind}{observed}: {finding.message} ({run_id})"
        shown = text[:_TEXT_CHARS].translate(_ESCAPED)
        return {
            "text": f"{shown}\n{link}" if link else shown,
            "type": "plimsoll.finding",
            "timestamp": datetime.fromtimestamp(at, UTC).isoformat(),
            "data": {
                "kind": finding.kind,
                "severity": finding.severity,
                "message": finding.message[:_TEXT_CHARS],
                "agent": agent,
                "run_id": run_id,
                "run_url": link or None,
                "dependency": finding.dependency,
                "fault": finding.fault,
                "evidence": list(finding.evidence),
                "observed": finding.observed,
            },
        }

    def _begin(self) -> None:
        """Sees to it that what is queued is sent: by a task, where there is a loop; else with the next alert."""
        if self._critical or self._others:
            self._task = kept_going(self._task, self._deliver)

    async def _deliver(self) -> None:
        unlogged = _Unlogged(self._url)
        library = logging.getLogger("httpx2")
        library.addFilter(unlogged)
        try:
            async with httpx2.AsyncClient(timeout=self._timeout_s) as client:
                while self._critical or self._others:
                    self._sending = (self._critical or self._others).popleft()
                    why = await self._send(client, self._sending)
                    if why:
                        self._lose(self._sending, why)
                    self._sending = None
        except Exception as error:  # nothing can be sent at all: the environment may name a proxy that is none
            while self._critical or self._others:
                self._lose((self._critical or self._others).popleft(), type(error).__name__)
        finally:
            library.removeFilter(unlogged)

    async def _send(self, client: "httpx2.AsyncClient", message: _Message) -> str:
        """Sends one alert, again and again if need be. Empty, or why it could not be delivered."""
        why = ""
        for attempt in range(1, self._max_attempts + 1):
            asked_s = 0.0
            try:
                async with asyncio.timeout(self._timeout_s):
                    response = await client.post(self._url, content=message.body, headers=self._headers(message))
            except Exception as error:  # whatever it is, the alerts behind this one are to be sent
                why = type(error).__name__
            else:
                if response.is_success:
                    return ""
                why = f"answered {response.status_code}"
                if response.status_code not in _AGAIN and response.status_code < 500:
                    return why
                asked_s = _retry_after_s(response.headers.get("retry-after", ""), now=self._clock.now())
            if attempt < self._max_attempts:
                backoff_s = self._rng.uniform(0.0, min(self._cap_s, self._base_s * 2.0 ** (attempt - 1)))
                await self._clock.sleep(max(backoff_s, asked_s))
        return why

    def _headers(self, message: _Message) -> dict[str, str]:
        timestamp = int(self._clock.now())
        headers = {
            "content-type": "application/json",
            "webhook-id": message.id,
            "webhook-timestamp": str(timestamp),
        }
        if self._key is not None:
            headers["webhook-signature"] = signature(
                self._key, message_id=message.id, timestamp=timestamp, body=message.body
            )
        return headers

    def _lose(self, message: _Message, why: str) -> None:
        self.lost[why] += 1
        self._logger.warning("an alert could not be delivered (%s): %s run=%s", why, message.kind, message.run_id)


class _Unlogged(logging.Filter):
    """Keeps an address out of the library's own log, since that of a Slack webhook is a secret."""

    def __init__(self, url: "httpx2.URL") -> None:
        super().__init__()
        self._url = url

    def filter(self, record: logging.LogRecord) -> bool:
        return not (isinstance(record.args, tuple) and self._url in record.args)


def _address(url: str) -> "httpx2.URL":
    """Raises `Misuse`, which does not show the address: it may hold a secret."""
    try:
        address = httpx2.URL(url.strip())
    except (httpx2.InvalidURL, TypeError) as error:
        raise Misuse(f"the webhook's address is none: {type(error).__name__}") from None
    if address.scheme not in ("http", "https") or not address.host:
        raise Misuse("the webhook's address is none: it begins with https:// and names a host")
    return address


def _retry_after_s(value: str, *, now: float) -> float:
    """The seconds that a Retry-After header asks for, as a number or as a date; 0 where it says nothing."""
    try:
        wait_s = float(value)
    except ValueError:
        try:
            wait_s = parsedate_to_datetime(value).timestamp() - now
        except (ValueError, TypeError, OverflowError):
            return 0.0
    return 0.0 if math.isnan(wait_s) else min(max(wait_s, 0.0), _LONGEST_WAIT_S)
