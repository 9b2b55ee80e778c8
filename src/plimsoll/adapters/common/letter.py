"""What a model is asked, to the letter: for whoever may give an answer once more, and to nobody whom it was not for."""

import hashlib
from typing import Any

from pydantic_core import to_jsonable_python

from plimsoll.core.canonical import canonical_json

__all__ = ["digest_of_all"]


def digest_of_all(asked: Any) -> str:
    """A digest of `asked`, with every field of whatever is in it. What has no JSON form counts by its `repr`, so that
    two things are rather taken for different than for the same."""
    written = canonical_json(to_jsonable_python(asked, fallback=repr, bytes_mode="base64", inf_nan_mode="strings"))
    return hashlib.sha256(written).hexdigest()
