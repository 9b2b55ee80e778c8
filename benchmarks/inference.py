"""Asking a small classifier of one's own: the service's handler, sentence-transformers, transformers and ONNX Runtime.

The same encoder with the same head in every arm, on one thread each, in one process and in turns, so that all meet the
same machine. Ours is asked through its ASGI application, with JSON in and out and the network left out. Bare ONNX
Runtime runs the very export, with its tokenizer and its head, and nothing around them. The others have the weights in
32 bits, as they are used. At saturation, 64 clients ask ours, a text each; the others are given batches of 32.

Memory and start are of a process: ours from its beginning until /readyz answers, sentence-transformers until its first
answer.

    python -m benchmarks.inference [--data DIR] [--work DIR] [--quick] [--json] [--save]

Texts are those of CLINC150, where its folder is, and some of our own where it is not. The encoder is all-MiniLM-L6-v2,
with a head fitted on ten texts of each intent.
"""

import asyncio
import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np

from benchmarks.common import finish, parser, table
from benchmarks.transfer import QUIET, clinc, few
from plimsoll.core.clock import SystemClock
from plimsoll.learning.options import FitOptions, Method
from plimsoll.learning.rows import OUT_OF_SCOPE, Row, Rows

ONE_THREAD = {"OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
SHOTS, QUICK_LABELS = 10, 15
CLIENTS, BATCH = 64, 32
BLOCK = 20
"""So many texts of each arm in turn."""
OWN = {
    "refund": ("I want my money back", "please refund what I paid", "how do I return this for a refund"),
    "track": ("where is my parcel", "when does my order arrive", "has the package been shipped yet"),
    "cancel": ("please cancel my order", "I do not want it any more, stop the order", "undo what I ordered today"),
    "address": ("I moved, change my address", "send it to my office instead", "the street in my account is wrong"),
    "invoice": ("I need an invoice for taxes", "the bill has a wrong name on it", "send me the receipt once more"),
}
Arm = Callable[[str], Awaitable[object]]


def rows_of(args: Namespace) -> Rows:
    """What the head is fitted on, and asked."""
    folder = args.data or Path(os.environ.get("PLIMSOLL_REALDATA", ".")) / "clinc150"
    if not (folder / "data_full.json").exists():
        return Rows.of([Row(text, label) for label, texts in OWN.items() for text in texts], share=0.34)
    rows = few(clinc(folder, share=10), SHOTS, 0)
    if not args.quick:
        return rows
    some = {OUT_OF_SCOPE, *rows.labels[:: len(rows.labels) // QUICK_LABELS]}
    kept = (tuple(row for row in split if row.label in some) for split in (rows.train, rows.validation, rows.test))
    train, validation, test = kept
    return Rows.of(train, validation=validation, test=test)


def exported(rows: Rows, work: Path) -> tuple[Path, Path]:
    """The model and its export in 8 bits: those that are there, or new ones."""
    from plimsoll.learning.encoder import default_weights
    from plimsoll.learning.export import export
    from plimsoll.learning.transfer import fit

    model, out = work / "model", work / "export"
    if not model.exists():
        options = FitOptions(method=Method.HEAD)
        fit(rows, encoder=default_weights(), out=model, options=options, clock=SystemClock())
    if not out.exists():
        export(model, rows=rows, out=out)
    return model, out


async def asked(app: Any, body: bytes) -> bytes:
    """The service's answer to a request, from its ASGI application."""
    sent: list[Any] = []
    given = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> Any:
        return next(given, None) or await asyncio.Future()

    async def send(message: Any) -> None:
        sent.append(message)

    await app(SCOPE, receive, send)
    assert sent[0]["status"] == 200, sent
    return b"".join(message.get("body", b"") for message in sent[1:])


@asynccontextmanager
async def living(app: Any) -> AsyncIterator[None]:
    """The application's life, as a server leads it."""
    told: asyncio.Queue[Any] = asyncio.Queue()
    said: asyncio.Queue[Any] = asyncio.Queue()
    life = asyncio.create_task(app({"type": "lifespan", "asgi": {"version": "3.0"}, "state": {}}, told.get, said.put))
    for kind in ("startup", "shutdown"):
        await told.put({"type": f"lifespan.{kind}"})
        answered = await said.get()
        assert answered["type"] == f"lifespan.{kind}.complete", answered
        if kind == "startup":
            yield
    await life


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


class BareORT:
    """ONNX Runtime on the export, as somebody would write it in an afternoon."""

    def __init__(self, export: Path) -> None:
        import onnxruntime
        from safetensors.numpy import load_file
        from tokenizers import Tokenizer

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(export / "model.onnx", options, ["CPUExecutionProvider"])
        self.tokenizer = Tokenizer.from_file(str(export / "tokenizer.json"))
        self.tokenizer.enable_truncation(64)
        self.head = load_file(export / "head.safetensors")

    def labels(self, texts: Sequence[str]) -> Any:
        if len(texts) > 1:
            self.tokenizer.enable_padding()
        encoded = self.tokenizer.encode_batch(list(texts)) if len(texts) > 1 else [self.tokenizer.encode(texts[0])]
        ids = np.array([each.ids for each in encoded], np.int64)
        mask = np.array([each.attention_mask for each in encoded], np.int64)
        self.tokenizer.no_padding()
        vectors = self.session.run(None, {"input_ids": ids, "attention_mask": mask})[0]
        return chosen(vectors, self.head)


def chosen(vectors: Any, head: dict[str, Any]) -> Any:
    """The likeliest labels, with their probabilities."""
    logits = vectors @ head["weight"].T + head["bias"]
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return logits.argmax(axis=1), powers / powers.sum(axis=1, keepdims=True)


def peers(model: Path, export: Path) -> dict[str, Callable[[Sequence[str]], object]]:
    """Each of the others as a function of texts."""
    import torch
    from safetensors.numpy import load_file
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling, Transformer
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, pipeline

    torch.set_num_threads(1)
    encoder, head = str(model / "encoder"), load_file(model / "head.safetensors")
    parts = Transformer(encoder, max_seq_length=64)
    pooling = Pooling(parts.get_embedding_dimension())
    sentences = SentenceTransformer(modules=[parts, pooling, Normalize()], device="cpu")
    labelled = AutoModelForSequenceClassification.from_pretrained(encoder, num_labels=len(head["bias"]))
    classify = pipeline(
        "text-classification", model=labelled, tokenizer=AutoTokenizer.from_pretrained(encoder), device="cpu"
    )
    bare = BareORT(export)
    return {
        "bare_ort": bare.labels,
        "sentence_transformers": lambda texts: chosen(
            sentences.encode(list(texts), batch_size=BATCH, show_progress_bar=False), head
        ),
        "transformers": lambda texts: classify(list(texts), batch_size=BATCH, truncation=True, max_length=64),
    }


async def one_by_one(arms: dict[str, Arm], texts: Sequence[str]) -> dict[str, list[float]]:
    """Milliseconds of each answer. The arms take turns, a block of texts each."""
    taken: dict[str, list[float]] = {name: [] for name in arms}
    for first in range(0, len(texts), BLOCK):
        for name, ask in arms.items():
            for text in texts[first : first + BLOCK]:
                await asyncio.sleep(0)  # a server gives each request a turn of the loop
                began = perf_counter()
                await ask(text)
                taken[name].append(1e3 * (perf_counter() - began))
    return taken


async def saturated(app: Any, bodies: Sequence[bytes]) -> float:
    """Texts per second that the service answers to 64 clients at once, a text each."""
    left = iter(bodies)

    async def client() -> None:
        for body in left:
            await asked(app, body)

    began = perf_counter()
    await asyncio.gather(*(client() for _ in range(CLIENTS)))
    return len(bodies) / (perf_counter() - began)


def in_batches(ask: Callable[[Sequence[str]], object], texts: Sequence[str]) -> float:
    """Texts per second of an arm that is given batches."""
    began = perf_counter()
    for first in range(0, len(texts), BATCH):
        ask(texts[first : first + BATCH])
    return len(texts) / (perf_counter() - began)


def body_of(text: str) -> bytes:
    return json.dumps({"texts": [text]}).encode()


async def measured(model: Path, export: Path, texts: Sequence[str], rounds: int) -> dict[str, float]:
    from plimsoll.services.inference import DirectorySource, InferenceOptions, create_inference

    others = peers(model, export)
    app = create_inference(DirectorySource(export), options=InferenceOptions(name="intents"), clock=SystemClock())
    async with living(app):
        arms: dict[str, Arm] = {"plimsoll": lambda text: asked(app, body_of(text))}
        arms |= {name: _alone(ask) for name, ask in others.items()}
        await one_by_one(arms, texts[:BLOCK])  # none of them is cold
        taken = await one_by_one(arms, texts)
        rates = {name: [] for name in arms}  # type: dict[str, list[float]]
        for _ in range(rounds):
            rates["plimsoll"].append(await saturated(app, [body_of(text) for text in texts]))
            for name, ask in others.items():
                rates[name].append(in_batches(ask, texts))
    result: dict[str, float] = {}
    for name, each in taken.items():
        for quantile in (50, 99):
            result[f"{name}_p{quantile}_ms"] = round(float(np.percentile(each, quantile)), 3)
        result["texts_per_s" if name == "plimsoll" else f"{name}_texts_per_s"] = round(float(np.median(rates[name])), 1)
    return result


def _alone(ask: Callable[[Sequence[str]], object]) -> Arm:
    async def alone(text: str) -> object:
        return ask([text])

    return alone


STARTED = """
import sys
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
parts = Transformer(sys.argv[1])
sentences = SentenceTransformer(modules=[parts, Pooling(parts.get_embedding_dimension())], device="cpu")
sentences.encode(["where is my parcel"])
print("ready", flush=True)
sys.stdin.read()
"""


@contextmanager
def process(command: Sequence[str], ready: str) -> Iterator[tuple[int, float]]:
    """A process that has said that it is ready: its id, and how many seconds that took."""
    began = perf_counter()
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout"), subprocess.PIPE)
    with subprocess.Popen(command, **pipes, stderr=subprocess.STDOUT, text=True) as started:
        assert started.stdout is not None
        while ready not in (line := started.stdout.readline()):
            assert line, f"{command} has ended"
        yield started.pid, perf_counter() - began
        started.kill()


def rss_mb(pid: int) -> float:
    told = Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in told.splitlines() if line.startswith("VmRSS")).split()[1]) / 1024


def starts(model: Path, export: Path) -> dict[str, float]:
    """Memory and start of a process of ours, which listens when it is ready, and of sentence-transformers."""
    ours = [sys.executable, "-m", "plimsoll", "inference", str(export), "--port", "0"]
    theirs = [sys.executable, "-c", STARTED, str(model / "encoder")]
    result = {}
    for prefix, command, ready in (("", ours, "running on"), ("sentence_transformers_", theirs, "ready")):
        with process(command, ready) as (pid, seconds):
            result |= {f"{prefix}rss_mb": round(rss_mb(pid), 1), f"{prefix}ready_s": round(seconds, 2)}
    return result


def show(result: dict[str, Any]) -> None:
    heading = ("", "p50, ms", "p99, ms", "texts/s at saturation", "memory, MB", "ready after, s")
    lines = [heading]
    for name in ("plimsoll", "bare_ort", "sentence_transformers", "transformers"):
        prefix = "" if name == "plimsoll" else f"{name}_"
        figures = [result.get(f"{name}_p50_ms"), result.get(f"{name}_p99_ms")]
        figures += [result.get(f"{prefix}{figure}") for figure in ("texts_per_s", "rss_mb", "ready_s")]
        lines.append((name, *("" if figure is None else f"{figure:,}" for figure in figures)))
    table(f"{result['texts']} texts, {result['labels']} labels", lines)


def main() -> int:
    options = parser(__doc__ or "")
    options.add_argument("--data", type=Path, help="the folder of CLINC150; the default is in $PLIMSOLL_REALDATA")
    options.add_argument("--work", type=Path, help="where the model is kept; the default is taken away at the end")
    args = options.parse_args()
    for name, value in {**QUIET, **ONE_THREAD}.items():
        os.environ.setdefault(name, value)  # before the libraries are imported
    rows = rows_of(args)
    texts = [row.text for row in (rows.test or rows.train)]
    count = 100 if args.quick else 400
    texts = (texts * (1 + count // len(texts)))[:count]
    with TemporaryDirectory() as scratch:
        work = args.work or Path(scratch)
        work.mkdir(parents=True, exist_ok=True)
        model, export = exported(rows, work)
        started = starts(model, export)
        found = asyncio.run(measured(model, export, texts, 1 if args.quick else 3))
    result = {
        **found,
        **started,
        "faster_than_sentence_transformers": round(found["sentence_transformers_p50_ms"] / found["plimsoll_p50_ms"], 2),
        "over_bare_ort": round(found["plimsoll_p50_ms"] / found["bare_ort_p50_ms"] - 1, 3),
        "texts": len(texts),
        "labels": len(rows.labels),
    }
    show(result)
    finish("inference", args, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
