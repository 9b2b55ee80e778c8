"""A service, as a real server in a thread of its own, whose model can be held up."""

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest

from plimsoll.core.clock import SystemClock
from plimsoll.learning.classifier import Vectors
from plimsoll.learning.manifest import read_manifest, write_manifest
from plimsoll.services.inference import DirectorySource, InferenceOptions, create_inference
from tests.services.gateway.serving import served

TEXT = "please cancel my order"


def version_of(exported: Path, out: Path, **changed: float) -> Path:
    """The same model with another `threshold` or `temperature`."""
    shutil.copytree(exported, out)
    write_manifest(out, msgspec.structs.replace(read_manifest(out, kind="export"), **changed))
    return out


@contextmanager
def serving(directory: Path, **options: Any) -> Iterator[httpx2.Client]:
    """A client of a service of that model, called `intents`."""
    app = create_inference(
        DirectorySource(directory), options=InferenceOptions(name="intents", **options), clock=SystemClock()
    )
    with served(app) as url, httpx2.Client(base_url=url, timeout=30, trust_env=False) as client:
        yield client


class Held:
    """Holds whoever reads texts until it is let go. `entered` is set when somebody is held; `read` counts texts."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self._go = threading.Event(), threading.Event()
        self.read = 0
        embed_ids = Vectors.embed_ids

        def held(vectors: Vectors, rows: Any, **told: Any) -> Any:
            self.entered.set()
            assert self._go.wait(30)
            self.read += len(rows)
            return embed_ids(vectors, rows, **told)

        monkeypatch.setattr(Vectors, "embed_ids", held)

    def let_go(self) -> None:
        self._go.set()
