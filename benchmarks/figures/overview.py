"""The table of the README."""

from benchmarks.figures.layout import Result, measured, table

__all__ = ["SOURCES", "overview"]

SOURCES = ("retail", "gate", "journal", "durable", "parked", "tail", "silent")
"""The results that it is made of."""


def overview(*results: Result) -> str:
    """The table, of the results of `SOURCES`."""
    retail, gate, journal, durable, parked, tail, silent = results
    heading = ("What", "Figure", "Beside it", "Script")
    many, few = (f"{parked[f'rss_mb{which}']:.0f} MB, {parked[f'wake_ms{which}']:.1f} ms" for which in ("", "_few"))
    rows = [
        (
            f"Effects lost and doubled on real shop data: {retail['tasks']} tasks, {retail['trials']:,} trials with a"
            " crash at every event, after every call, or a lost answer after every write",
            f"{retail['lost']} lost, {retail['doubled']} doubled",
            f"the loop people write first: {retail['naive_lost']} lost, {retail['naive_doubled']} doubled",
            "`benchmarks/retail.py`",
        ),
        (
            "The same without any `verify`",
            f"{retail['doubled_without_verify']} doubled, {retail['parked_without_verify']} runs parked for a person",
            "",
            "",
        ),
        (
            "Trials of the gate, per second and core: an agent of 10 calls, no framework",
            f"{gate['framework_free_trials_per_s']:,}",
            "",
            "`benchmarks/gate.py`",
        ),
        (
            "… the assistant with Pydantic AI, where nobody is asked",
            f"{gate['pydantic_ai_trials_per_s']}",
            f"Pydantic AI alone: {gate['pydantic_ai_alone_runs_per_s']} runs",
            "",
        ),
        ("Plimsoll's own share of such a trial's CPU", f"{100 * gate['own_share']:.0f} %", "", ""),
        (
            "Durable steps per second at 100 concurrent runs, the journal with its barriers",
            f"{journal['steps_per_s']['100']:,.0f}",
            "a plain group commit of the same rows that encodes and chains nothing:"
            f" {journal['raw_steps_per_s']['100']:,.0f}",
            "`benchmarks/journal.py`",
        ),
        (
            "… through the whole harness, with tools and models that answer at once",
            f"{journal['end_to_end_steps_per_s']['100']:,.0f}",
            "",
            "",
        ),
        (
            f"A process over {parked['parked']:,} parked runs: memory, and to wake one",
            many,
            f"over 10: {few}",
            "`benchmarks/parked.py`",
        ),
        (
            f"Durable runs killed right after an effect, {durable['effects']} effects: steps per second, doubled",
            f"{durable['steps_per_s']:,}; {durable['doubled']}",
            "; ".join(f"{name}: {peer['steps_per_s']:,}; {peer['doubled']}" for name, peer in _fastest(durable)),
            "`benchmarks/durable.py`",
        ),
        (
            "The slowest 1 % of a spiky model's answers take at least",
            f"{tail['arms']['plimsoll']['p99_ms']:,.0f} ms",
            "; ".join(f"{name}: {tail['arms'][arm]['p99_ms']:,.0f} ms" for arm, name in _TAIL_PEERS.items()),
            "`benchmarks/tail.py`",
        ),
        (
            f"Silent failures caught, of {silent['cases']} in four frameworks",
            f"{silent['caught']}; {silent['false_alarms']} false alarms in {silent['healthy']:,} healthy runs",
            f"the frameworks themselves: {sum(silent['bare'].values())}",
            "`benchmarks/silent.py`",
        ),
    ]
    return f"{table([heading, *rows], align='---')}\n\n{measured(*results)}"


_TAIL_PEERS = {"bare": "no policy", "pydantic_ai": "FallbackModel", "litellm": "LiteLLM's Router"}


def _fastest(durable: Result) -> list[tuple[str, Result]]:
    """The fastest peer of those with an equal promise, and of all."""
    names = dict.fromkeys((durable["best_equal_peer"], durable["fastest_peer"]))
    return [(name, durable["peers"][name]) for name in names]
