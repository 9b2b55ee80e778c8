"""A model server that misbehaves as real ones do: OpenAI's chat completions over HTTP, on 127.0.0.1.

    python model_server.py --base-ms 20 --seed 7 --busy-every-s 72 --busy-s 1.2

It has two deployments, `/a/v1` and `/b/v1`. Of each, 2 % of the answers take 100 times as long as the others, 0.5 % are
errors (500, 502, 503, 529), and 0.2 % never come. `a` has busy minutes besides, in which everything takes five times
as long. What becomes of the nth request of a deployment follows from the seed. `POST /begin` begins the count and the
clock anew; `GET /served` tells how many requests there were. Standard library only.
"""

import asyncio
import json
import random
from argparse import ArgumentParser, Namespace
from time import monotonic

SPIKES, TIMES_SLOWER = 0.02, 100
ERRORS, STATUSES = 0.005, (500, 502, 503, 529)
HANGS = 0.002
SPREAD = 0.25
"""Of a healthy answer's time, as the standard deviation of its logarithm."""
BUSY_TIMES_SLOWER = 5

Reply = tuple[int, dict[str, object]]


class Models:
    """How both deployments behave, and what they have served."""

    def __init__(self, args: Namespace) -> None:
        self._args = args
        self.begin()

    def begin(self) -> None:
        """From now on, everything is as in every other run with this seed."""
        self._began_s = monotonic()
        self._rngs = {name: random.Random(f"{self._args.seed} {name}") for name in "ab"}
        self.served = {"a": 0, "b": 0}

    async def answer(self, deployment: str) -> Reply | None:
        """The answer, in its time; None: never."""
        self.served[deployment] += 1
        rng = self._rngs[deployment]
        fate, seconds = rng.random(), self._args.base_ms / 1e3 * rng.lognormvariate(0.0, SPREAD)
        status = rng.choice(STATUSES)
        if deployment == "a" and self._is_busy():
            seconds *= BUSY_TIMES_SLOWER
        if fate < HANGS:
            return None
        if fate < HANGS + ERRORS:
            await asyncio.sleep(seconds)
            return status, {"error": {"message": "The server had an error", "type": "server_error"}}
        if fate < HANGS + ERRORS + SPIKES:
            seconds *= TIMES_SLOWER
        await asyncio.sleep(seconds)
        return 200, _completion()

    def _is_busy(self) -> bool:
        since_s = (monotonic() - self._began_s) % self._args.busy_every_s
        return since_s >= self._args.busy_every_s / 2 and since_s < self._args.busy_every_s / 2 + self._args.busy_s


def _completion() -> dict[str, object]:
    message = {"role": "assistant", "content": "Your order is with the carrier and should be with you on Thursday."}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_780_000_000,
        "model": "small",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop", "logprobs": None}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 15, "total_tokens": 27},
    }


async def _serve(models: Models, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One connection: one request after the other, until the client leaves."""
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            length = next((int(line[15:]) for line in head.lower().splitlines() if line[:15] == "content-length:"), 0)
            await reader.readexactly(length)
            reply = await _reply(models, head.split(" ", 2)[1], reader)
            if reply is None:
                return
            body = json.dumps(reply[1]).encode()
            headers = f"HTTP/1.1 {reply[0]} x\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
            writer.write(headers.encode() + body)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        writer.close()


async def _reply(models: Models, path: str, reader: asyncio.StreamReader) -> Reply | None:
    """None: nobody is there any more."""
    if path == "/begin":
        models.begin()
        return 200, {}
    if path == "/served":
        return 200, dict(models.served)
    answering = asyncio.ensure_future(models.answer(path[1]))
    leaving = asyncio.ensure_future(reader.read(1))  # a client that waits says nothing: it has left
    await asyncio.wait([answering, leaving], return_when=asyncio.FIRST_COMPLETED)
    reply = answering.result() if answering.done() else None
    if reply is None and answering.done():
        await leaving  # it hangs
    for task in (answering, leaving):
        task.cancel()
    await asyncio.wait([answering, leaving])
    return reply


async def main() -> None:
    parser = ArgumentParser()
    parser.add_argument("--base-ms", type=float, required=True)
    parser.add_argument("--busy-every-s", type=float, required=True)
    parser.add_argument("--busy-s", type=float, required=True)
    parser.add_argument("--seed", type=int, default=0)
    models = Models(parser.parse_args())
    server = await asyncio.start_server(lambda reader, writer: _serve(models, reader, writer), "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
