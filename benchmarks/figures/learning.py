"""How well a small transformer of one's own tells requests apart, and what asking it costs."""

from benchmarks.figures.layout import Result, measured, table, text

__all__ = ["explain", "guards", "next_call", "shipped", "transfer"]


def transfer(result: Result) -> str:
    heading = ("fitted by", "in scope right", "out-of-scope recall", "in scope rejected", "AUROC", "ECE", "seconds")
    fits = {_method(name): each for name, each in result["methods"].items()}
    rows = [
        (
            name,
            f"{each['in_scope_accuracy']:.2%}",
            f"{each['oos_recall']:.1%}",
            f"{each['rejected']:.1%}",
            f"{each['auroc']:.3f}",
            f"{each['ece']:.3f}",
            f"{each['train_s']:,.0f}",
        )
        for name, each in {**fits, "**shipped, int8**": result["shipped"]}.items()
    ]
    seeds = len(result["seeds"])
    said = (
        f"{'One seed' if seeds == 1 else f'Means of {seeds} seeds'}. Shipped is what did best on the validation rows"
        f" ({_method(result['shipped']['model'].rpartition('-')[0])}), exported: {_bytes_and_time(result)}."
        f" To beat: {'; '.join(_anchor(name, each) for name, each in result['anchors'].items())}. {measured(result)}"
    )
    return f"{table([heading, *rows])}\n\n{text(said)}{_retail(result)}"


def _retail(result: Result) -> str:
    """What the methods make of the retail journals, where they were tried."""
    if "retail" not in result:
        return ""
    heading = ("the next tool, retail journals", "right", "ECE", "seconds", "parameters trained")
    rows = [
        (
            f"`{name}`",
            f"{each['accuracy']:.1%}",
            f"{each['ece']:.3f}",
            f"{each['train_s']:,.0f}",
            f"{each['trained_parameters']:,}",
        )
        for name, each in result["retail"].items()
    ]
    seeds = next(iter(result["retail"].values()))["seeds"]
    said = (
        "Some 500 moments of the 115 retail tasks to train on, judged by those of customers that were not"
        f" ({'one seed' if seeds == 1 else f'means of {seeds} seeds'}). Every one of these exports to the same bytes."
    )
    return f"\n\n{table([heading, *rows])}\n\n{text(said)}"


def shipped(result: Result) -> str:
    """What an answer of the shipped classifier costs."""
    return text(f"CLINC150, 150 intents: {_bytes_and_time(result)} (median). {measured(result)}")


def guards(result: Result) -> str:
    """What a guard's verdict costs."""
    each = ", ".join(f"{ms:g} ms for {words} words" for words, ms in result["verdict_ms"].items())
    size, around = f"{result['model_bytes'] / 1e6:.1f} MB", f"{result['screening_us']:g} µs"
    return text(
        f"CPU of one verdict on one thread: {each} (MiniLM, {size}). What a run pays around it, to find, record and act"
        f" on it: {around}. A text that was judged lately is not judged again. By `benchmarks/guards.py`."
        f" {measured(result)}"
    )


def next_call(result: Result) -> str:
    """What a policy decides rightly for strangers, beside the two simplest ways."""
    heading = ("decided by", "tool right", "with all arguments")
    rows = [(name, f"{each['tool']:.0%}", f"{each['whole']:.0%}") for name, each in result["decided"].items()]
    ours = result["decided"]["policy"]
    right = "" if ours["precision"] is None else f", of which {ours['precision']:.0%} are right"
    said = (
        f"{result['decisions']} decisions of {result['tasks']} tasks of {result['customers']} customers; medians over"
        f" {result['folds']} folds by customer. Where it abstains as it does in production, it decides"
        f" {ours['answered']:.0%}{right} ({result['asked_precision']:.0%} were asked for). Ranked by probability,"
        f" 95% of the first {ours['coverage_at_95']:.0%} are right."
        f" A fit takes {ours['fit_s']:.0f} s, a decision {ours['decision_ms']:.0f} ms. {measured(result)}"
    )
    return f"{table([heading, *rows])}\n\n{text(said)}"


def explain(result: Result) -> str:
    """What an explanation costs, and how the deletion test came out."""
    heading = (
        "",
        "CPU a text",
        "as many as … answers",
        "lost without the top word",
        "one at random",
        "the top three",
        "three",
    )
    rows = []
    for name, each in result["methods"].items():
        curve = {point["words"]: point for point in each["deletion"]["curve"]}
        lost = [f"{curve[words][which]['value']:.3f}" for words in (1, 3) for which in ("top", "random")]
        rows.append((f"`{name.replace('_', '-')}`", f"{1e3 * each['cpu_s']:.0f} ms", f"{each['answers']:.0f}", *lost))
    gradients = result["methods"]["integrated_gradients"]
    held = " ".join(map(_holds, result["methods"].items()))
    said = (
        f"Means over {result['texts']} texts of {result['words']} words, {result['labels']} labels; lost of the"
        f" answer's probability, over {gradients['deletion']['texts']} texts. {held} The sum of the gradients is off by"
        f" {100 * gradients['sum_off']:.1g} % (median). {measured(result)}"
    )
    return f"{table([heading, *rows])}\n\n{text(said)}"


def _holds(method: tuple[str, Result]) -> str:
    name, each = method
    more = each["deletion"]["difference"]
    said = "hold" if each["holds"] else "are not shown to hold"
    return (
        f"Explanations by {name.replace('_', '-')} {said}: {more['value']:.3f} more is lost than at random"
        f" ({more['low']:.3f} to {more['high']:.3f})."
    )


def _method(name: str) -> str:
    method, _, shots = name.partition("_")
    return f"`{method}`, {shots.removesuffix('shot')} a label" if shots else f"`{method}`, all rows"


def _anchor(name: str, figures: Result) -> str:
    recall = f" with {figures['oos_recall']:.1%} recall" if "oos_recall" in figures else ""
    return f"{name}, {figures['in_scope_accuracy']:.1%}{recall}"


def _bytes_and_time(result: Result) -> str:
    each = result["shipped"]
    return f"{each['model_bytes'] / 1e6:.1f} MB, {each['p50_ms']} ms a text on one thread"
