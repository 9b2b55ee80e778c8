"""What single parts cost."""

from benchmarks.figures.layout import Result, measured, table, text

__all__ = ["adapter", "checkpoint", "compression", "encryption", "streaming", "telemetry"]


def compression(costs: Result) -> str:
    cost = costs["compression"]
    left = f"{100 * cost['left']:.0f} %"
    return text(
        f"Compressing an event of {cost['bytes']:,} bytes takes {cost['us']:.0f} µs and leaves {left} of a model's"
        f" answer (`benchmarks/costs.py`). {measured(costs)}"
    )


def encryption(costs: Result) -> str:
    read, answer = (costs["encryption"][which] for which in ("read", "answer"))
    return text(
        f"**What it costs.** {read['seal_us']:.0f} µs more to write an event of {read['bytes']:,} bytes, and"
        f" {answer['seal_us']:.0f} µs for one of {answer['bytes']:,}; to read them, {read['open_us']:.0f} µs and"
        f" {answer['open_us']:.0f} µs (`benchmarks/costs.py`). {measured(costs)}"
    )


def checkpoint(costs: Result) -> str:
    cost = costs["checkpoint"]
    return text(
        f"**What it costs.** A checkpoint over {cost['events']:,} events of {cost['runs']} runs takes"
        f" {cost['ms']:.1f} ms in the writer's thread (`benchmarks/costs.py`), and one row for each run that went on."
        f" The audit reads everything once. {measured(costs)}"
    )


def streaming(costs: Result) -> str:
    return text(
        f"About {costs['streaming']['us_per_part']:.0f} µs of CPU for a part (`benchmarks/costs.py`), beside what the"
        " model's own client takes, and a task for as long as the stream lasts; an answer's record in the journal is"
        f" the same as that of one that did not stream. {measured(costs)}"
    )


def telemetry(result: Result) -> str:
    names = {
        "off": "without telemetry",
        "noop": "told to an exporter that does nothing",
        "encoded": "told to one that encodes OTLP",
    }
    rows = [
        (name, f"{result[f'{arm}_us']:.0f}", "" if arm == "off" else f"+{result[f'added_{arm}_us']:.0f}")
        for arm, name in names.items()
    ]
    said = (
        f"CPU of the whole process, the SDK's threads included, for a call of a run of {result['calls_per_run']} calls"
        f" whose models and tools answer at once, over a journal in memory; medians of {result['repetitions']}"
        f" repetitions (`benchmarks/telemetry.py`). {measured(result)}"
    )
    return f"{table([('', 'CPU µs a call', 'more'), *rows])}\n\n{text(said)}"


def adapter(gate: Result) -> str:
    trial, alone = (1e3 / gate[key] for key in ("pydantic_ai_trials_per_s", "pydantic_ai_alone_runs_per_s"))
    return text(
        f"A run of the assistant takes {trial:.0f} ms of CPU in the gate, with a journal in memory, virtual time and"
        f" the oracles' judgement; the same conversation by Pydantic AI alone takes {alone:.0f} ms"
        f" (`benchmarks/gate.py`). {measured(gate)}"
    )
