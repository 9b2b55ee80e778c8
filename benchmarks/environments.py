"""Environments of the peers: each in one of its own, installed once from PyPI, and kept."""

import hashlib
import os
import re
import subprocess
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path

__all__ = ["PEERS", "add_cache", "python_of"]

PEERS = Path(__file__).parent / "peers"


def add_cache(options: ArgumentParser) -> None:
    """The option that says where environments are kept."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    cache = Path(home) / "plimsoll-benchmarks"
    options.add_argument("--cache", type=Path, default=cache, help="where the peers' environments are kept")


def python_of(packages: Sequence[str], cache: Path) -> str:
    """The interpreter of an environment that has these packages, made where there is none. None: this very one."""
    if not packages:
        return sys.executable
    digest = hashlib.sha256(" ".join([sys.version, *packages]).encode()).hexdigest()[:12]
    name = re.split(r"[^\w.-]", packages[0])[0]
    folder = cache / f"{name}-{digest}"
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        print(f"Installing {', '.join(packages)} into {folder}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-qq", *packages], check=True)
        (folder / "ready").touch()
    return str(python)
