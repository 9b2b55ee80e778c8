"""The arms that use the provider's own client: `bare`, without any policy, and `plimsoll`, with policies around it."""

from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from asking import QUESTION, Ask, main
from openai import AsyncOpenAI


def client(args: Namespace, deployment: str) -> AsyncOpenAI:
    url = f"{args.url}/{deployment}/v1"
    return AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=args.patience_s)


async def complete(model: AsyncOpenAI) -> str:
    reply = await model.chat.completions.create(model="small", messages=[{"role": "user", "content": QUESTION}])
    return reply.choices[0].message.content or ""


@asynccontextmanager
async def bare(args: Namespace) -> AsyncIterator[Ask]:
    async with client(args, "a") as model:
        yield lambda: complete(model)


@asynccontextmanager
async def plimsoll(args: Namespace) -> AsyncIterator[Ask]:
    from plimsoll.policies import (
        Bulkhead,
        CircuitBreaker,
        Fault,
        Hedge,
        ResiliencePipeline,
        RetryPolicy,
        check_text,
    )

    def policies(deployment: str, **more: Any) -> ResiliencePipeline:
        return ResiliencePipeline(
            deployment,
            hedge=Hedge(max_extra=0.045),
            bulkhead=Bulkhead(max_concurrent=100, max_queue=100),
            timeout_s=args.timeout_s,
            check=lambda answer: check_text(answer, finish_reason="stop", has_tool_calls=False),
            **more,
        )

    breaker = CircuitBreaker(
        slow_s=4 * args.base_s, slow_ratio=0.5, window=10, window_s=60 * args.base_s, open_s=15 * args.base_s
    )
    faults = (Fault.TIMEOUT, Fault.SERVER_ERROR, Fault.CONNECTION)
    first = policies("a", circuit_breaker=breaker)
    second = policies("b", retry=RetryPolicy(on=faults, max_attempts=4, base_s=args.base_s))
    async with client(args, "a") as model, client(args, "b") as backup:

        async def ask() -> str:
            try:
                return await first.call(complete, model)
            except Exception:
                return await second.call(complete, backup)

        yield ask


if __name__ == "__main__":
    main({"bare": bare, "plimsoll": plimsoll})
