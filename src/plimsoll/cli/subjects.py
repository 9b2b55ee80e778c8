"""How the command line comes by a subject of the gate: references in, an agent on trial out."""

import dataclasses
import importlib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from plimsoll.adapters import adapter_of, harden
from plimsoll.adapters.common.guards import guards_of
from plimsoll.adapters.common.local import LocalModels
from plimsoll.cli.agents import entrypoint_of, load
from plimsoll.cli.command import explained
from plimsoll.contract.model import Contract
from plimsoll.core.errors import Misuse
from plimsoll.gate.scenario import Scenario
from plimsoll.gate.subject import Subject

__all__ = ["References", "scenarios_of", "subject_maker"]


@dataclass(frozen=True, slots=True, kw_only=True)
class References:
    """Where an agent on trial is found: `agent` hardened, or `bare` (a function) `through` the agent that it uses, or
    the command that runs a `remote` one."""

    agent: str | None = None
    bare: str | None = None
    through: str | None = None
    remote: str | None = None
    scenarios: str | None = None

    def as_json(self) -> dict[str, str]:
        """Those that were given, for a failure file."""
        return {name: value for name, value in dataclasses.asdict(self).items() if value is not None}

    @classmethod
    def of(cls, given: Mapping[str, str]) -> "References":
        """From a failure file. Raises `Misuse` for names that there are not."""
        known = {field.name for field in dataclasses.fields(cls)}
        if not given.keys() <= known:
            raise Misuse(
                f"the file refers to {', '.join(sorted(given.keys() - known))}, which this version cannot find"
            )
        return cls(**given)


def subject_maker(references: References, contract: Contract, *, folder: Path) -> Callable[[Contract], Subject]:
    """What makes the agent on trial, under any contract. Raises `Misuse` when it cannot be found.

    `folder` is the contract's, in which its models of its own, and those of its guards, are looked for. They are loaded
    once, however many subjects are made.
    """
    if references.bare is not None:
        if references.through is None:
            raise Misuse("--bare needs --through module:agent: the agent object that the function uses")
        function = load(references.bare)
        if not callable(function):
            raise Misuse(
                f"--bare {references.bare} is no function; it is called as `await function(input, deps=world)`"
            )
        agent = load(references.through)
        adapter, name = adapter_of(agent), references.bare
        return lambda promised: adapter.bare_subject(function, promised, agent=agent, name=name)
    if references.remote is not None:
        leaf: Any = importlib.import_module("plimsoll.services.gateway.remote")
        command = _words(references.remote)
        return lambda promised: leaf.remote_subject(command, promised)
    agent = load(entrypoint_of(contract, references.agent))
    adapter = adapter_of(agent)
    local = LocalModels(contract, {}, directory=folder).here()

    def made(promised: Contract) -> Subject:
        own = {name: model for name, model in local.items() if name in promised.models}
        guards = guards_of(promised, {}, directory=folder)
        subject: Subject = adapter.hardened_subject(harden(agent, promised, models=own, guards=guards))
        return subject

    return made


def _words(command: str) -> list[str]:
    try:
        return shlex.split(command)
    except ValueError as error:
        raise Misuse(f"--remote {command}: this is no command ({error})") from error


def scenarios_of(references: References, contract: Contract) -> list[Scenario]:
    """The scenarios, as given or as the contract names them. Raises `Misuse` when there are none."""
    path = references.scenarios or contract.gate.scenarios
    if path is None:
        raise Misuse('which scenarios? Give --scenarios module:list, or `scenarios = "module:list"` in [gate]')
    found: Any = load(path)
    with explained(f"making the scenarios by {path}"):
        scenarios = list(found() if callable(found) else found)
    if not scenarios or not all(isinstance(scenario, Scenario) for scenario in scenarios):
        raise Misuse(f"{path} is no list of plimsoll.gate.Scenario with at least one in it")
    names = [scenario.name for scenario in scenarios]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise Misuse(f"two scenarios are called {', '.join(twice)}; a failure could not be told apart")
    return scenarios
