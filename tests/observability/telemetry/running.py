"""Real servers for tests: started on a free port, waited for within bounds, and stopped."""

import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import venv
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

__all__ = ["Server", "asked", "installed", "mlflow_python", "running", "until"]

T = TypeVar("T")
MLFLOW = "mlflow==3.17.2"
_TRIES = 3


def until(look: Callable[[], T], *, within_s: float, every_s: float = 0.25) -> T:
    """What `look` brings once that is true. Fails the test where it is not within `within_s` seconds."""
    ends, pause = time.monotonic() + within_s, threading.Event()
    while True:
        found = look()
        if found or time.monotonic() > ends:
            assert found, f"not within {within_s:g} s; at last there was {found!r}"
            return found
        pause.wait(every_s)


def asked(url: str, body: Any = None) -> Any:
    """The JSON that a server answers; None where it answers none."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            text = answer.read()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text.decode() or "empty"


class Server:
    """A server that answers at `url`."""

    def __init__(self, url: str) -> None:
        self.url = url


@contextmanager
def running(
    command: Callable[[int], Sequence[str]], *, healthy: str, folder: Path, within_s: float
) -> Iterator[Server]:
    """The server that `command` starts on a port, once it answers at the path `healthy`."""
    for _ in range(_TRIES):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        log = folder / "server.log"
        with log.open("w") as out:
            process = subprocess.Popen(command(port), cwd=folder, stdout=out, stderr=out, start_new_session=True)
        try:
            server = Server(f"http://127.0.0.1:{port}")
            until(lambda s=server, p=process: p.poll() is not None or asked(s.url + healthy), within_s=within_s)
            if process.poll() is None:
                yield server
                return
        finally:
            _stopped(process)
    pytest.fail(log.read_text()[-3000:])


def _stopped(process: "subprocess.Popen[bytes]") -> None:
    """Ends a server, and whatever it has started."""
    if process.poll() is None:
        os.killpg(process.pid, 15)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        process.wait()


def installed(program: str) -> str:
    """Where `prometheus` or `promtool` is installed. Skips the test where it is not, except in CI."""
    found = shutil.which(program)
    if found is None and "CI" not in os.environ:
        pytest.skip(f"{program} is not installed (Debian: apt-get install prometheus)")
    assert found is not None, f"{program} is not installed"
    return found


def mlflow_python(folder: Path) -> str:
    """A Python with MLflow: what PLIMSOLL_MLFLOW names, or this one, or that of an environment made in `folder`."""
    named = os.environ.get("PLIMSOLL_MLFLOW")
    if named:
        return named
    if importlib.util.find_spec("mlflow") is not None:
        return sys.executable
    venv.create(folder, with_pip=True)
    python = str(folder / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", MLFLOW], check=True, stdout=sys.stderr, timeout=900)
    return python
