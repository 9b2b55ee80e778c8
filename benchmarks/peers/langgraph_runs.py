"""The runs on LangGraph. Variants: `sync`, `async` and `exit`, its durability modes, and `graph`.

The first three wrap every step in a `@task` of one `@entrypoint`, as its pages on durable execution ask for whatever
has side effects. There a mode speaks of the whole entrypoint; `graph` has a node for each step, in the mode `sync`,
which is how to have every step on the disk before the next begins. A run that was left is gone on with by an input of
None, which for one that was over already does nothing.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypedDict

from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.func import entrypoint, task
from langgraph.graph import END, START, StateGraph
from playing import Advance, Pay, main
from work import answer, order_line


class State(TypedDict):
    order: str
    found: Any
    said: str


def entrypoint_of(steps: tuple[str, ...], pay: Pay, saver: AsyncSqliteSaver) -> Any:
    @task
    async def find_order(order: str, line: int) -> dict[str, Any]:
        return order_line(order, line)

    @task
    async def ask(order: str, step: int) -> str:
        return answer(order, step)

    @task
    async def refund(order: str, amount: int) -> dict[str, Any]:
        pay(order, "")
        return {"refunded": amount}

    @entrypoint(checkpointer=saver)
    async def work(state: State) -> str:
        order = state["order"]
        for step, kind in enumerate(steps):
            if kind == "read":
                await find_order(order, step)
            elif kind == "model":
                await ask(order, step)
            else:
                await refund(order, 20)
        return "Done."

    return work


def graph_of(steps: tuple[str, ...], pay: Pay, saver: AsyncSqliteSaver) -> Any:
    def node(step: int, kind: str) -> Callable[[State], Any]:
        async def act(state: State) -> dict[str, Any]:
            order = state["order"]
            if kind == "read":
                return {"found": order_line(order, step)}
            if kind == "model":
                return {"said": answer(order, step)}
            pay(order, "")
            return {"found": {"refunded": 20}}

        return act

    graph = StateGraph(State)
    names = [f"{step}-{kind}" for step, kind in enumerate(steps)]
    for step, kind in enumerate(steps):
        graph.add_node(names[step], node(step, kind))
    for before, after in zip([START, *names], [*names, END], strict=True):
        graph.add_edge(before, after)
    return graph.compile(checkpointer=saver)


@asynccontextmanager
async def opened(variant: str, folder: Path, pay: Pay, steps: tuple[str, ...]) -> AsyncIterator[Advance]:
    async with AsyncSqliteSaver.from_conn_string(str(folder / "checkpoints.db")) as saver:
        await saver.setup()
        work = (graph_of if variant == "graph" else entrypoint_of)(steps, pay, saver)
        durability = "sync" if variant == "graph" else variant
        left = {found.config["configurable"]["thread_id"] async for found in saver.alist(None)}

        async def advance(order: str) -> str:
            config = {"configurable": {"thread_id": order}, "recursion_limit": 100}
            start = None if order in left else State(order=order, found=None, said="")
            await work.ainvoke(start, config, durability=durability)
            return "over"

        yield advance


if __name__ == "__main__":
    main(opened)
