"""Checks of `[alerts]`."""

from urllib.parse import urlsplit

from plimsoll.contract.model import AlertsSection
from plimsoll.contract.notes import Notes

__all__ = ["check_alerts"]

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
