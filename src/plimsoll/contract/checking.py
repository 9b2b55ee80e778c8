"""Contradictions and holes in a contract that can be read: what `plimsoll check` reports.

An **error** is something that cannot be meant: the contract contradicts itself, or a protection that it asks for would
protect nothing. A **warning** may be meant, and says what it leads to.
"""

import math
import pathlib
from collections.abc import Sequence

from plimsoll.contract.checking_alerts import check_alerts, check_levels
from plimsoll.contract.checking_connections import check_connections
from plimsoll.contract.checking_gateway import check_gateway
from plimsoll.contract.checking_guards import check_guards
from plimsoll.contract.checking_imports import check_imports
from plimsoll.contract.checking_local import check_local
from plimsoll.contract.checking_models import check_models
from plimsoll.contract.checking_tools import check_tools
from plimsoll.contract.holes import holes
from plimsoll.contract.loading import Source
from plimsoll.contract.model import Contract, DayLimits, Limits, Mode
from plimsoll.contract.notes import Notes
from plimsoll.contract.shapes import ToolShape
from plimsoll.core.errors import Problem

__all__ = ["check_contract"]


def check_contract(
    contract: Contract, *, source: Source | None = None, tools: Sequence[ToolShape] | None = None
) -> list[Problem]:
    """Everything that is doubtful in `contract`, in the order of its file.

    `source` is the text that it was read from, for the lines, and its file's folder is where its modules may lie; None:
    every problem is at line 1, and no module is looked for. `tools` are those that the agent really has; None: not
    known, rules are not compared with arguments, and no module is imported.
    """
    notes = Notes(source or Source("contract"))
    check_models(contract, notes)
    check_local(contract, notes, folder=None if source is None else pathlib.Path(source.file).parent)
    check_tools(contract, tools, notes)
    check_connections(contract, notes)
    check_gateway(contract, notes)
    folder = None if source is None else pathlib.Path(source.file).parent
    check_guards(contract, tools, notes, folder=folder)
    _check_names(contract, notes)
    _check_protections(contract, notes)
    check_alerts(contract.alerts, notes)
    check_levels(contract, notes)
    _check_day(contract.limits, notes)
    _check_gate(contract, notes)
    _check_holes(contract, notes)
    if folder is not None:
        check_imports(contract, notes, folder=folder, importing=tools is not None)
    return notes.listed()


def _check_names(contract: Contract, notes: Notes) -> None:
    for name in sorted(contract.models.keys() & contract.tools.keys()):
        notes.error(("tools", name), f"a model is called {name} too", "give each dependency a name of its own")


def _check_protections(contract: Contract, notes: Notes) -> None:
    for name in type(contract.protections).__struct_fields__:
        if getattr(contract.protections, name) is Mode.OBSERVE:
            what = "is not enforced: what it would have done is only reported"
            notes.warning(("protections", name), what, 'set it to "enforce" before shipping')


def _check_day(limits: Limits, notes: Notes) -> None:
    day = limits.day
    if day is None:
        return
    if day == DayLimits():
        notes.warning(("limits", "day"), "is empty: nothing is limited", "set usd, tokens or runs, or remove it")
    for name in ("usd", "tokens"):
        of_day, of_run = getattr(day, name), getattr(limits, name)
        if of_day is not None and of_day < of_run:
            what = f"is {of_day:g}, and a single run may use {of_run:g} (limits.{name}): one may end the day for all"
            notes.warning(("limits", "day", name), what, f"several times limits.{name}, or lower that")


def _check_gate(contract: Contract, notes: Notes) -> None:
    gate = contract.gate
    if gate.scenarios is None:
        notes.warning(("gate", "scenarios"), "is missing: the gate has nothing to try", "name a list of scenarios")
    needed = math.ceil(math.log(1 - gate.confidence) / math.log(gate.storm_target))
    if gate.storms < needed:
        what = f"{gate.storms} cannot show a target of {gate.storm_target:g}, even if all are survived"
        notes.warning(("gate", "storms"), what, f"at least {needed}, more when there are several claims")


def _check_holes(contract: Contract, notes: Notes) -> None:
    """What the gate would object to, unless it is accepted; and what is accepted for nothing, and would hide a hole."""
    needed = {"loose_limits", "untried_tools"}  # whether there is any shows only when the agent runs
    for hole in holes(contract):
        needed.add(hole.concession)
        if not contract.accepts(hole.concession):
            notes.warning(hole.path, hole.what, f"{hole.fix}; or accept {hole.concession} in [gate]")
    for index, name in enumerate(contract.gate.accepts):
        if name not in needed:
            what = f"nothing here needs {name}, so that it can only hide what is lowered later"
            notes.warning(("gate", "accepts", index), what, "remove it")
