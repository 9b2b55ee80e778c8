"""The world outside: a process of its own that does what it is asked, and writes down everything that it did.

It serves one request after the other, in the order in which they came, and every effect is on its disk before it
answers. So whoever asks it after another process has died learns of all that the dead one had sent. It deduplicates
only what is sent as `once`; every other request that gets through is one more effect.

    python -m tests.proof.ledger FOLDER     # until its input ends
"""

import json
import os
import signal
import socketserver
import sys
from collections import Counter
from contextlib import suppress
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from threading import Thread
from typing import Any

Effect = tuple[str, str]
"""The tool, and the order that it was about."""

SOCKET = "ledger.socket"
FILE = "effects.jsonl"


class World:
    """The effects, and what must not happen any more: for a key, the sendings up to which it is fenced off."""

    def __init__(self, folder: Path) -> None:
        self._file = (folder / FILE).open("ab")
        self._done: dict[str, Any] = {}
        self._fences: dict[str, int] = {}
        self._count = 0
        self._strike: dict[str, Any] = {}

    def answer(self, request: dict[str, Any]) -> Any:
        """What a request is answered. What it did is on the disk by then."""
        match request["do"]:
            case "act":
                return self._act(request)
            case "find":
                return {"found": self._done.get(request["key"])}
            case "fence":
                self._fences[request["key"]] = max(request["sending"], self._fences.get(request["key"], 0))
                return {"found": self._done.get(request["key"])}
            case "strike":
                self._strike = request
                return {}
        return {"error": f"cannot {request['do']}"}

    def _act(self, request: dict[str, Any]) -> Any:
        key = request["key"]
        if request["sending"] <= self._fences.get(key, 0):
            return {"error": "it was promised that this request never happens"}
        if request["once"] and key in self._done:
            return self._done[key]
        self._strikes("before")
        self._count += 1
        row = {"tool": request["tool"], "order": request["order"], "key": key, "number": self._count}
        self._file.write(json.dumps(row).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self._done[key] = {"number": self._count}
        self._strikes("after")
        return self._done[key]

    def _strikes(self, moment: str) -> None:
        """Kills the process that it was told to kill, once it has come to the effect it was told."""
        strike = self._strike
        if strike.get("moment") != moment:
            return
        strike["nth"] -= 1
        if strike["nth"] == 0:
            self._strike = {}
            os.kill(strike["pid"], signal.SIGKILL)


class _Handler(socketserver.StreamRequestHandler):
    timeout = 10.0
    server: "_Server"

    def handle(self) -> None:
        line = self.rfile.readline()
        if not line.endswith(b"\n"):
            return  # whoever asked died over it
        answer = json.dumps(self.server.world.answer(json.loads(line))).encode() + b"\n"
        with suppress(ConnectionError):  # or over the answer
            self.wfile.write(answer)


class _Server(socketserver.UnixStreamServer):
    request_queue_size = 128

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        super().__init__(str(folder / SOCKET), _Handler)


class LedgerRefusal(Exception):
    """The ledger did not do what it was asked."""


def ask(folder: Path, **request: Any) -> Any:
    """Asks the ledger, and waits for its answer. Raises `LedgerRefusal`."""
    with socket(AF_UNIX, SOCK_STREAM) as channel:
        channel.connect(str(folder / SOCKET))
        channel.sendall(json.dumps(request).encode() + b"\n")
        with channel.makefile("rb") as answers:
            answer = json.loads(answers.readline())
    if "error" in answer:
        raise LedgerRefusal(answer["error"])
    return answer


def effects(folder: Path) -> Counter[Effect]:
    """Everything that was really done, from the ledger's disk."""
    rows = [json.loads(line) for line in (folder / FILE).read_text().splitlines()]
    return Counter((row["tool"], row["order"]) for row in rows)


def main() -> None:
    with _Server(Path(sys.argv[1])) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}).start()
        print("ready", flush=True)
        sys.stdin.read()  # until nobody needs it any more
        server.shutdown()


if __name__ == "__main__":
    main()
