"""What goes wrong with rows, weights and training: branches of the tree in `core/errors.py`."""

from plimsoll.core.errors import Misuse, OperationFailed

__all__ = [
    "DataError",
    "NotSure",
    "PromotionRefused",
    "RegistryError",
    "RegistryUnavailable",
    "ToolSchemaError",
    "TrainingFailed",
    "WeightsError",
]


class DataError(Misuse):
    """Rows that nothing can be learned from. `file` and `line` (from 1; 0: the whole file) are where."""

    def __init__(self, file: str, line: int, what: str) -> None:
        self.file = file
        self.line = line
        super().__init__(f"{file}:{line}: {what}" if line else f"{file}: {what}")


class WeightsError(Misuse):
    """A directory that holds no usable model. `directory` is which."""

    def __init__(self, directory: str, what: str) -> None:
        self.directory = directory
        super().__init__(f"{directory}: {what}")


class ToolSchemaError(Misuse):
    """A tool whose JSON Schema a model cannot be held to. `tool` is which; the message names the keyword."""

    def __init__(self, tool: str, what: str) -> None:
        self.tool = tool
        super().__init__(f"tool {tool}: {what}")


class TrainingFailed(OperationFailed):
    """A training that cannot go on. What it had reached by the end of its last whole epoch is kept."""


class RegistryError(Misuse):
    """What the registry does not have, or will not do."""


class PromotionRefused(RegistryError):
    """No verdict of the gate speaks for this model. The champion is who it was."""


class RegistryUnavailable(OperationFailed):
    """The registry did not answer, or its file cannot be used. What was fetched before is still there."""


class NotSure(OperationFailed):
    """A model of one's own had better not answer this. `probability` is how sure it was (None: it cannot say)."""

    def __init__(self, what: str, *, probability: float | None = None) -> None:
        self.probability = probability
        super().__init__(what)
