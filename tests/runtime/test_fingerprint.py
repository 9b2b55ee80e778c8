"""Another agent has another fingerprint; the same one has the same."""

from functools import partial
from typing import Any

from plimsoll.contract.model import AgentSection, Contract, Limits
from plimsoll.runtime.compiled import compiled
from plimsoll.runtime.fingerprint import default_fingerprint
from plimsoll.runtime.models import ModelReply
from plimsoll.runtime.run import Run
from plimsoll.runtime.tools import tool


async def first(run: Run, request: Any) -> str:
    return "first"


async def second(run: Run, request: Any) -> str:
    return "second"


class Office:
    def __init__(self, secret: object) -> None:
        self.secret = secret

    async def __call__(self, run: Run, request: Any) -> str:
        return "office"

    async def answer(self, run: Run, request: Any) -> str:
        return "answer"


def pay(amount: float, currency: str = "EUR") -> str:
    return f"{amount} {currency}"


async def says(prompt: Any) -> ModelReply:
    return ModelReply(text="yes")


def mark(agent: Any, *, tools: Any = (), models: Any = None, contract: Contract | None = None) -> str:
    return default_fingerprint(
        agent,
        tools={one.__name__: one for one in tools},
        models=models or {},
        contract=compiled(contract or Contract(agent=AgentSection(name="office"))),
    )


def made(word: str) -> Any:
    async def agent(run: Run, request: Any, greeting: str = word) -> str:
        return greeting

    return agent


def test_each_of_these_is_another_agent() -> None:
    limited = Contract(agent=AgentSection(name="office"), limits=Limits(steps=3))
    office = Office(object())
    marks = [
        mark(first),
        mark(second),
        mark(first, tools=[pay]),
        mark(first, models={"primary": says}),
        mark(first, models={"backup": says}),
        mark(first, contract=limited),
        mark(office),
        mark(office.answer),
        mark(made("hello")),
        mark(made("goodbye")),
        mark(partial(first, request="x")),
    ]
    assert len(set(marks)) == len(marks)


def test_the_same_agent_is_the_same_wherever_it_lies_in_memory() -> None:
    assert mark(first) == mark(first)
    assert mark(Office(object())) == mark(Office(object()))
    assert mark(Office(object()).answer) == mark(Office(object()).answer)
    assert mark(made("hello")) == mark(made("hello"))
    assert mark(first, tools=[pay]) == mark(first, tools=[tool(pay)])


def test_code_without_a_file_counts_too() -> None:
    def typed(answer: str) -> Any:
        names: dict[str, Any] = {"__name__": "nowhere"}
        exec(f"async def agent(run, request):\n    return {answer!r}", names)
        return names["agent"]

    assert mark(typed("yes")) == mark(typed("yes"))
    assert mark(typed("yes")) != mark(typed("no"))
