"""The figures of the tail: what failed counts with its time, and every request beyond one for a question is extra."""

from benchmarks.tail import measured


def test_quantiles_are_of_all_questions_in_whatever_order_they_ended() -> None:
    seen = {"latencies_ms": [float(ms) for ms in range(1000, 0, -1)], "failures": [], "served": {"a": 1000, "b": 0}}
    figures = measured(seen, 1000)
    assert [figures[key] for key in ("p50_ms", "p95_ms", "p99_ms", "p999_ms")] == [501.0, 951.0, 991.0, 1000.0]
    assert (figures["extra_calls_share"], figures["failures"]) == (0.0, 0)


def test_extra_calls_are_counted_where_they_were_served() -> None:
    seen = {"latencies_ms": [1.0] * 100, "failures": ["Boom: a", "Boom: b", "Shed: c"], "served": {"a": 99, "b": 5}}
    figures = measured(seen, 100)
    assert figures["extra_calls_share"] == 0.04
    assert (figures["failures"], figures["failed_by"]) == (3, ["Boom", "Shed"])
