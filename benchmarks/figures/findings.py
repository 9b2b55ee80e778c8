"""What is found, and what is alarmed at falsely."""

from benchmarks.figures.layout import Result, measured, table, text

__all__ = ["FAMILIES", "false_alarms", "silent"]

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


FAMILIES = ("failures", "loops", "people", "service-levels", "silent-failures")
"""The pages of findings, each with its own false alarms."""


def false_alarms(result: Result, *, family: str) -> str:
    """What the detectors of one page said of healthy work."""
    heading = ("Detector", "Healthy", "False alarms", "so at most")
    rows = [
        (name, f"{each['seen']:,} {each['unit']}", str(each["alarms"]), _at_most(each))
        for name, each in result["detectors"].items()
        if each["family"] == family
    ]
    said = (
        f"`benchmarks/false_alarms.py`: {result['patterns']:,} runs of a service that works in eleven ways,"
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
