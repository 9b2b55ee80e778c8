"""Surroundings on this machine: a SQLite journal, real clocks, alerts to the log and to the contract's webhook."""

import importlib
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import MissingExtra
from plimsoll.core.ids import RandomIds
from plimsoll.core.rng import system_rng
from plimsoll.journal.checkpointing import Checkpointer
from plimsoll.journal.keys import key_ring, signer
from plimsoll.journal.sqlite import SQLiteStore
from plimsoll.observability.findings import AlertSink
from plimsoll.observability.listening import Telemetry
from plimsoll.runtime.alerting import sinks_of
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["local", "telemetry_of"]

_OTLP = "OTEL_EXPORTER_OTLP_"
_ASKS = frozenset(
    {
        *(f"OTEL_{signal}_EXPORTER" for signal in ("TRACES", "METRICS", "LOGS")),
        *(f"{_OTLP}{signal}ENDPOINT" for signal in ("", "TRACES_", "METRICS_", "LOGS_")),
    }
)
"""The variables of the environment by which somebody asks for telemetry."""


def local(
    contract: Contract,
    *,
    directory: str | Path = ".",
    path: str | Path | None = None,
    owner: str | None = None,
    sinks: Sequence[AlertSink] | None = None,
    telemetry: Telemetry | None = None,
) -> Surroundings:
    """Opens the journal that the contract names, relative to `directory` (where the contract's file lies), or `path`.

    `owner` names this process in the journal; None makes a fresh name. Keys are those that the contract's [journal]
    names, or the environment has. `sinks` are where findings go; None: to the log, and where the contract's [alerts]
    says. `telemetry` is who is told what runs do; None is whoever the environment's OTEL_… variables, or an application
    that has set OpenTelemetry up, ask for, and nobody without the extra. The store is the caller's to close. Raises
    `JournalUnavailable` or `JournalCorrupt` when the file cannot be used, and then leaves it as it is; `Misuse` for a
    key or an address that is missing or is none; and `MissingExtra` where something that the contract asks for is not
    installed.
    """
    ids, clock, section, folder = RandomIds(), SystemClock(), contract.journal, Path(directory)
    keys = key_ring(section, directory=folder, environ=os.environ)
    signed_by = signer(section, directory=folder, environ=os.environ)
    rng = system_rng()
    if sinks is None:
        sinks = sinks_of(contract.alerts, directory=folder, environ=os.environ, clock=clock, rng=rng, ids=ids)
    name = owner or ids.new("owner")
    store = SQLiteStore.open(Path(path) if path is not None else folder / section.path, owner=name, keys=keys)
    checkpointer = None
    if signed_by is not None:
        events, seconds = section.checkpoint_events, section.checkpoint_s
        checkpointer = Checkpointer(store, signed_by, clock=clock, every_events=events, every_s=seconds)
    return Surroundings(
        store=store,
        owner=name,
        clock=clock,
        rng=rng,
        ids=ids,
        sinks=sinks,
        telemetry=telemetry or telemetry_of(contract, environ=os.environ),
        checkpointer=checkpointer,
    )


def telemetry_of(
    contract: Contract, *, environ: Mapping[str, str], metrics_at: tuple[str, int] | None = None
) -> Telemetry | None:
    """Telemetry as the environment, or the application, asks for it; None where nobody does.

    Without the extra there is none, since the variables may be meant for other programs, unless it was asked for by
    `metrics_at`, the host and port to serve metrics at: then it raises `MissingExtra`. Raises `Misuse` for what cannot
    be set up.
    """
    if metrics_at is None and _ASKS.isdisjoint(environ) and "opentelemetry.sdk.trace" not in sys.modules:
        return None
    try:
        leaf: Any = importlib.import_module("plimsoll.observability.telemetry")
    except MissingExtra:
        if metrics_at is not None:
            raise
        return None
    made: Telemetry | None = leaf.from_environment(environ, service=contract.agent.name, metrics_at=metrics_at)
    return made
