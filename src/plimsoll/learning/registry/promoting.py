"""Promoting: which version is the champion, by the gate's word alone; and back.

The alias `champion` is who serves. The history of champions stands in a tag beside it, and always goes first: it may
name one more than the alias has come to, after a promotion that was killed, but never one less. What lies behind the
alias' version in it has not happened.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import msgspec

from plimsoll.learning.errors import RegistryError
from plimsoll.learning.registry.fetching import cached, digest_of_version, is_proven
from plimsoll.learning.registry.references import CHAMPION
from plimsoll.learning.registry.tags import (
    CHAMPIONS,
    CONTRACT_DIGEST,
    FINGERPRINT,
    PROMOTED_AT,
    SUBJECT,
    VERDICT,
    VERDICT_AT,
    VERDICT_DIGEST,
    VERDICT_OF,
)
from plimsoll.learning.registry.tracking import Model, Tracking, Version
from plimsoll.learning.registry.verdicts import MAX_AGE_S, check_verdict, read_verdict

__all__ = ["Moved", "champions", "promote", "rollback"]

_MOST = 200
"""So many champions are remembered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The champion is version `now`; before, it was `before` (None: there was none)."""

    name: str
    now: int
    before: int | None


def promote(
    tracking: Tracking,
    version: Version,
    *,
    report: bytes,
    now: float,
    name: str = "the file",
    max_age_s: float = MAX_AGE_S,
) -> Moved:
    """Makes a version the champion, if the gate's `report` lets it: SHIP, of this model, no older than `max_age_s`.

    Its files are fetched and looked at. The report is kept with the version, then the history is written, then the
    alias moves: whatever kills it in between leaves the champion who it was, and the same promotion may be said again.
    `now` is in seconds since 1970; `name` is what the report is called in errors. Raises `PromotionRefused`.
    """
    verdict, digest = read_verdict(report, name=name), digest_of_version(version)
    check_verdict(verdict, digest=digest, now=now, max_age_s=max_age_s)
    cached(tracking, version)
    tags = {
        VERDICT: verdict.decision,
        VERDICT_OF: digest,
        VERDICT_DIGEST: verdict.digest,
        VERDICT_AT: verdict.made_at,
        SUBJECT: verdict.subject,
        FINGERPRINT: verdict.fingerprint,
        CONTRACT_DIGEST: verdict.contract_digest,
        PROMOTED_AT: datetime.fromtimestamp(now, UTC).isoformat(timespec="seconds"),
    }
    with tracking.alone():
        tracking.attach(version, f"verdicts/{verdict.digest}.json", report.decode(), tags=tags)
        past = champions(tracking.model(version.name))
        if past[-1:] != (version.number,):
            _remember(tracking, version.name, (*past, version.number))
            tracking.set_alias(version.name, CHAMPION, version.number)
    return Moved(name=version.name, now=version.number, before=past[-1] if past else None)


def rollback(tracking: Tracking, name: str) -> Moved:
    """Makes that version the champion which was it before. Versions that somebody has deleted are passed over.

    Raises `RegistryError` where there was none before, and as `cached` where its files are not as they were: then the
    champion is who it was.
    """
    with tracking.alone():
        model = tracking.model(name)
        past = champions(model)
        if not past:
            raise RegistryError(f"{name} has no champion in {tracking.place}: `plimsoll learn promote` makes one")
        there = {version.number: version for version in tracking.versions(name)}
        place = next((at for at in range(len(past) - 2, -1, -1) if _may_return(there.get(past[at]), past[-1])), None)
        if place is None:
            raise RegistryError(
                f"no champion that is still there came before {name}:{past[-1]}, so there is none to go back to. "
                "It stays; `plimsoll learn promote` makes another one the champion"
            )
        cached(tracking, there[past[place]])
        if _written(model) != past:
            _remember(tracking, name, past)
        tracking.set_alias(name, CHAMPION, past[place])
        _remember(tracking, name, past[: place + 1])
    return Moved(name=name, now=past[place], before=past[-1])


def champions(model: Model) -> tuple[int, ...]:
    """The versions that were champion, and last the one that is; none where none is."""
    champion, written = model.aliases.get(CHAMPION), _written(model)
    if champion is None:
        return ()
    if champion not in written:  # somebody else moved the alias, at the same moment or by hand
        return (*written, champion)
    return written[: len(written) - written[::-1].index(champion)]


def _may_return(version: Version | None, champion: int) -> bool:
    return version is not None and version.number != champion and is_proven(version)


def _written(model: Model) -> tuple[int, ...]:
    try:
        return msgspec.json.decode(model.tags.get(CHAMPIONS, "[]"), type=tuple[int, ...])
    except msgspec.DecodeError as error:
        raise RegistryError(
            f"the tag {CHAMPIONS} of {model.name} is no list of versions any more ({error}): write it anew in MLflow, "
            "the first champion first"
        ) from error


def _remember(tracking: Tracking, name: str, past: tuple[int, ...]) -> None:
    tracking.tag(name, CHAMPIONS, msgspec.json.encode(past[-_MOST:]).decode())
