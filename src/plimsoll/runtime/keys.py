"""Idempotency keys."""

import hashlib

__all__ = ["idempotency_key"]


def idempotency_key(run_id: str, key: str) -> str:
    """The key to hand to the dependency: a function of run and call alone, so the same on every attempt and replay."""
    return hashlib.sha256(f"{run_id}\x00{key}".encode()).hexdigest()[:32]
