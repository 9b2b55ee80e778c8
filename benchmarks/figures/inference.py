"""What an answer of the inference service costs, beside others."""

from benchmarks.figures.layout import Result, measured, table, text

__all__ = ["inference"]

_ARMS = {
    "plimsoll": "**Plimsoll's service**",
    "bare_ort": "ONNX Runtime alone, int8",
    "sentence_transformers": "sentence-transformers",
    "transformers": "transformers' pipeline",
}


def inference(result: Result) -> str:
    heading = ("", "p50, ms", "p99, ms", "texts/s at saturation", "memory, MB", "ready after, s")
    rows = []
    for name, title in _ARMS.items():
        prefix = "" if name == "plimsoll" else f"{name}_"
        figures = [result[f"{name}_p50_ms"], result[f"{name}_p99_ms"]]
        figures += [result.get(f"{prefix}{figure}") for figure in ("texts_per_s", "rss_mb", "ready_s")]
        rows.append((title, *("" if figure is None else f"{figure:,}" for figure in figures)))
    faster, over = result["faster_than_sentence_transformers"], 100 * result["over_bare_ort"]
    said = (
        f"{result['texts']} texts, {result['labels']} labels. One text alone: {faster} times as fast as"
        f" sentence-transformers, {over:.0f} % over ONNX Runtime alone. {measured(result)}"
    )
    return f"{table([heading, *rows])}\n\n{text(said)}"
