"""LiteLLM's Router over both deployments: the faster is asked, what fails is retried at the other and cooled down."""

import logging
from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import litellm
from asking import QUESTION, Ask, main

litellm.telemetry = False
litellm.suppress_debug_info = True
logging.getLogger("LiteLLM Router").setLevel(logging.CRITICAL)
logging.getLogger("LiteLLM").setLevel(logging.CRITICAL)


@asynccontextmanager
async def router(args: Namespace) -> AsyncIterator[Ask]:
    def deployment(name: str) -> dict[str, object]:
        model = {"model": "openai/small", "api_base": f"{args.url}/{name}/v1", "api_key": "none"}
        return {"model_name": "small", "litellm_params": {**model, "timeout": args.timeout_s, "max_retries": 0}}

    made = litellm.Router(
        model_list=[deployment("a"), deployment("b")],
        routing_strategy="latency-based-routing",
        num_retries=3,
        allowed_fails=3,
        cooldown_time=30 * args.base_s,
        timeout=args.timeout_s,
    )

    async def ask() -> str:
        reply = await made.acompletion(model="small", messages=[{"role": "user", "content": QUESTION}])
        return str(reply.choices[0].message.content)

    yield ask


if __name__ == "__main__":
    main({"litellm": router})
