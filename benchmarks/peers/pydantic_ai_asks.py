"""Pydantic AI's `FallbackModel` over both deployments, its clients without retries of their own, as its page says."""

from argparse import Namespace
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from asking import QUESTION, Ask, main
from openai import AsyncOpenAI
from pydantic_ai import Agent
from pydantic_ai.models.fallback import FallbackModel
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider


@asynccontextmanager
async def fallback_model(args: Namespace) -> AsyncIterator[Ask]:
    def model(deployment: str) -> OpenAIChatModel:
        url = f"{args.url}/{deployment}/v1"
        client = AsyncOpenAI(base_url=url, api_key="none", max_retries=0, timeout=args.timeout_s)
        return OpenAIChatModel("small", provider=OpenAIProvider(openai_client=client))

    agent = Agent(FallbackModel(model("a"), model("b")))

    async def ask() -> str:
        return (await agent.run(QUESTION)).output

    yield ask


if __name__ == "__main__":
    main({"pydantic_ai": fallback_model})
