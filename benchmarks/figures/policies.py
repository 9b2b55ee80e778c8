"""What the policies cost, and what they bring."""

from collections.abc import Callable

from benchmarks.figures.layout import Result, measured, table, text, us

__all__ = ["POLICIES", "cost_of", "policies", "tail"]


def policies(result: Result) -> str:
    heading = ("CPU µs of a healthy call, on top of the function's own", "that waits", "that answers at once")
    ours, at_once = "plimsoll_us", result["at_once"]
    rows = [
        ("**retry, hedge, circuit breaker, bulkhead, timeout, output check**", result[ours], at_once[ours]),
        ("no policy: the pipeline itself", *_both(result["pipeline_us"])),
        *((f"{POLICIES[name]} alone", *_both(one)) for name, one in result["alone_us"].items()),
        (" and ".join(f"`{package}`" for package in result["peer"]), result["peer_us"], at_once["peer_us"]),
        (
            "the same, with asyncio's timeout and semaphore",
            result["peer_with_timeout_and_semaphore_us"],
            at_once["peer_with_timeout_and_semaphore_us"],
        ),
    ]
    return f"{table([heading, *([row[0], *map(str, row[1:])] for row in rows)])}\n\n{measured(result)}"


POLICIES = {
    "retry": "retry",
    "hedge": "hedge",
    "circuit_breaker": "circuit breaker",
    "bulkhead": "bulkhead",
    "timeout_s": "timeout",
    "check": "output check",
    "rate_limit": "rate limit",
}


def _both(one: dict[str, float]) -> tuple[float, float]:
    return one["waits"], one["at_once"]


def cost_of(policy: str) -> Callable[[Result], str]:
    def cost(result: Result) -> str:
        waits, at_once = _both(result["share_us"][policy])
        return text(
            f"{us(waits)} of CPU for a healthy call that waits, {us(at_once)} for one that answers at once; the"
            f" pipeline around it takes {us(result['pipeline_us']['waits'])}. {measured(result)}"
        )

    return cost


def tail(result: Result) -> str:
    heading = ("", "p50", "p95", "p99", "p99.9", "extra calls", "failures")
    rows = [
        (
            f"**{name}**" if name == "plimsoll" else name,
            *(f"{arm[key]:,.0f} ms" for key in ("p50_ms", "p95_ms", "p99_ms", "p999_ms")),
            f"{100 * arm['extra_calls_share']:.1f} %",
            str(arm["failures"]),
        )
        for name, arm in result["arms"].items()
    ]
    said = (
        f"{result['calls']:,} questions. Plimsoll's p99 is {100 * result['p99_of_bare']:.0f} % of that without any"
        f" policy, and {100 * result['p99_of_best_peer']:.0f} % of that of {result['best_peer']}, the best peer."
        f" With {', '.join(sorted(set(result['packages'].values())))}. {measured(result)}"
    )
    return f"{table([heading, *rows])}\n\n{text(said)}"
