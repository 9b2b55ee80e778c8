"""References: how a version of a registered model is named, in a contract, on the command line, in a service."""

import re
from dataclasses import dataclass

from plimsoll.learning.errors import RegistryError

__all__ = ["CANDIDATE", "CHAMPION", "PREFIX", "Reference", "checked_name", "is_reference"]

PREFIX = "registry:"
CHAMPION = "champion"
"""The alias of the version that serves: moved by a promotion alone."""
CANDIDATE = "candidate"
"""The alias of the version that was registered last."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_REFERENCE = re.compile(
    rf"(?:{PREFIX})?(?P<name>{_NAME.pattern})(?:@(?P<alias>[A-Za-z][A-Za-z0-9_-]{{0,99}})|:(?P<version>[1-9][0-9]{{0,8}}))?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A version by its `alias`, or (None) by its number `version`, from 1."""

    name: str
    alias: str | None = CHAMPION
    version: int | None = None

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """`NAME` (its champion), `NAME@ALIAS` or `NAME:VERSION`, with or without `registry:` before it.

        Raises `RegistryError`.
        """
        found = _REFERENCE.fullmatch(text)
        if found is None:
            raise RegistryError(
                f"{text!r} names no model of the registry: write NAME@{CHAMPION}, NAME@{CANDIDATE} or NAME:3, "
                "where NAME has letters, digits, dots, dashes and underscores"
            )
        if found["version"] is not None:
            return cls(name=found["name"], alias=None, version=int(found["version"]))
        return cls(name=found["name"], alias=found["alias"] or CHAMPION)

    def __str__(self) -> str:
        return f"{self.name}@{self.alias}" if self.alias is not None else f"{self.name}:{self.version}"


def is_reference(text: str) -> bool:
    """Whether a text means the registry, and no directory: it begins with `registry:`."""
    return text.startswith(PREFIX)


def checked_name(name: str) -> str:
    """The name. Raises `RegistryError` for one that no reference could hold."""
    if not _NAME.fullmatch(name):
        raise RegistryError(
            f"{name!r} is no name for a model: take letters, digits, dots, dashes and underscores, 100 at most"
        )
    return name
