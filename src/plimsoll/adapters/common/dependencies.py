"""The dependencies of an agent's runs: handed over, or made anew for each run by a function."""

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

from plimsoll.core.errors import RunParked
from plimsoll.core.events import Finding
from plimsoll.runtime.lineage import link_of
from plimsoll.runtime.run import Run

__all__ = ["Dependencies", "parked_without", "takes_deps", "with_deps"]

AGAIN_S = 60.0
"""After how long a run is gone on with that could not have what its tools need."""


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

    @contextmanager
    def during(self, run_id: str, deps: Any) -> Iterator[None]:
        """While a caller advances this run, `deps` are its dependencies; None: those given to all. None are kept."""
        if deps is None or run_id in self._of_runs:
            yield
            return
        self._of_runs[run_id] = deps
        try:
            yield
        finally:
            del self._of_runs[run_id]

    async def of(self, run: Run, *, had_own: bool = False) -> Any:
        """The run's dependencies. Where they cannot be made, nothing can be done, and the run waits.

        `had_own`: whoever began it gave it dependencies of its own.
        """
        first, _ = link_of(run.id)
        if first in self._of_runs:
            return self._of_runs[first]
        if had_own and self._given is None:
            raise _left_without(run)
        if not self._makes:
            return self._given
        try:
            made = self._given()
            return await made if inspect.isawaitable(made) else made
        except Exception as error:
            raise parked_without("the agent's dependencies could not be made", run, error, dependency="deps") from error


def parked_without(what: str, run: Run, error: Exception, *, dependency: str) -> RunParked:
    """Tells `what` a run cannot have that its tools need, and why. Returns what makes it wait, and be tried again."""
    fault = type(error).__name__
    _tell(run, f"{what} ({fault})", dependency=dependency, fault=fault)
    words = f"{what} ({fault}: {error}); nothing was done"
    return RunParked("dependencies", detail=words, until=run.state.env.clock.now() + AGAIN_S)


def _left_without(run: Run) -> RunParked:
    what = "its caller gave the run dependencies of its own, and is gone"
    _tell(run, what, dependency="deps")
    return RunParked("dependencies", detail=f"{what}; resume it with `deps`, or harden the agent with what makes them")


def _tell(run: Run, message: str, *, dependency: str, fault: str | None = None) -> None:
    finding = Finding(kind="no_dependencies", severity="critical", message=message, dependency=dependency, fault=fault)
    run.state.raise_finding(finding)


def _is_factory(deps: Any) -> bool:
    return inspect.isroutine(deps) or inspect.isclass(deps) or type(deps).__name__ == "partial"


def takes_deps(function: Callable[..., Any]) -> bool:
    """Whether a function, such as a `verify` or `compensate`, wants the run's dependencies."""
    try:
        return "deps" in inspect.signature(function).parameters
    except ValueError:  # a callable written in C
        return False


def with_deps(functions: Mapping[str, Callable[..., Any]], deps: Any) -> dict[str, Callable[..., Any]]:
    """The functions, those that want the run's dependencies with them."""
    return {name: partial(one, deps=deps) if takes_deps(one) else one for name, one in functions.items()}
