"""How a policy is fitted, and what it reads of a conversation."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from plimsoll.core.errors import Misuse

__all__ = ["PolicyOptions"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PolicyOptions:
    """What is decided about a policy. Raises `Misuse` for what cannot be.

    `precision` (0.5 to 0.999): of its decisions for each tool this share is to be right, as far as the validation rows
    can tell; it abstains from others. 0.9 takes 8 right ones of a tool at least, 0.95 takes 18.
    `share` (0 to 0.5) of the conversations are for validation. What a request has beyond `max_tokens` is not read.
    `rejected` is the share of validation moments that may be taken for out of scope. `templates` say what is answered
    after a tool (Jinja2: `result`, `arguments`); the others' results are listed.
    """

    seed: int = 0
    precision: float = 0.9
    share: float = 0.2
    max_tokens: int = 256
    rejected: float = 0.01
    templates: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0.5 <= self.precision <= 0.999:
            raise Misuse(f"precision is {self.precision}; it lies between 0.5 and 0.999")
        if not 0 < self.share <= 0.5:
            raise Misuse(f"share is {self.share}; it is more than 0, and 0.5 at most")
        if not 0 < self.rejected <= 0.5:
            raise Misuse(f"rejected is {self.rejected}; it is more than 0, and 0.5 at most")
        if self.seed < 0 or not 3 <= self.max_tokens <= 512:
            raise Misuse("seed is not negative, and max_tokens 3 to 512")
