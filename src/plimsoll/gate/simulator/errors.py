"""What can go wrong in a simulation, as opposed to in what is simulated."""

from typing import Any, Literal

from plimsoll.core.errors import Misuse, OperationFailed

__all__ = [
    "NestedSimulation",
    "ProcessRefused",
    "RealWorldRefused",
    "SimulationDeadlock",
    "SimulationError",
    "SimulationStuck",
    "SocketRefused",
    "StuckKind",
    "VirtualTimeExceeded",
]

StuckKind = Literal["spinning", "blocked", "thread", "descriptor", "slow", "unstoppable"]

_ADVICE: dict[StuckKind, str] = {
    "spinning": "it goes round without ever waiting; give the loop in it something to wait for",
    "blocked": "synchronous code does not return; give the gate a stand-in for it, or raise patience_s",
    "thread": "a thread does not finish; use the default executor, which runs inline, or raise patience_s",
    "descriptor": "a real pipe or socket stays silent; give the gate a stand-in for what is behind it",
    "slow": "the trial as a whole takes too long in real time; raise wall_limit_s, or simulate less at once",
    "unstoppable": "it did not end after it was cancelled; let CancelledError through",
}


def _rebuild(cls: type[BaseException], args: tuple[Any, ...], state: dict[str, Any]) -> BaseException:
    error = cls.__new__(cls, *args)
    error.__dict__.update(state)
    return error


class _Portable(BaseException):
    """Pickled by its fields, so that a worker process can hand the error to its parent."""

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (type(self), self.args, self.__dict__)


class SimulationError(_Portable, OperationFailed):
    """The simulation could not be carried to its end: the trial says nothing about the agent."""


class SimulationDeadlock(SimulationError):
    """Every task waits, and nothing is left that could wake one.

    `now_s` is the virtual time; `tasks` has one line for each pending task: its name and where it waits.
    """

    def __init__(self, *, now_s: float, tasks: tuple[str, ...]) -> None:
        self.now_s = now_s
        self.tasks = tasks
        super().__init__(
            f"deadlock at {now_s:g} s of virtual time: no timer, thread or callback is left to wake up "
            f"{'; '.join(tasks) or 'a task'}. Put a timeout on what is waited for, or let something end it."
        )


class VirtualTimeExceeded(SimulationError):
    """The next thing to happen lies after the virtual limit, and the main task is not done.

    `limit_s` is that limit; `tasks` names the tasks that were pending when it was reached.
    """

    def __init__(self, *, limit_s: float, tasks: tuple[str, ...]) -> None:
        self.limit_s = limit_s
        self.tasks = tasks
        super().__init__(
            f"not done after {limit_s:g} s of virtual time: {'; '.join(tasks)}. "
            "Put a timeout on what it waits for, or raise limit_s."
        )


class SimulationStuck(SimulationError):
    """The simulation makes no progress in real time.

    `kind` is what it does instead: `spinning` (callbacks without end and the clock stands still), `blocked`
    (synchronous code that does not return), `thread`, `descriptor` (waiting for one), `slow` (the real-time
    limit of the whole) or `unstoppable` (tasks that ignore their cancellation). `where` says which code, as
    far as is known.
    """

    def __init__(self, kind: StuckKind, *, where: str, now_s: float) -> None:
        self.kind = kind
        self.where = where
        self.now_s = now_s
        super().__init__(f"stuck ({kind}) at {now_s:g} s of virtual time in {where}: {_ADVICE[kind]}.")


class RealWorldRefused(_Portable, Misuse):
    """Code under simulation reached for the real world."""


class SocketRefused(RealWorldRefused):
    """Code under simulation tried to use the network.

    `operation` is the function that was called; `host` is a name, an address or the path of a Unix socket,
    and empty where none was given; `port` is None where there is none.
    """

    def __init__(self, operation: str, *, host: str, port: int | str | None) -> None:
        self.operation = operation
        self.host = host
        self.port = port
        self.address = host if port is None else f"{host or '*'}:{port}"
        super().__init__(
            f"{operation} to {self.address} refused: a simulation has no network. "
            f"Give the gate a stand-in for what answers at {self.address}."
        )


class ProcessRefused(RealWorldRefused):
    """Code under simulation tried to start the process `program`."""

    def __init__(self, program: str) -> None:
        self.program = program
        super().__init__(
            f"starting {program} refused: a process runs in real time, which a simulation has none of. "
            f"Give the gate a stand-in for {program}."
        )


class NestedSimulation(_Portable, Misuse):
    """A simulation was started inside a running event loop, or while another one runs in this process."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}. Simulate one thing after the other, or in several processes.")
