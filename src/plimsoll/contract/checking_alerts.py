"""Checks of `[alerts]` and of `[service_levels]`."""

import difflib
from collections.abc import Mapping
from urllib.parse import urlsplit

from plimsoll.contract.model import AlertsSection, Contract, ServiceLevel
from plimsoll.contract.notes import Notes
from plimsoll.contract.toml_places import Path

__all__ = ["check_alerts", "check_levels"]

_OF_WEBHOOKS = ("webhook_key_file", "severity", "window_s", "per_minute")
_SECRET_HOSTS = ("hooks.slack.com", "discord.com", "discordapp.com", "webhook.office.com", "logic.azure.com")
"""Whose webhooks anybody can post to who knows the address."""
_LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def check_alerts(alerts: AlertsSection, notes: Notes) -> None:
    """Notes what is doubtful about where findings are sent."""
    if alerts.webhook is None:
        for name in _OF_WEBHOOKS:
            if getattr(alerts, name) != getattr(AlertsSection(), name):
                notes.warning(("alerts", name), "is for a webhook, and there is none", "name a webhook, or remove it")
        return
    try:
        parts = urlsplit(alerts.webhook)
        host = parts.hostname or ""
    except ValueError:  # an address that is none is told when it is opened
        return
    if parts.password or any(host == secret or host.endswith(f".{secret}") for secret in _SECRET_HOSTS):
        what = "whoever knows this address can post there, and a contract is read by many and kept for ever"
        notes.error(("alerts", "webhook"), what, 'webhook = "env:ALERT_WEBHOOK", and the address into that variable')
    elif parts.scheme == "http" and host not in _LOCAL:
        what = "is not encrypted: alerts say which runs there are, and what is wrong with them"
        notes.warning(("alerts", "webhook"), what, "https://…")


def check_levels(contract: Contract, notes: Notes) -> None:
    """Notes what is doubtful about service levels: of what is not there, or of nothing, or looser than a timeout."""
    levels = contract.service_levels
    if levels.runs is not None:
        _check_level(("service_levels", "runs"), levels.runs, contract.limits.seconds, "limits.seconds", notes)
    _check_names("models", levels.models, contract.models, notes)
    _check_names("tools", levels.tools, contract.tools, notes)
    if levels.silent_s is not None and levels.silent_s < contract.limits.seconds:
        what = f"is less than a run may take ({contract.limits.seconds:g} s): one long call is told as a silent run"
        notes.warning(("service_levels", "silent_s"), what, "remove it, unless no call takes so long")


def _check_names(kind: str, levels: Mapping[str, ServiceLevel], known: Mapping[str, object], notes: Notes) -> None:
    for name, level in levels.items():
        here: Path = ("service_levels", kind, name)
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            fix = f"did you mean {near[0]}?" if near else f"add [{kind}.{name}], or remove it"
            notes.error(here, f"there is no {kind.removesuffix('s')} of this name", fix)
        _check_level(here, level, None, "", notes)


def _check_level(here: Path, level: ServiceLevel, most_s: float | None, bound: str, notes: Notes) -> None:
    if level.objective is None and level.within_s is None:
        notes.error(here, "promises nothing", "objective = 0.99, or within_s = 5, or both")
    if level.within_s is None and level.quantile != ServiceLevel().quantile:
        notes.warning((*here, "quantile"), "says how many take no longer than within_s, which is missing", "add it")
    if most_s is not None and level.within_s is not None and level.within_s > most_s:
        what = f"is more than {bound} allows ({most_s:g} s): every run keeps it"
        notes.warning((*here, "within_s"), what, f"less than {most_s:g}")
