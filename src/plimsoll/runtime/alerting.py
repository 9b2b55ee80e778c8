"""The alert sinks that a contract's `[alerts]` names."""

import base64
import importlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from plimsoll.contract.model import AlertsSection
from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse
from plimsoll.core.ids import Ids
from plimsoll.core.rng import Rng, secret_bytes
from plimsoll.journal.keys import key_text
from plimsoll.observability.findings import AlertSink, LogSink
from plimsoll.observability.throttle import Throttle

__all__ = ["WEBHOOK_ENV", "new_webhook_key", "sinks_of"]

WEBHOOK_ENV = "PLIMSOLL_WEBHOOK_KEY"
_ENV = "env:"
_KEY_BYTES = 32


def new_webhook_key() -> str:
    """A key that signs alerts, as Standard Webhooks writes it: `whsec_`, and 256 random bits in base64."""
    return "whsec_" + base64.b64encode(secret_bytes(_KEY_BYTES)).decode()


def sinks_of(
    section: AlertsSection, *, directory: Path, environ: Mapping[str, str], clock: Clock, rng: Rng, ids: Ids
) -> tuple[AlertSink, ...]:
    """The log, which gets every finding, and the webhook, behind a throttle, where the section names one.

    Raises `Misuse` for an address or a key that is missing or is none, and `MissingExtra` where the extra `alerts` is
    not installed.
    """
    log = LogSink(run_url=section.run_url)
    if section.webhook is None:
        return (log,)
    webhook: Any = importlib.import_module("plimsoll.observability.webhook")
    found = key_text(
        section.webhook_key_file, WEBHOOK_ENV, what="webhook_key_file", directory=directory, environ=environ
    )
    sink = webhook.WebhookSink(
        _address(section.webhook, environ),
        key=None if found is None else webhook.webhook_key(found[0], source=found[1]),
        clock=clock,
        rng=rng,
        ids=ids,
        run_url=section.run_url,
    )
    quiet = Throttle(
        sink, clock=clock, window_s=section.window_s, per_minute=section.per_minute, severity=section.severity
    )
    return (log, quiet)


def _address(webhook: str, environ: Mapping[str, str]) -> str:
    if not webhook.startswith(_ENV):
        return webhook
    name = webhook.removeprefix(_ENV)
    address = environ.get(name, "")
    if not address:
        raise Misuse(f"[alerts] webhook is {webhook!r}, and the environment has no {name}")
    return address
