"""What a policy's directory holds beside its encoder and the head that chooses the tool."""

from collections.abc import Mapping
from pathlib import Path

import msgspec

from plimsoll.core.errors import MissingExtra
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.policy.answers import Look
from plimsoll.learning.policy.pointing import LEAF_FEATURES, SPAN_FEATURES, Parameter, Pointer

try:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file, save_file
except ImportError as error:
    raise MissingExtra(error.name or "safetensors", extra="inference") from error

__all__ = [
    "ARGUMENTS",
    "SPEC",
    "Judged",
    "Spec",
    "ToolSpec",
    "load_pointers",
    "load_spec",
    "save_pointers",
    "save_spec",
]

SPEC = "policy.json"
ARGUMENTS = "arguments.safetensors"
Pointers = Mapping[str, tuple[tuple[Parameter, Pointer], ...]]


class Judged(msgspec.Struct, frozen=True, kw_only=True):
    """How well a policy decided on rows that it was not fitted on, abstaining or not: counts of decisions.

    `tool`: the right tool, or rightly the answer; `whole`: with exactly the arguments; `answered`: those that it was
    sure enough of, and `right` of them.
    """

    decisions: int
    tool: int
    whole: int
    answered: int
    right: int


class ToolSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A tool, or `answer`: how often it came next in what was learned from, from which probability it is decided on
    (None: never), what its results look like, its parameters in the order in which they are chosen (None: they could
    not be learned), and whether it `reads` alone: no call of it was to change anything."""

    rows: int
    bound: float | None
    look: Look | None
    parameters: tuple[Parameter, ...] | None
    reads: bool = False
    judged: Judged | None = None


class Spec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was learned beside the weights. `precision` is the share of decisions for each tool that is to be right:
    on validation rows it was, from the tool's bound on."""

    precision: float
    tools: dict[str, ToolSpec]
    templates: dict[str, str]
    conversations: int
    validation: Judged


def save_spec(directory: Path, spec: Spec) -> None:
    (directory / SPEC).write_bytes(msgspec.json.format(msgspec.json.encode(spec), indent=2) + b"\n")


def load_spec(directory: Path) -> Spec:
    """Raises `WeightsError`."""
    try:
        return msgspec.json.decode((directory / SPEC).read_bytes(), type=Spec)
    except (OSError, msgspec.DecodeError) as error:
        raise WeightsError(str(directory), f"its {SPEC} cannot be read: {error}") from error


def save_pointers(directory: Path, pointers: Pointers) -> None:
    tensors = {
        f"{tool}/{parameter.name}/{part}": getattr(pointer, part)
        for tool, found in pointers.items()
        for parameter, pointer in found
        for part in _PARTS
    }
    save_file(tensors, directory / ARGUMENTS)


def load_pointers(directory: Path, spec: Spec, *, dimensions: int) -> dict[str, tuple[tuple[Parameter, Pointer], ...]]:
    """The pointers of every tool that has any. Raises `WeightsError` where the two files do not fit together."""
    try:
        tensors = load_file(directory / ARGUMENTS)
        return {
            tool: tuple((each, _pointer(tensors, f"{tool}/{each.name}", each, dimensions)) for each in about.parameters)
            for tool, about in spec.tools.items()
            if about.parameters is not None
        }
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise WeightsError(str(directory), f"its {ARGUMENTS} does not fit its {SPEC}: {error}") from error


_PARTS = ("start", "end", "span", "leaf", "constants", "bias")


def _pointer(tensors: Mapping[str, object], name: str, parameter: Parameter, dimensions: int) -> Pointer:
    found = Pointer(**{part: tensors[f"{name}/{part}"] for part in _PARTS})
    others = len(parameter.constants) + 2
    wanted = (
        (dimensions,),
        (dimensions,),
        (SPAN_FEATURES,),
        (LEAF_FEATURES + len(parameter.paths),),
        (others, 2 * dimensions),
        (others,),
    )
    if tuple(getattr(found, part).shape for part in _PARTS) != wanted:
        raise ValueError(f"{name} has weights of other shapes")
    return found
