"""Checks of `[guards]`: that each has a model that knows its label, and can do what it is to do."""

import difflib
from collections.abc import Iterator, Sequence
from pathlib import Path as FilePath

import msgspec

from plimsoll.contract.model import Contract, GuardSection
from plimsoll.contract.notes import Notes
from plimsoll.contract.shapes import ToolShape
from plimsoll.contract.toml_places import Path
from plimsoll.core.calls import Effect

__all__ = ["REGISTRY", "check_guards", "guard_problems"]

REGISTRY = "registry:"
"""How the name of a model begins that is not a directory, but stands in a registry."""
_MANIFEST = "plimsoll-model.json"
_QUICK_S = 60.0
Found = tuple[Path, str, str]


class _Manifest(msgspec.Struct):
    """What is read here of a model's manifest; see `plimsoll.learning.manifest`."""

    kind: str
    labels: tuple[str, ...]


def check_guards(
    contract: Contract, tools: Sequence[ToolShape] | None, notes: Notes, *, folder: FilePath | None
) -> None:
    """Notes what is doubtful about the guards.

    `tools` are those that the agent has; None: not known. `folder` is the contract's own; None: no model is looked for.
    """
    known = None if tools is None else {tool.name for tool in tools}
    for name, guard in contract.guards.items():
        here: Path = ("guards", name)
        if name in contract.models or name in contract.tools:
            notes.error(here, f"a model or a tool is called {name} too", "give each dependency a name of its own")
        for path, what, fix in guard_problems(name, guard, contract):
            notes.error(path, what, fix)
        _check_doubtful(here, guard, notes)
        for field in ("tools", "unless_done"):
            _check_tools((*here, field), getattr(guard, field), contract, known, notes)
        if folder is not None and not guard.model.startswith(REGISTRY):
            _check_model(here, guard, folder / guard.model, notes)


def guard_problems(name: str, guard: GuardSection, contract: Contract) -> Iterator[Found]:
    """What cannot be meant, by the contract alone: the field, what is wrong with it, and what would be right."""
    here: Path = ("guards", name)
    if not guard.on:
        yield (*here, "on"), "is empty: it judges nothing", 'on = ["input", "tool_result", "output"], or some of them'
    if guard.action == "hand_over" and not any(approver.strip() for approver in guard.approvers):
        yield (*here, "approvers"), "names nobody, so that nobody could let a text pass", "name who may decide"
    if guard.action == "replace":
        if guard.replacement is None:
            yield (*here, "replacement"), "is missing: nothing could be put in the text's place", "write what is told"
        if "input" in guard.on:
            what = "cannot replace what the agent is asked: it would answer another question"
            yield (*here, "action"), what, 'action = "halt" or "hand_over"'
        changing = [tool for tool in guard.tools if contract.tool(tool).effect is not Effect.READ]
        if "tool_result" in guard.on and changing:
            what = f"would hide that {changing[0]} was carried out, and the agent might do it again"
            yield (*here, "action"), what, 'action = "halt", or a guard of its own for the tools that only read'


def _check_doubtful(here: Path, guard: GuardSection, notes: Notes) -> None:
    if guard.tools and "tool_result" not in guard.on:
        notes.warning((*here, "tools"), "no tool's result is judged", 'add "tool_result" to on, or remove it')
    if guard.unless_done and "output" not in guard.on:
        notes.warning((*here, "unless_done"), "no output is judged", 'add "output" to on, or remove it')
    if guard.replacement is not None and guard.action != "replace":
        notes.warning((*here, "replacement"), "is never told", 'action = "replace", or remove it')
    if guard.approvers and guard.action != "hand_over":
        notes.warning((*here, "approvers"), "are never asked", 'action = "hand_over", or remove it')
    if guard.action == "hand_over" and guard.expires_s < _QUICK_S:
        what = f"{guard.expires_s:g} s is too short for a person, and nobody answering means no"
        notes.warning((*here, "expires_s"), what, f"at least {_QUICK_S:g}")
    if guard.on_failure == "pass":
        what = "is pass: while the guard fails, nothing is guarded, and who can make it fail passes by it"
        notes.warning((*here, "on_failure"), what, 'remove it: "halt" is the safe one')


def _check_tools(here: Path, named: Sequence[str], contract: Contract, known: set[str] | None, notes: Notes) -> None:
    names = set(contract.tools) | (known or set())
    for index, tool in enumerate(named):
        if tool not in names or (known is not None and tool not in known):
            near = difflib.get_close_matches(tool, names, n=1)
            fix = f"did you mean {near[0]}?" if near else f"one of {', '.join(sorted(names)) or 'the agent’s tools'}"
            notes.error((*here, index), f"there is no tool {tool}", fix)


def _check_model(here: Path, guard: GuardSection, directory: FilePath, notes: Notes) -> None:
    file = directory / _MANIFEST
    try:
        manifest = msgspec.json.decode(file.read_bytes(), type=_Manifest)
    except FileNotFoundError:
        what = f"there is no {file}"
        notes.error((*here, "model"), what, "the directory of an export: `plimsoll learn export` writes one")
        return
    except (OSError, msgspec.DecodeError) as error:
        notes.error((*here, "model"), f"{file} cannot be read: {error}", "export the model anew")
        return
    if manifest.kind != "export":
        what = f"{directory} is of kind `{manifest.kind}`, and a guard is asked as an `export`"
        notes.error((*here, "model"), what, "`plimsoll learn export` makes one of a model")
    elif guard.label not in manifest.labels:
        near = difflib.get_close_matches(guard.label, manifest.labels, n=1)
        fix = f"did you mean {near[0]}?" if near else f"one of {', '.join(manifest.labels)}"
        notes.error((*here, "label"), f"its model knows no label {guard.label!r}", fix)
