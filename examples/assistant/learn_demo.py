"""The fallback you own: the assistant's journal becomes a small model, the gate tries it, and then the provider is cut.

    python -m examples.assistant.learn_demo [--out DIR] [--customers N] [--requests N] [--storms N]

No key and no server. Each step but the first and the last is a command that you could say yourself, and is shown.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic_ai.messages import ModelMessage, ModelResponse
from pydantic_ai.models.function import AgentInfo, FunctionModel
from rich.console import Console
from rich.panel import Panel
from rich.progress import track
from rich.table import Table

from examples.assistant.agent import CONTRACT, agent
from examples.assistant.hardened import build
from examples.assistant.shop import Shop
from examples.assistant.standin import stand_in
from examples.assistant.traffic import Traffic, traffic
from plimsoll import Ending, RunResult, harden, load_contract
from plimsoll.adapters.pydantic_ai import HardenedAgent
from plimsoll.core.calls import CallKind
from plimsoll.core.canonical import canonical_json
from plimsoll.core.events import CallIntended, CallSettled
from plimsoll.journal.memory import MemoryStore
from plimsoll.runtime.local import local
from plimsoll.runtime.surroundings import Surroundings

__all__ = ["contract_with", "cut", "main"]

NAME = "shop-policy"
"""What the model is called in the registry."""
FIRST_MONTH, NEXT_MONTH = 1, 2
"""Seeds: the customers that were learned from, and others."""
STRANGERS = 60
SHOWN = 6

_LADDER = 'fallback = ["backup", "canned"]'
_RUNG = """
[models.local]        # the assistant's own model, learned from its own runs. It looks things up, and changes nothing
local = "policy"
timeout_s = 5
may_write = false
retry = { max_attempts = 2, base_s = 0.1, cap_s = 1, on = [
    "connection", "rate_limited", "server_error", "empty", "malformed",
] }

[models.canned]
"""


@dataclass(frozen=True)
class Served:
    """One request, served twice: by the provider's model, and by what is left without it.

    `same`: the same tools were called, with the same arguments.
    """

    request: str
    before: RunResult
    after: RunResult
    same: bool

    @property
    def is_own(self) -> bool:
        """Whether the assistant's own model answered to the end."""
        return self.after.ending is Ending.DEGRADED and not str(self.after.output).startswith("I am sorry")


def main() -> int:
    """Runs all of it; 0 when the gate ships the assistant with its own model, and the cut shows that it goes on."""
    options = ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--out", type=Path, default=Path("learn-demo"), help="where all of it goes; it is made anew")
    options.add_argument("--customers", type=int, default=150)
    options.add_argument("--requests", type=int, default=300)
    options.add_argument("--storms", type=int, default=None, help="how many sampled combinations of faults")
    args = options.parse_args()
    out: Path = args.out
    if out.exists() and not (out / "plimsoll.toml").exists():
        options.error(f"{out} is there, and is not of this demo: name another folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    console = Console()

    console.rule("1. A month of customers, served by the provider's model")
    month = traffic(seed=FIRST_MONTH, customers=args.customers, requests=args.requests)
    asyncio.run(_serve(month, out / "journal.db"))
    console.print(f"{args.requests} requests of {args.customers} customers, and all that was done, are in one journal.")

    console.rule("2. What it learned from that: the next call, from the conversation so far")
    rows, policy = out / "conversations.jsonl", out / "policy"
    answers = Path(__file__).with_name("answers.toml")
    store = ("--tracking-uri", f"sqlite:///{(out / 'mlflow.db').resolve()}")
    contract = out / "plimsoll.toml"
    contract.write_text(contract_with(_RUNG), "utf-8")
    steps: list[Sequence[str | Path]] = [
        ("learn", "rows", "--task", "next-call", "--journal", out / "journal.db", "--out", rows),
        ("learn", "policy", "--data", rows, "--templates", answers, "--out", policy),
        ("learn", "register", policy, "--name", NAME, *store),
    ]
    storms = () if args.storms is None else ("--storms", str(args.storms))
    proven = [("gate", "--contract", contract, "--out", out / "gate-report", *storms)]
    promoted = ("learn", "promote", NAME, "--version", "1", "--verdict", out / "gate-report" / "verdict.json", *store)
    if not all(_said(step, console) for step in steps):
        return 1
    console.rule("3. The gate tries the assistant with its own model as a rung, and only then is it promoted")
    if not all(_said(step, console) for step in [*proven, promoted]):
        return 1

    console.rule("4. The provider is cut, and its backup too")
    served = asyncio.run(cut(traffic(seed=NEXT_MONTH, customers=STRANGERS, requests=STRANGERS), contract))
    _print_served(served, console)
    return 0 if any(each.is_own for each in served) and _honest(served) else 1


def contract_with(rung: str) -> str:
    """The assistant's contract, with a rung more before the canned answer."""
    shipped = CONTRACT.read_text("utf-8")
    return shipped.replace(_LADDER, 'fallback = ["backup", "local", "canned"]').replace("\n[models.canned]\n", rung)


async def _serve(month: Traffic, journal: Path) -> None:
    """All requests of a month, served by the shipped assistant, in a journal."""
    surroundings = local(load_contract(CONTRACT), path=journal)
    with month.shop() as shop:
        async with build(shop, surroundings=surroundings) as assistant:
            for request in track(month.requests, description="serving", transient=True):
                await assistant.run(request)
    await surroundings.store.close()


async def cut(month: Traffic, contract: Path) -> list[Served]:
    """Each request of a month, served with the provider's models and without them, in two shops alike."""
    served = []
    stores = MemoryStore(), MemoryStore()
    with month.shop() as well, month.shop() as ill:
        with_it, without = (
            _assistant(well, contract, _there(), stores[0]),
            _assistant(ill, contract, _gone(), stores[1]),
        )
        async with with_it, without:
            for number, request in enumerate(month.requests):
                run_id = f"request-{number}"
                before, after = await with_it.run(request, run_id=run_id), await without.run(request, run_id=run_id)
                same = await _calls(stores[0], run_id) == await _calls(stores[1], run_id)
                served.append(Served(request, before, after, same))
            assert not ill.ledger(), "a model that may not write has written"
    return served


async def _calls(store: MemoryStore, run_id: str) -> set[tuple[str, bytes]]:
    """Which tools a run called, and with what."""
    events = [record.event for record in await store.read(run_id)]
    made = [event for event in events if isinstance(event, CallIntended | CallSettled) and event.kind is CallKind.TOOL]
    return {(event.dependency, canonical_json(event.args)) for event in made if event.args is not None}


def _assistant(shop: Shop, contract: Path, models: dict[str, Any], store: MemoryStore) -> HardenedAgent:
    surroundings = Surroundings(store=store, owner="learn-demo", sinks=())
    hardened: HardenedAgent = harden(agent, contract, deps=shop, models=models, surroundings=surroundings)
    return hardened


def _there() -> dict[str, FunctionModel]:
    return {name: stand_in(f"stand-in-{name}") for name in ("primary", "backup")}


def _gone() -> dict[str, FunctionModel]:
    """Models of a provider that nobody can reach."""

    async def answer(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
        raise ConnectionError("no route to the provider")

    async def stream(messages: list[ModelMessage], info: AgentInfo) -> AsyncIterator[str]:
        raise ConnectionError("no route to the provider")
        yield ""

    return {name: FunctionModel(answer, stream_function=stream, model_name=name) for name in ("primary", "backup")}


def _said(step: Sequence[str | Path], console: Console) -> bool:
    """Says a command, and whether it went well."""
    words = [str(word) for word in step]
    console.print(f"\n[bold]$ plimsoll {' '.join(words)}[/]", highlight=False, soft_wrap=True)
    return subprocess.run([sys.executable, "-m", "plimsoll", *words], check=False).returncode == 0


def _honest(served: Sequence[Served]) -> bool:
    """Whether no run without a provider passes for one with it."""
    return all(each.after.ending is not Ending.COMPLETE for each in served)


def _print_served(served: Sequence[Served], console: Console) -> None:
    table = Table("asked", "answered without any provider", "ending")
    own = [each for each in served if each.is_own]
    canned = [each for each in served if not each.is_own]
    for each in [*own[: SHOWN - 2], *canned[:2]]:
        table.add_row(each.request, str(each.after.output), str(each.after.ending))
    console.print(table)
    endings = Counter(str(each.after.ending) for each in served)
    console.print(
        Panel(
            f"{len(served)} requests of customers it never saw: {len(own)} answered by its own model, of which "
            f"{sum(each.same for each in own)} after the very calls that the provider's model makes, and "
            f"{len(canned)} by the canned answer. Endings: "
            f"{', '.join(f'{count} {ending}' for ending, count in endings.items())}. Nothing was changed by any.",
            expand=False,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
