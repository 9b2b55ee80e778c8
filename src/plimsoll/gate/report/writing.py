"""All reports of a verdict, written into one directory."""

import contextlib
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from plimsoll.gate.report.html import render_html
from plimsoll.gate.report.jsonfile import render_json
from plimsoll.gate.report.junit import render_junit
from plimsoll.gate.report.wording import failure_name
from plimsoll.gate.reproducing import encode_failure, failure_file
from plimsoll.gate.verdict import Verdict

__all__ = ["ReportPaths", "write_reports"]

_FAILURE_NAME = re.compile(r"\d{3,}-[a-z0-9-]+\.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportPaths:
    """Where the reports lie. `failures` has one file for each of the verdict's failures, in their order."""

    html: Path
    verdict: Path
    junit: Path
    failures_dir: Path
    failures: tuple[Path, ...]


def _write_atomically(path: Path, data: bytes) -> None:
    """Writes `path` so that a reader sees the old file or the new one, also after a crash."""
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            part.unlink()


def write_reports(
    verdict: Verdict,
    directory: Path,
    *,
    references: Mapping[str, str] | None = None,
    contract_path: str = "plimsoll.toml",
) -> ReportPaths:
    """Writes `report.html`, `junit.xml`, `failures/NNN-<what>.json` and, last, `verdict.json`.

    `references` and `contract_path` are how `plimsoll reproduce` finds the agent again; they go into the failure files.
    `directory` is made if need be. Failure files of an earlier verdict are removed, so that none is taken for this
    one's; nothing else is. Raises `OSError` when something cannot be written.
    """
    html, junit = render_html(verdict).encode(), render_junit(verdict).encode()
    document = render_json(verdict)
    failures_dir = directory / "failures"
    failures_dir.mkdir(parents=True, exist_ok=True)
    failures = tuple(
        failures_dir / failure_name(number, trial) for number, trial in enumerate(verdict.failures, start=1)
    )
    for path, trial in zip(failures, verdict.failures, strict=True):
        failure = failure_file(trial, verdict, references=references or {}, contract_path=contract_path)
        _write_atomically(path, encode_failure(failure))
    for old in failures_dir.iterdir():
        if old not in failures and _FAILURE_NAME.fullmatch(old.name):
            old.unlink()
    paths = ReportPaths(
        html=directory / "report.html",
        verdict=directory / "verdict.json",
        junit=directory / "junit.xml",
        failures_dir=failures_dir,
        failures=failures,
    )
    _write_atomically(paths.html, html)
    _write_atomically(paths.junit, junit)
    _write_atomically(paths.verdict, document)
    return paths
