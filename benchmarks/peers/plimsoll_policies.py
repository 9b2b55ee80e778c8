"""Plimsoll's policies around a function: all of them, each alone, and none."""

from typing import Any

from cost import Asked, Protect, main

from plimsoll.policies import (
    Bulkhead,
    CircuitBreaker,
    Fault,
    Hedge,
    OutputProblem,
    RateLimit,
    ResiliencePipeline,
    RetryPolicy,
    check_text,
)


def check(answer: str) -> OutputProblem | None:
    return check_text(answer, finish_reason="stop", has_tool_calls=False)


ALL: dict[str, Any] = {
    "retry": RetryPolicy(on=(Fault.CONNECTION, Fault.TIMEOUT, Fault.SERVER_ERROR)),
    "hedge": Hedge(),
    "circuit_breaker": CircuitBreaker(),
    "bulkhead": Bulkhead(max_concurrent=100),
    "timeout_s": 30.0,
    "check": check,
}


def protecting(**policies: Any) -> Protect:
    def protect(function: Asked) -> Asked:
        protected: Any = ResiliencePipeline("search", **policies)(function)  # type: ignore[arg-type]
        ask: Asked = protected
        return ask

    return protect


if __name__ == "__main__":
    alone = {name: protecting(**{name: policy}) for name, policy in ALL.items()}
    alone["rate_limit"] = protecting(rate_limit=RateLimit(calls_per_minute=1e9))
    main({"all": protecting(**ALL), "none": protecting(), **alone})
