"""Learning curves as numbers: what each epoch of a training came to, in the model's directory."""

from collections.abc import Sequence
from pathlib import Path

import msgspec

from plimsoll.learning.errors import WeightsError

__all__ = ["FILE", "Curve", "read_curves", "write_curves"]

FILE = "curves.json"


class Curve(msgspec.Struct, frozen=True):
    """How an epoch ended. `loss` is the training rows', `accuracy` the validation rows'."""

    epoch: float
    loss: float
    accuracy: float


def write_curves(directory: Path, curves: Sequence[Curve]) -> None:
    """Writes them, before the manifest is made. Where there were no epochs, there is no file."""
    if curves:
        (directory / FILE).write_bytes(msgspec.json.encode(tuple(curves)) + b"\n")


def read_curves(directory: Path) -> tuple[Curve, ...]:
    """The curves of the model in `directory`; none where it was fitted without epochs. Raises `WeightsError`."""
    try:
        return msgspec.json.decode((directory / FILE).read_bytes(), type=tuple[Curve, ...])
    except FileNotFoundError:
        return ()
    except (OSError, msgspec.DecodeError) as error:
        raise WeightsError(str(directory), f"its {FILE} cannot be read: {error}") from error
