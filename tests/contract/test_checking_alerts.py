"""What is said of `[alerts]` and `[service_levels]` in a contract."""

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


# ------------------------------------------------------------------------------------------------------ service levels


def told_of_levels(section: str) -> list[str]:
    source = Source("p", f'[agent]\nname = "a"\n[models.primary]\n[tools.find]\n{section}\n')
    problems = check_contract(parse_contract(source.text, file="p"), source=source)
    return [f"{each.severity}: {each.field}: {each.what}" for each in problems if each.field.startswith("service")]


def test_nothing_is_wrong_with_levels_of_what_is_there() -> None:
    section = """
    [service_levels]
    silent_s = 600
    waiting_s = 60
    runs = { objective = 0.95, within_s = 60, quantile = 0.9 }
    models.primary = { objective = 0.99 }
    tools.find = { within_s = 2 }
    """
    assert told_of_levels(section) == []


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("runs = {}", "error: service_levels.runs: promises nothing"),
        ("runs = { objective = 0.9, quantile = 0.5 }", "warning: service_levels.runs.quantile: says how many"),
        ("runs = { within_s = 301 }", "warning: service_levels.runs.within_s: is more than limits.seconds allows"),
        ("models.primry = { objective = 0.9 }", "error: service_levels.models.primry: there is no model of this name"),
        ("tools.found = { objective = 0.9 }", "error: service_levels.tools.found: there is no tool of this name"),
        ("silent_s = 5", "warning: service_levels.silent_s: is less than a run may take (300 s)"),
    ],
)
def test_what_is_doubtful_about_levels(line: str, says: str) -> None:
    (problem,) = told_of_levels(f"[service_levels]\n{line}")
    assert problem.startswith(says)
