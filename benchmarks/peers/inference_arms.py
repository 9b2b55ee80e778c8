"""What benchmarks/inference.py asks: each arm in a process of its own, which answers when it is its turn.

A process is told what to do by a line of JSON, and says in another how long it took:

    {"do": "answer", "texts": [...]}    seconds of each text, one at a time
    {"do": "rate", "texts": [...]}      texts per second at saturation

    python -m benchmarks.peers.inference_arms ARM MODEL EXPORT
"""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Protocol

import numpy as np

from plimsoll.core.clock import SystemClock

__all__ = ["ARMS", "Asked", "asking"]

CLIENTS, BATCH = 64, 32
MAX_TOKENS = 64


class Arm(Protocol):
    """Who is asked."""

    def prepared(self, text: str) -> Any:
        """What a client would have made of a text before it asks."""
        ...

    async def answer(self, prepared: Any) -> object:
        """What it says of one text."""
        ...

    async def rate(self, texts: Sequence[str]) -> float:
        """Texts per second at saturation."""
        ...


class Service:
    """Ours, asked through its ASGI application, with JSON in and out; 64 clients at saturation, a text each."""

    def __init__(self, app: Any) -> None:
        self._app = app

    def prepared(self, text: str) -> bytes:
        return json.dumps({"texts": [text]}).encode()

    async def answer(self, prepared: bytes) -> bytes:
        sent: list[Any] = []
        given = iter([{"type": "http.request", "body": prepared, "more_body": False}])

        async def receive() -> Any:
            return next(given, None) or await asyncio.Future()

        async def send(message: Any) -> None:
            sent.append(message)

        await self._app(SCOPE, receive, send)
        assert sent[0]["status"] == 200, sent
        return b"".join(message.get("body", b"") for message in sent[1:])

    async def rate(self, texts: Sequence[str]) -> float:
        left = iter([self.prepared(text) for text in texts])

        async def client() -> None:
            for body in left:
                await self.answer(body)

        began = perf_counter()
        await asyncio.gather(*(client() for _ in range(CLIENTS)))
        return len(texts) / (perf_counter() - began)


class Library:
    """A function of texts, as a library offers it; batches of 32 at saturation."""

    def __init__(self, ask: Callable[[Sequence[str]], object]) -> None:
        self._ask = ask

    def prepared(self, text: str) -> list[str]:
        return [text]

    async def answer(self, prepared: list[str]) -> object:
        return self._ask(prepared)

    async def rate(self, texts: Sequence[str]) -> float:
        began = perf_counter()
        for first in range(0, len(texts), BATCH):
            self._ask(texts[first : first + BATCH])
        return len(texts) / (perf_counter() - began)


class BareORT:
    """ONNX Runtime on the export, as somebody would write it in an afternoon."""

    def __init__(self, export: Path) -> None:
        import onnxruntime
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(export / "model.onnx", options, ["CPUExecutionProvider"])
        self._tokenizer = Tokenizer.from_file(str(export / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._head = load_file(export / "head.safetensors")

    def labels(self, texts: Sequence[str]) -> Any:
        if len(texts) > 1:
            self._tokenizer.enable_padding()
        encoded = self._tokenizer.encode_batch(list(texts)) if len(texts) > 1 else [self._tokenizer.encode(texts[0])]
        ids = np.array([each.ids for each in encoded], np.int64)
        mask = np.array([each.attention_mask for each in encoded], np.int64)
        self._tokenizer.no_padding()
        vectors = self._session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return _chosen(vectors, self._head)


def _chosen(vectors: Any, head: dict[str, Any]) -> Any:
    """The likeliest labels, with their probabilities."""
    logits = vectors @ head["weight"].T + head["bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits.argmax(axis=1), powers / powers.sum(axis=1, keepdims=True)


@asynccontextmanager
async def plimsoll(model: Path, export: Path) -> AsyncIterator[Arm]:
    """The service, living as a server would have it live."""
    from plimsoll.services.inference import DirectorySource, InferenceOptions, create_inference

    app = create_inference(DirectorySource(export), options=InferenceOptions(name="intents"), clock=SystemClock())
    told: asyncio.Queue[Any] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, told.get, said.put))
    for kind in ("startup", "shutdown"):
        await told.put({"type": f"lifespan.{kind}"})
        answered = await said.get()
        assert answered["type"] == f"lifespan.{kind}.complete", answered
        if kind == "startup":
            yield Service(app)
    await life


@asynccontextmanager
async def bare_ort(model: Path, export: Path) -> AsyncIterator[Arm]:
    """ONNX Runtime, and nothing around it."""
    yield Library(BareORT(export).labels)


@asynccontextmanager
async def sentence_transformers(model: Path, export: Path) -> AsyncIterator[Arm]:
    """The encoder in 32 bits by sentence-transformers, and the head."""
    import torch
    from safetensors.numpy import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer

    torch.set_num_threads(1)
    parts = Transformer(str(model / "encoder"), max_seq_length=MAX_TOKENS)
    pooling = Pooling(parts.get_embedding_dimension())
    sentences = SentenceTransformer(modules=[parts, pooling, Normalize()], device="cpu")
    head = load_file(model / "head.safetensors")
    yield Library(lambda texts: _chosen(sentences.encode(list(texts), batch_size=BATCH, show_progress_bar=False), head))


@asynccontextmanager
async def transformers(model: Path, export: Path) -> AsyncIterator[Arm]:
    """A pipeline of transformers, in 32 bits. Its head is not trained: it takes as long."""
    import torch
    from safetensors.numpy import load_file
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    torch.set_num_threads(1)
    encoder, labels = str(model / "encoder"), len(load_file(model / "head.safetensors")["bias"])
    labelled = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=labels)
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    classify = pipeline("text-classification", model=labelled, tokenizer=tokenizer, device="cpu")
    yield Library(lambda texts: classify(list(texts), batch_size=BATCH, truncation=True, max_length=MAX_TOKENS))


ARMS: dict[str, Callable[[Path, Path], AbstractAsyncContextManager[Arm]]] = {
    made.__name__: made for made in (plimsoll, bare_ort, sentence_transformers, transformers)
}
SCOPE = {
    "type": "http",
    "asgi": {"version": "3.0"},
    "http_version": "1.1",
    "method": "POST",
    "scheme": "http",
    "path": "/v1/classify",
    "raw_path": b"/v1/classify",
    "root_path": "",
    "query_string": b"",
    "headers": [(b"host", b"inference"), (b"content-type", b"application/json")],
    "client": ("127.0.0.1", 1),
    "server": ("inference", 80),
}


class Asked:
    """An arm's process, from the side that asks."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def answer(self, texts: Sequence[str]) -> list[float]:
        """Seconds of each text, one at a time."""
        took: list[float] = self._do("answer", texts)
        return took

    def rate(self, texts: Sequence[str]) -> float:
        """Texts per second at saturation."""
        rate: float = self._do("rate", texts)
        return rate

    def _do(self, what: str, texts: Sequence[str]) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(json.dumps({"do": what, "texts": list(texts)}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        assert line, "the process of an arm has ended"
        return json.loads(line)


@contextmanager
def asking(arm: str, model: Path, export: Path) -> Iterator[Asked]:
    """A process of that arm, until it is not needed any more."""
    command = [sys.executable, "-m", __name__, arm, str(model), str(export)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Asked(process)
        finally:
            process.kill()


async def main(name: str, model: Path, export: Path) -> None:
    """Does what it is told, line by line."""
    said = sys.stdout
    sys.stdout = sys.stderr  # what libraries print is no answer
    async with ARMS[name](model, export) as arm:
        for line in sys.stdin:
            told = json.loads(line)
            done = await (_took(arm, told["texts"]) if told["do"] == "answer" else arm.rate(told["texts"]))
            print(json.dumps(done), file=said, flush=True)


async def _took(arm: Arm, texts: Sequence[str]) -> list[float]:
    taken = []
    for prepared in [arm.prepared(text) for text in texts]:
        await asyncio.sleep(0)  # a server gives each request a turn of the loop
        began = perf_counter()
        await arm.answer(prepared)
        taken.append(perf_counter() - began)
    return taken


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])))
