"""Models and verdicts that are made in no time, for tests of the registry."""

from pathlib import Path

import msgspec

from plimsoll.gate.report import render_json
from plimsoll.gate.verdict import Decision
from plimsoll.learning.curves import Curve, write_curves
from plimsoll.learning.lineage import JournalLineage, Source, write_sources
from plimsoll.learning.manifest import Manifest, Scores, digests, model_digest, write_manifest
from tests.gate.report.sample import SCENARIOS, make_cells, make_verdict

MADE_AT = "2026-03-14T09:26:53+00:00"
NOW = 1_773_480_413.0
"""The moment of `MADE_AT`, in seconds."""
WEIGHTS = (b"one", b"two", b"three")
LINEAGE = JournalLineage(
    journal="j" * 64, name="journal.db", agent=None, runs=("run-1", "run-2"), rows=2, left_out=0, rows_digest="1"
)
SOURCES = (Source(file="rows.jsonl", digest="1", lineage=LINEAGE), Source(file="more.csv", digest="2"))


def write_model(directory: Path, weights: bytes = b"weights") -> str:
    """A model's directory as an export leaves it, but for what its files hold; and its digest."""
    (directory / "encoder").mkdir(parents=True)
    (directory / "encoder" / "model.safetensors").write_bytes(weights)
    write_curves(directory, [Curve(1.0, 0.5, 0.7), Curve(2.0, 0.3, 0.9)])
    write_sources(directory, "data", SOURCES)
    write_manifest(
        directory,
        Manifest(
            kind="export",
            labels=("a", "b"),
            temperature=1.5,
            threshold=2.0,
            rejected=0.05,
            max_tokens=64,
            method="full",
            seed=3,
            epochs=2,
            balanced=True,
            trained_parameters=10,
            train_s=1.0,
            data_digest="data",
            base_digest="base",
            files=digests(directory),
            validation=Scores(rows=2, accuracy=0.9, calibration_error=0.1, rejected=0.0),
        ),
    )
    (directory / "README.md").write_text("# Model card\n")
    (directory / "notes.pkl").write_bytes(b"of nobody's business")
    return model_digest(directory)


def report(*digests: str, decision: Decision = Decision.SHIP, **changes: object) -> bytes:
    """The gate's verdict.json, with what it says of the models that were tried. `changes` are made in its JSON."""
    trials = len(SCENARIOS) + sum(cell.tried for cell in make_cells())
    written = msgspec.json.decode(render_json(make_verdict(decision, made_at=MADE_AT, trials=trials)))
    tried = {"local_models": {f"local-{number}": digest for number, digest in enumerate(digests)}}
    return msgspec.json.encode({**written, **tried, **changes})
