"""What is said of `[alerts]` in a contract."""

import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, parse_contract
from plimsoll.core.errors import ContractError


def told(section: str) -> list[str]:
    source = Source("p", f'[agent]\nname = "a"\n[alerts]\n{section}\n')
    problems = check_contract(parse_contract(source.text, file="p"), source=source)
    return [f"{each.severity}: {each.field}: {each.what}" for each in problems if each.field.startswith("alerts")]


@pytest.mark.parametrize(
    "section",
    [
        "",
        'run_url = "https://ops.example/{run_id}"',
        'webhook = "env:HOOK"\nseverity = "critical"\nwindow_s = 60\nper_minute = 5\nwebhook_key_file = "a.key"',
        'webhook = "https://alerts.example/hook"',
        'webhook = "http://localhost:9000/hook"',
    ],
)
def test_nothing_is_wrong_with(section: str) -> None:
    assert told(section) == []


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ('webhook = "https://hooks.slack.com/services/T0/B0/x"', "error: alerts.webhook: whoever knows this address"),
        ('webhook = "https://eu.webhook.office.com/x"', "error: alerts.webhook: whoever knows this address"),
        ('webhook = "https://me:secret@alerts.example"', "error: alerts.webhook: whoever knows this address"),
        ('webhook = "http://alerts.example"', "warning: alerts.webhook: is not encrypted"),
        ('severity = "critical"', "warning: alerts.severity: is for a webhook, and there is none"),
        ("per_minute = 5", "warning: alerts.per_minute: is for a webhook, and there is none"),
        ("window_s = 5", "warning: alerts.window_s: is for a webhook, and there is none"),
        ('webhook_key_file = "k"', "warning: alerts.webhook_key_file: is for a webhook, and there is none"),
    ],
)
def test_what_is_doubtful(section: str, says: str) -> None:
    (line,) = told(section)
    assert line.startswith(says)


@pytest.mark.parametrize(
    ("section", "says"),
    [
        ('webhook = "hooks.example"', "an address \\(https://…\\), or env:NAME"),
        ('webhook = "env:MY HOOK"', "an address \\(https://…\\), or env:NAME"),
        ('run_url = "https://ops.example/runs"', "an address with {run_id} in it"),
        ('run_url = "https://ops.example/{run}/{run_id}"', "an address with {run_id} in it"),
        ('severity = "loud"', "one of critical, info, warning"),
    ],
)
def test_what_is_wrong_is_refused(section: str, says: str) -> None:
    with pytest.raises(ContractError, match=says):
        told(section)
