"""stamina and purgatory around a function, as their pages show; and with asyncio's own timeout and semaphore."""

import asyncio
from functools import wraps

import stamina
from cost import Asked, main
from purgatory import AsyncCircuitBreakerFactory


def retry_and_breaker(function: Asked) -> Asked:
    breakers = AsyncCircuitBreakerFactory(default_threshold=5, default_ttl=30)

    @stamina.retry(on=(ConnectionError, TimeoutError), attempts=3)
    @breakers("search")
    async def ask(question: str) -> str:
        return await function(question)

    return ask


def with_timeout_and_semaphore(function: Asked) -> Asked:
    places = asyncio.Semaphore(100)

    @wraps(function)
    async def bounded(question: str) -> str:
        async with places, asyncio.timeout(30.0):
            return await function(question)

    return retry_and_breaker(bounded)


if __name__ == "__main__":
    main({"retry_and_breaker": retry_and_breaker, "and_timeout_and_semaphore": with_timeout_and_semaphore})
