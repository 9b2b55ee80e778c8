"""Telling: what is known of versions, as plain data for people and for JSON."""

from datetime import UTC, datetime

import msgspec

from plimsoll.learning.lineage import Lineage, read_lineage
from plimsoll.learning.registry.fetching import cached, digest_of_version
from plimsoll.learning.registry.tags import (
    BASE_DIGEST,
    CONTRACT_DIGEST,
    DATA_DIGEST,
    FINGERPRINT,
    KIND,
    METHOD,
    MODEL_DIGEST,
    PROMOTED_AT,
    RUNS,
    SEED,
    SUBJECT,
    VERDICT,
    VERDICT_AT,
)
from plimsoll.learning.registry.tracking import Tracking, Version

__all__ = ["ToldLineage", "ToldVersion", "lineage_of", "told_versions"]


class ToldVersion(msgspec.Struct, frozen=True, kw_only=True):
    """A version at a glance. `made_at` and the like are ISO 8601; what is not known is empty, or None."""

    name: str
    version: int
    aliases: tuple[str, ...]
    made_at: str
    digest: str
    kind: str
    method: str
    seed: str
    data_digest: str
    base_digest: str
    runs: int | None
    verdict: str
    verdict_at: str
    promoted_at: str
    subject: str
    fingerprint: str
    contract_digest: str
    metrics: dict[str, float]


class ToldLineage(msgspec.Struct, frozen=True, kw_only=True):
    """From a version back to its rows, and from them to runs. `lineage` None: its rows came without any file, or from
    what kept no lineage."""

    name: str
    version: int
    digest: str
    data_digest: str
    lineage: Lineage | None


def told_versions(tracking: Tracking, name: str) -> tuple[ToldVersion, ...]:
    """Every version of a model, the latest first. Raises `RegistryError` where there is no such model."""
    model = tracking.model(name)
    aliases = {
        number: tuple(sorted(alias for alias, named in model.aliases.items() if named == number))
        for number in model.aliases.values()
    }
    return tuple(_told(tracking, version, aliases.get(version.number, ())) for version in tracking.versions(name))


def _told(tracking: Tracking, version: Version, aliases: tuple[str, ...]) -> ToldVersion:
    tag = version.tags.get
    return ToldVersion(
        name=version.name,
        version=version.number,
        aliases=aliases,
        made_at=datetime.fromtimestamp(version.made_at, UTC).isoformat(timespec="seconds"),
        digest=tag(MODEL_DIGEST, ""),
        kind=tag(KIND, ""),
        method=tag(METHOD, ""),
        seed=tag(SEED, ""),
        data_digest=tag(DATA_DIGEST, ""),
        base_digest=tag(BASE_DIGEST, ""),
        runs=int(tag(RUNS, "")) if tag(RUNS, "").isdecimal() else None,
        verdict=tag(VERDICT, ""),
        verdict_at=tag(VERDICT_AT, ""),
        promoted_at=tag(PROMOTED_AT, ""),
        subject=tag(SUBJECT, ""),
        fingerprint=tag(FINGERPRINT, ""),
        contract_digest=tag(CONTRACT_DIGEST, ""),
        metrics=tracking.metrics(version) if version.run_id else {},
    )


def lineage_of(tracking: Tracking, version: Version) -> ToldLineage:
    """Where the rows of a version come from. Its model is fetched, so that what is said is what was registered."""
    data_digest = version.tags.get(DATA_DIGEST, "")
    return ToldLineage(
        name=version.name,
        version=version.number,
        digest=digest_of_version(version),
        data_digest=data_digest,
        lineage=read_lineage(cached(tracking, version), data_digest=data_digest),
    )
