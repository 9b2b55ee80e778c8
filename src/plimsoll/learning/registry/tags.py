"""Tags: what stands beside a version in the registry, for everybody who looks at it there."""

__all__ = [
    "BASE_DIGEST",
    "CHAMPIONS",
    "CONTRACT_DIGEST",
    "DATA_DIGEST",
    "FINGERPRINT",
    "KIND",
    "LINEAGE_DIGEST",
    "METHOD",
    "MODEL_DIGEST",
    "PROMOTED_AT",
    "RUNS",
    "SEED",
    "SUBJECT",
    "VERDICT",
    "VERDICT_AT",
    "VERDICT_DIGEST",
    "VERDICT_OF",
]

MODEL_DIGEST = "plimsoll.model_digest"
"""SHA-256 of the manifest, which names the digests of the other files."""
KIND = "plimsoll.kind"
METHOD = "plimsoll.method"
SEED = "plimsoll.seed"
DATA_DIGEST = "plimsoll.data_digest"
BASE_DIGEST = "plimsoll.base_digest"
LINEAGE_DIGEST = "plimsoll.lineage_digest"
"""SHA-256 of `lineage.json`, where there is one."""
RUNS = "plimsoll.runs"
"""How many runs gave the rows."""

VERDICT = "plimsoll.verdict"
VERDICT_OF = "plimsoll.verdict_of"
"""The digest of the model that the verdict speaks for."""
VERDICT_DIGEST = "plimsoll.verdict_digest"
"""SHA-256 of the report, which is kept as `verdicts/<digest>.json` beside the model."""
VERDICT_AT = "plimsoll.verdict_at"
SUBJECT = "plimsoll.subject"
FINGERPRINT = "plimsoll.fingerprint"
CONTRACT_DIGEST = "plimsoll.contract_digest"
PROMOTED_AT = "plimsoll.promoted_at"

CHAMPIONS = "plimsoll.champions"
"""Of a registered model: the versions that became champion, the first one first, as JSON."""
