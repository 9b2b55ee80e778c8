"""What `plimsoll check` says of hedges, circuit breakers, rate limits and bulkheads."""

import dataclasses

import msgspec
import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, parse_contract
from plimsoll.contract.model import BulkheadSection, CircuitBreakerSection, HedgeSection, RateLimitSection
from plimsoll.policies.bulkhead import Bulkhead
from plimsoll.policies.circuit_breaker import CircuitBreaker
from plimsoll.policies.hedge import Hedge
from plimsoll.policies.rate_limit import RateLimit

HEAD = '[agent]\nname = "a"\n[models.primary]\nfallback = ["canned"]\n'
CANNED = '[models.canned]\ncanned = "Sorry."\n'


def said(text: str) -> list[str]:
    problems = check_contract(parse_contract(text, file="p.toml"), source=Source("p.toml", text))
    return [str(problem) for problem in problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (f"{HEAD}circuit_breaker = {{ min_calls = 30 }}\n{CANNED}", "min_calls: is 30, and the window holds 20"),
        (f"{HEAD}circuit_breaker = {{ window_s = 5 }}\n{CANNED}", "window_s: is 5 s, less than one attempt may take"),
        (f"{HEAD}rate_limit = {{ burst_s = 1 }}\n{CANNED}", "rate_limit: limits nothing"),
        (f"{HEAD}{CANNED}hedge = {{}}\n", "canned.hedge: a canned answer asks no model"),
        (f"{HEAD}{CANNED}bulkhead = {{ max_concurrent = 1 }}\n", "canned.bulkhead: a canned answer asks no model"),
        (f"{HEAD}{CANNED}[tools.pay]\nhedge = {{}}\n", "pay.hedge: may be made twice"),
        (
            f'{HEAD}{CANNED}[tools.pay]\neffect = "idempotent"\nhedge = {{}}\n',
            "pay.hedge: may be made twice",
        ),
        (
            f"{HEAD}{CANNED}[tools.pay]\nrate_limit = {{ tokens_per_minute = 5 }}\n",
            "pay.rate_limit.tokens_per_minute: counts the tokens of a prompt",
        ),
    ],
)
def test_what_cannot_be_meant_is_told(text: str, expected: str) -> None:
    assert [line for line in said(text) if expected in line]


def test_sound_policies_are_not_mentioned() -> None:
    policies = (
        "hedge = {}\ncircuit_breaker = {}\nrate_limit = { calls_per_minute = 60 }\nbulkhead = { max_concurrent = 4 }\n"
    )
    text = f'{HEAD}{policies}{CANNED}[tools.look]\neffect = "read"\n{policies}'
    words = (".hedge", ".circuit_breaker", ".rate_limit", ".bulkhead")
    assert not [line for line in said(text) if any(word in line for word in words)]


@pytest.mark.parametrize(
    ("section", "policy"),
    [
        (HedgeSection(), Hedge()),
        (BulkheadSection(max_concurrent=3), Bulkhead(max_concurrent=3)),
        (RateLimitSection(calls_per_minute=5), RateLimit(calls_per_minute=5)),
    ],
)
def test_a_section_has_the_defaults_of_its_policy(section: msgspec.Struct, policy: object) -> None:
    assert type(policy).from_contract(section) == policy  # type: ignore[attr-defined]


def test_a_circuit_breaker_takes_slow_from_its_dependency() -> None:
    made = CircuitBreaker.from_contract(CircuitBreakerSection(), slow_s=4.0)
    assert made == dataclasses.replace(CircuitBreaker(), slow_s=4.0)
