"""Talks once to the hardened assistant:

python -m examples.assistant "My email is wren.halloway@example.com. Please cancel order #W7001005."
"""

from __future__ import annotations

import argparse
import asyncio
import os
from collections.abc import Sequence

from pydantic_ai.exceptions import UserError

from examples.assistant.agent import CONTRACT, open_shop
from examples.assistant.hardened import build
from examples.assistant.parts import BACKUP_VARIABLE, MODEL_VARIABLE, default_model
from plimsoll import Ending, RunResult

__all__ = ["main", "report"]

_MEANINGS = {
    Ending.COMPLETE: "complete: the agent did what it could and answered.",
    Ending.DEGRADED: "degraded: a fallback answered, because the first model could not.",
    Ending.HALTED: "halted: a limit, the kill switch or a detector stopped the run. What was done by then stays done.",
    Ending.FAILED: "failed: the agent broke down. Nothing that it did is lost; see the journal.",
    Ending.PARKED: "parked: the run waits, and costs nothing while it does.",
}


_REAL_MODELS = (
    f"{MODEL_VARIABLE} names a model of a provider, and the backup rung needs one too: {BACKUP_VARIABLE}, or what the "
    "contract names. Install their packages, such as pip install 'pydantic-ai-slim[openai,anthropic]', and set their "
    f"keys; or unset {MODEL_VARIABLE} to use the stand-in."
)


def report(result: RunResult) -> str:
    """How a run stands, and what one can do about it."""
    lines = [f"run       {result.run_id}"]
    if result.answered:
        lines.append(f"answer    {result.output}")
    lines.append(f"ending    {_MEANINGS[result.ending]}")
    if result.reason:
        lines.append(f"because   {result.reason}")
    lines += [f"finding   {finding.message}" for finding in result.findings]
    for request in result.waiting_for:
        where = f"--contract {os.path.relpath(CONTRACT)}"
        lines += [
            f"waits for {' or '.join(request.approvers)} to approve {request.dependency} {request.args}",
            f"  say yes: plimsoll approvals approve {request.request_id} --by {request.approvers[0]} {where}",
            f"  go on:   python -m examples.assistant --run {result.run_id}",
        ]
    return "\n".join(lines)


async def talk(prompt: str | None, run_id: str | None) -> RunResult:
    """One request in the shop that is kept beside the contract. With `run_id` alone, goes on with that run."""
    with open_shop() as shop:
        async with build(shop) as assistant:
            if prompt is None and run_id is not None:
                return await assistant.resume(run_id)
            return await assistant.run(prompt, run_id=run_id)


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m examples.assistant", description="Talk once to the assistant.")
    parser.add_argument("request", nargs="?", help="what the customer writes")
    parser.add_argument("--run", metavar="ID", help="the run's id; without a request, goes on with that run")
    options = parser.parse_args(arguments)
    if options.request is None and options.run is None:
        parser.error("write a request, or name a run to go on with")
    model = default_model()
    if isinstance(model, str):
        print(f"model     {model}")
    else:
        print(f"model     {model.model_name}: no language model; set {MODEL_VARIABLE} to use one")
    try:
        print(report(asyncio.run(talk(options.request, options.run))))
    except (ImportError, UserError, ValueError) as error:
        if isinstance(model, str):
            parser.exit(2, f"{error}\n{_REAL_MODELS}\n")
        raise


if __name__ == "__main__":
    main()
