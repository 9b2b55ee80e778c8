"""Tenants: who may use the gateway, by which key, and how much of it at once.

A key is 256 random bits. So its plain SHA-256 is enough to keep: nobody can try so many keys, as they could passwords,
which is what slow hashes such as scrypt are for.
"""

import fcntl
import hashlib
import hmac
import os
import re
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from plimsoll.contract.model import GatewaySection
from plimsoll.core.clock import Clock
from plimsoll.core.errors import Misuse, RateLimited
from plimsoll.core.rng import secret_bytes
from plimsoll.policies.rate_limit import RateLimit, Throttle

__all__ = ["KeyFile", "Quotas", "check_tenant"]

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
_PREFIX = "plk_"
_KEY_BYTES = 32
_BUSY_RETRY_S = 1.0
_BURST_S = 10.0


class _Key(msgspec.Struct, frozen=True, kw_only=True):
    tenant: str
    sha256: str
    added_at: float


class _Keys(msgspec.Struct, frozen=True, kw_only=True):
    keys: tuple[_Key, ...] = ()


def check_tenant(name: str) -> None:
    """Raises `Misuse` for a name that is none."""
    if not _TENANT.fullmatch(name):
        raise Misuse(f"{name!r} is no tenant's name: up to 63 lower-case letters, digits and dashes, such as team-a")


class KeyFile:
    """The hashed keys of the tenants, in a file that only its owner can read. It is read again when it has changed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp: tuple[int, int, int] | None = None
        self._keys: tuple[_Key, ...] = ()

    def add(self, tenant: str, *, at: float) -> str:
        """A new key for `tenant`, which is told once: what is kept is its hash. Raises `Misuse`."""
        check_tenant(tenant)
        key = _PREFIX + urlsafe_b64encode(secret_bytes(_KEY_BYTES)).decode().rstrip("=")
        with self._changing():
            self._write((*self._read(), _Key(tenant=tenant, sha256=_hashed(key), added_at=at)))
        return key

    def remove(self, tenant: str) -> int:
        """Takes all keys of `tenant` away, and says how many there were. A gateway that runs heeds it at once."""
        with self._changing():
            keys = self._read()
            left = tuple(key for key in keys if key.tenant != tenant)
            self._write(left)
        return len(keys) - len(left)

    def tenants(self) -> dict[str, int]:
        """How many keys each tenant has."""
        found: dict[str, int] = {}
        for key in self._read():
            found[key.tenant] = found.get(key.tenant, 0) + 1
        return found

    def tenant_of(self, key: str) -> str | None:
        """Whose key this is; None where it is nobody's. Takes as long for any key of as many."""
        hashed = _hashed(key)
        found = None
        for known in self._current():
            if hmac.compare_digest(known.sha256, hashed):
                found = known.tenant
        return found

    def _current(self) -> tuple[_Key, ...]:
        try:
            status = self._path.stat()
        except OSError:
            self._stamp, self._keys = None, ()
            return ()
        stamp = (status.st_ino, status.st_mtime_ns, status.st_size)
        if stamp != self._stamp:
            self._keys, self._stamp = self._read(), stamp
        return self._keys

    def _read(self) -> tuple[_Key, ...]:
        try:
            return msgspec.json.decode(self._path.read_bytes(), type=_Keys).keys
        except FileNotFoundError:
            return ()
        except (OSError, msgspec.DecodeError) as error:
            raise Misuse(f"{self._path} cannot be read as a file of keys: {error}") from error

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Nobody else changes the file meanwhile, so that no key is lost that another process adds."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            folder = os.open(self._path.parent, os.O_RDONLY)
        except OSError as error:
            raise Misuse(f"{self._path} cannot be written: {error.strerror}") from error
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            yield
        finally:
            os.close(folder)

    def _write(self, keys: tuple[_Key, ...]) -> None:
        """Puts the new file in the old one's place at once, so that no reader sees half of it."""
        beside = self._path.with_name(f"{self._path.name}.new")
        try:
            beside.unlink(missing_ok=True)
            descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(msgspec.json.format(msgspec.json.encode(_Keys(keys=keys))))
                out.flush()
                os.fsync(out.fileno())
            beside.replace(self._path)
        except OSError as error:
            raise Misuse(f"{self._path} cannot be written: {error.strerror}") from error


class Quotas:
    """What each tenant sends: so many requests a minute, and so many at a time."""

    def __init__(self, section: GatewaySection, *, clock: Clock) -> None:
        self._section = section
        self._clock = clock
        self._throttles: dict[str, Throttle] = {}
        self._under_way: dict[str, int] = {}

    def take(self, tenant: str) -> None:
        """Counts one request that is under way from now on. Raises `RateLimited`."""
        under_way = self._under_way.get(tenant, 0)
        if under_way >= self._section.max_concurrent:
            raise RateLimited(tenant, retry_after_s=_BUSY_RETRY_S)
        throttle = self._throttle(tenant)
        wait_s = throttle.wait_s()
        if wait_s > 0:
            raise RateLimited(tenant, retry_after_s=wait_s)
        throttle.book()
        self._under_way[tenant] = under_way + 1

    def give_back(self, tenant: str) -> None:
        """A request that was counted is over."""
        self._under_way[tenant] -= 1

    def _throttle(self, tenant: str) -> Throttle:
        throttle = self._throttles.get(tenant)
        if throttle is None:
            rate = RateLimit(calls_per_minute=self._section.requests_per_minute, burst_s=_BURST_S)
            throttle = self._throttles[tenant] = Throttle(rate, dependency=tenant, clock=self._clock)
        return throttle


def _hashed(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()
