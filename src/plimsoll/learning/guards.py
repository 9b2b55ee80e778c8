"""Guards of one's own: exports that judge texts, as an agent's contract names them. No PyTorch, no network.

A model reads so many tokens of a text and no more. So a long text is judged in parts that overlap, and what holds of
one part holds of the text: otherwise who begins with a long story would pass with what stands behind it.
"""

import asyncio
import hashlib
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from plimsoll.contract.model import Contract
from plimsoll.core.errors import MissingExtra, Misuse
from plimsoll.learning.classifier import TOKENIZER, Classifier
from plimsoll.learning.manifest import FILE
from plimsoll.learning.registry import located

try:
    from tokenizers import Tokenizer
except ImportError as error:
    raise MissingExtra(error.name or "tokenizers", extra="inference") from error

__all__ = ["MAX_CHARACTERS", "ClassifierGuard", "load_guard", "load_guards"]

MAX_CHARACTERS = 100_000
"""A longer text is not judged: it would take longer than anybody waits."""
_OVERLAP = 4
"""The share of a part, as its divisor, that it has in common with the next."""
_SPECIAL = 2
"""How many tokens of its own a tokenizer adds to a text."""
_KEPT = 1024


class ClassifierGuard:
    """A guard that is an export. Texts that it has judged lately are not judged again: they are known by digest."""

    def __init__(self, classifier: Classifier, tokenizer: Tokenizer, *, digest: str) -> None:
        self.digest = digest
        self.labels = classifier.manifest.labels
        self._classifier = classifier
        self._tokenizer = tokenizer
        self._known: OrderedDict[bytes, dict[str, float]] = OrderedDict()

    async def judge(self, text: str) -> Mapping[str, float]:
        """How likely each label is of the part of `text` that is likeliest to be of it. Raises `Misuse` for a text that
        is empty, or longer than 100,000 characters."""
        if len(text) > MAX_CHARACTERS:
            raise Misuse(f"the text has {len(text):,} characters; {MAX_CHARACTERS:,} are the most that are judged")
        name = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
        known = self._known.get(name)
        # What is known goes the same way: whether it is must not change in which order an agent's tasks take turns.
        judging = partial(self.judged, text) if known is None else known.copy
        self._known[name] = judged = await asyncio.get_running_loop().run_in_executor(None, judging)
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        return judged

    def judged(self, text: str) -> dict[str, float]:
        """The same, in this thread."""
        chances = self._classifier.probabilities(self.parts(text))
        return {label: float(chance) for label, chance in zip(self.labels, chances.max(axis=0), strict=True)}

    def parts(self, text: str) -> list[str]:
        """The text in parts of as many tokens as the model reads, each with a quarter of the one before."""
        clean = text.encode("utf-8", "replace").decode("utf-8")  # halves of surrogate pairs are no characters
        read = self._tokenizer.encode(clean)
        spans = [[span for span in part.offsets if span[1] > span[0]] for part in (read, *read.overflowing)]
        parts = [clean[part[0][0] : part[-1][1]] for part in spans if part]
        return [part for part in parts if part.strip()] or [clean]


def load_guards(
    contract: Contract, *, directory: Path | str = ".", names: Iterable[str] | None = None
) -> dict[str, ClassifierGuard]:
    """What judges for the contract's guards, by name, from the directory that its relative paths start in.

    `names` are those wanted; None: all. Raises `WeightsError`, naming what is wrong with a model, and `MissingExtra`.
    """
    wanted = contract.guards if names is None else names
    return {name: load_guard(contract.guards[name].model, base=Path(directory)) for name in wanted}


def load_guard(reference: str, *, base: Path) -> ClassifierGuard:
    """The guard of a directory, from `base` on, or of a model in the registry. Two of one model share it."""
    directory = located(reference, root=base)
    manifest = directory / FILE
    written = manifest.read_bytes() if manifest.is_file() else b""
    return _loaded(directory.resolve(), hashlib.sha256(written).hexdigest())


@lru_cache(maxsize=8)
def _loaded(directory: Path, digest: str) -> ClassifierGuard:
    classifier = Classifier.load(directory)
    tokenizer: Any = Tokenizer.from_file(str(directory / TOKENIZER))
    tokens = classifier.manifest.max_tokens
    tokenizer.enable_truncation(tokens, stride=max(0, (tokens - _SPECIAL) // _OVERLAP))
    tokenizer.no_padding()
    return ClassifierGuard(classifier, tokenizer, digest=digest)
