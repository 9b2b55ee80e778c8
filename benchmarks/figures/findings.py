"""What is found, and what is alarmed at falsely."""

from benchmarks.figures.layout import Result, measured, table, text, us

__all__ = ["PAGES", "WATCHING", "cost_of_watching", "false_alarms", "silent"]

_FRAMEWORKS = {
    "plain": "no framework", "pydantic_ai": "Pydantic AI", "langgraph": "LangGraph", "openai_agents": "OpenAI Agents",
}  # fmt: skip


def silent(result: Result) -> str:
    rows = [
        (failure, str(each["cases"]), *(f"{each['bare'][name]} → {each['caught'][name]}" for name in _FRAMEWORKS))
        for failure, each in result["failures"].items()
    ]
    each = result["cases_each"]
    both = ((result["bare"][name], _all_caught(result, name)) for name in _FRAMEWORKS)
    rows.append(("all", str(each), *(f"{bare} → {hardened}" for bare, hardened in both)))
    versions = ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    said = (
        f"Caught of {each} cases, bare → hardened. False alarms: {result['false_alarms']} in {result['healthy']:,}"
        f" runs, with {result['different_answers']:,} different healthy answers in each framework. With {versions}."
        f" {measured(result)}"
    )
    return f"{table([('', 'cases', *_FRAMEWORKS.values()), *rows])}\n\n{text(said)}"


def _all_caught(result: Result, framework: str) -> int:
    return sum(each["caught"][framework] for each in result["failures"].values())


WATCHING = {
    "failures": "{failures} of CPU for a healthy call, {a_failure} for an attempt that failed.",
    "loops": "{loops} of CPU for a call.",
    "no-progress": "{progress} of CPU for a call.",
    "spending": "{spending} of CPU for a call.",
    "doubts": "{approvals} of CPU for a request or its decision, {doubts} for a doubt or its answer.",
    "queue-too-old": "{queue} of CPU for each run that waits, and a look at the store, every half a minute.",
    "rubber-stamping": "{reviewers} of CPU for a decision.",
    "silent-runs": "{silence} of CPU for each run that runs, and a look at the store, every half a minute.",
    "service-levels": "{levels} of CPU for a record that becomes durable, where there are levels to hold.",
    "silent-failures": "That of the [output check](../policies/output-check.md#cost).",
    "stale-answers": "A part of the [output check](../policies/output-check.md#cost): {stale} of CPU for an answer that"
    " has a date, as a text.",
    "claimed-not-done": "{claims} of CPU for a call, and {an_answer} to hold a run's answer against {phrases} phrases"
    " that it does not say.",
    "alerts": "{an_alert} of CPU for a finding whose cause has been told already.",
    "limits": "{limits} of CPU for a call of a model, and {day} more where a day is limited and what it may need is in"
    " hand: far below a limit few calls need to ask the store, which is a write to the disk.",
    "ladder": "{ladder} of CPU for a call that the first of four rungs answers: what the others may need is kept for"
    " them.",
}
"""What is said of the cost of each page."""


def cost_of_watching(result: Result, *, page: str) -> str:
    spent = {name: us(round(each, 1) if each < 100 else round(each)) for name, each in result["us"].items()}
    said = WATCHING[page].format(**spent, phrases=result["phrases"])
    return text(f"{said} By `benchmarks/detectors.py`. {measured(result)}")


PAGES = (
    "failures", "silent-failures", "stale-answers", "claimed-not-done", "loops", "no-progress", "spending", "limits",
    "doubts", "queue-too-old", "rubber-stamping", "silent-runs", "service-levels",
)  # fmt: skip
"""Those of the detectors, each with its own false alarms."""


def false_alarms(result: Result, *, page: str) -> str:
    """What the detectors of one page said of healthy work."""
    heading = ("Detector", "Healthy", "False alarms", "so at most")
    rows = [
        (name, f"{each['seen']:,} {each['unit']}", str(each["alarms"]), _at_most(each))
        for name, each in result["detectors"].items()
        if each["page"] == page
    ]
    said = (
        f"`benchmarks/false_alarms.py`: {result['patterns']:,} runs of a service that works in twelve ways,"
        f" {result['assistant']:,} of the assistant, {result['retail']:,} of real retail tasks;"
        f" {result['months_of_services']} months of services just within their objectives; {result['reviewers']:,}"
        f" people with 500 decisions each. *So at most*: with 95 % confidence, as far as these runs are like yours."
        f" {measured(result)}"
    )
    return f"{table([heading, *rows])}\n\n{text(said)}"


def _at_most(detector: Result) -> str:
    """The upper bound of a rate of which none was seen: 1 - 0.05 ** (1 / n), written as one in so many runs."""
    if detector["alarms"] or detector["unit"] != "runs":
        return ""
    return f"1 in {1.0 / (1.0 - 0.05 ** (1.0 / detector['seen'])):,.0f}"
