"""Protections, each usable alone. A policy is a frozen description; its state is separate.

`ResiliencePipeline` puts any of them around any async function:

>>> ask = ResiliencePipeline("search", circuit_breaker=CircuitBreaker())
>>> answer = await ask.call(search, "laminated maps")
"""

from plimsoll.core.calls import Fault
from plimsoll.policies.bulkhead import Bulkhead
from plimsoll.policies.circuit_breaker import CircuitBreaker, CircuitChanged, CircuitState
from plimsoll.policies.hedge import Hedge
from plimsoll.policies.output_check import OutputProblem, check_text, check_value
from plimsoll.policies.rate_limit import RateLimit
from plimsoll.policies.resilience import ResiliencePipeline
from plimsoll.policies.retry import RetryBudget, RetryPolicy

__all__ = [
    "Bulkhead",
    "CircuitBreaker",
    "CircuitChanged",
    "CircuitState",
    "Fault",
    "Hedge",
    "OutputProblem",
    "RateLimit",
    "ResiliencePipeline",
    "RetryBudget",
    "RetryPolicy",
    "check_text",
    "check_value",
]
