"""The dependencies of an agent's runs: handed over, or made anew for each run by a function."""

import inspect
from typing import Any

from plimsoll.core.errors import RunParked
from plimsoll.core.events import Finding
from plimsoll.runtime.run import Run

__all__ = ["Dependencies"]

AGAIN_S = 60.0
"""After how long a run is gone on with whose dependencies could not be made."""


class Dependencies:
    """What the tools of each run are given.

    `given` are the dependencies, or a function without parameters that makes them; `made` says that they are
    dependencies for certain, whatever they look like.
    """

    __slots__ = ("_given", "_makes", "_of_runs")

    def __init__(self, given: Any, *, made: bool = False) -> None:
        self._given = given
        self._makes = not made and _is_factory(given)
        self._of_runs: dict[str, Any] = {}

    def note(self, run_id: str, deps: Any) -> None:
        """`deps` are those of this run, as long as this process lives."""
        self._of_runs[run_id] = deps

    def forget(self, run_id: str) -> None:
        """The run is over."""
        self._of_runs.pop(run_id, None)

    async def of(self, run: Run) -> Any:
        """The run's dependencies. Where they cannot be made, nothing can be done, and the run waits."""
        if run.id in self._of_runs:
            return self._of_runs[run.id]
        if not self._makes:
            return self._given
        try:
            made = self._given()
            return await made if inspect.isawaitable(made) else made
        except Exception as error:
            raise _parked(run, error) from error


def _parked(run: Run, error: Exception) -> RunParked:
    words = f"the agent's dependencies could not be made ({type(error).__name__}: {error}); nothing was done"
    run.state.raise_finding(
        Finding(
            kind="no_dependencies",
            severity="critical",
            message=f"the agent's dependencies could not be made ({type(error).__name__})",
            dependency="deps",
            fault=type(error).__name__,
        )
    )
    return RunParked("dependencies", detail=words, until=run.state.env.clock.now() + AGAIN_S)


def _is_factory(deps: Any) -> bool:
    return inspect.isroutine(deps) or inspect.isclass(deps) or type(deps).__name__ == "partial"
