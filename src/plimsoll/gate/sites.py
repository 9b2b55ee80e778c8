"""Sites: the places in a trial where a fault may strike."""

from dataclasses import dataclass
from enum import StrEnum

from plimsoll.contract.model import Contract
from plimsoll.core.calls import CallKind, Effect
from plimsoll.gate.verdict import Injection

__all__ = [
    "ASKED",
    "CALLS",
    "SCENARIO_SITE",
    "Site",
    "SiteKind",
    "call_site",
    "dependency_of",
    "group_of",
    "is_part",
    "site_kind",
    "tool_of",
]

SCENARIO_SITE = "scenario"
_VERIFY, _COMMIT = ".verify", ".commit"
_GROUPS = {"append": "journal", "approval": "approvals", SCENARIO_SITE: "model itself"}


class SiteKind(StrEnum):
    """What kind of place a site is."""

    MODEL = "model"
    READ = "read"
    WRITE = "write"
    """A call with an effect: anything but a `read` in the contract."""
    COMMIT = "commit"
    """The commit of a call that is a transaction."""
    VERIFY = "verify"
    GUARD = "guard"
    """A guard that is asked about a text."""
    APPEND = "append"
    APPROVAL = "approval"
    SCENARIO = "scenario"


CALLS = frozenset({SiteKind.MODEL, SiteKind.READ, SiteKind.WRITE, SiteKind.COMMIT, SiteKind.VERIFY})
"""The kinds of site that are calls, or parts of one."""
ASKED = CALLS | {SiteKind.GUARD}
"""The kinds of site at which something outside the agent is asked."""
_PARTS = {_VERIFY: SiteKind.VERIFY, _COMMIT: SiteKind.COMMIT}


@dataclass(frozen=True, slots=True)
class Site:
    """A site by name, such as `issue_refund@3:issue_refund`.

    `batch` is how many events an append carried, `streamed` whether a model's answer came in parts.
    """

    name: str
    kind: SiteKind
    batch: int = 0
    streamed: bool = False


def dependency_of(site: str) -> str:
    """What stands before the `@`: a rung, a tool, `tool.verify`, `append`, `approval`, or `scenario`."""
    return site.partition("@")[0]


def group_of(injection: Injection) -> str:
    """The heat map's column: the dependency, `journal`, `approvals` or `model itself`."""
    dependency = dependency_of(injection.site)
    return _GROUPS.get(dependency, dependency)


def call_site(name: str, call_kind: CallKind, contract: Contract) -> Site | None:
    """The site of a call that was seen; None where no fault can strike: a canned answer asks nobody."""
    dependency = dependency_of(name)
    if is_part(dependency):
        return Site(name, _PARTS[dependency.removeprefix(tool_of(dependency))])
    if call_kind is CallKind.GUARD:
        return Site(name, SiteKind.GUARD)
    if call_kind is CallKind.MODEL:
        model = contract.models.get(dependency)
        return None if model is not None and not model.is_model else Site(name, SiteKind.MODEL)
    effect = contract.tool(dependency).effect
    return Site(name, SiteKind.READ if effect is Effect.READ else SiteKind.WRITE)


def site_kind(site: str, contract: Contract) -> SiteKind:
    """The kind of the site of that name."""
    dependency = dependency_of(site)
    if dependency in (SiteKind.APPEND, SiteKind.APPROVAL, SiteKind.SCENARIO):
        return SiteKind(dependency)
    if is_part(dependency):
        return _PARTS[dependency.removeprefix(tool_of(dependency))]
    if dependency in contract.guards:
        return SiteKind.GUARD
    if dependency in contract.models and dependency not in contract.tools:
        return SiteKind.MODEL
    return SiteKind.READ if contract.tool(dependency).effect is Effect.READ else SiteKind.WRITE


def is_part(dependency: str) -> bool:
    """Whether this is no call of its own, but a part of one: `tool.verify` or `tool.commit`."""
    return dependency.endswith((_VERIFY, _COMMIT))


def tool_of(dependency: str) -> str:
    """The tool itself, of `tool`, `tool.verify` or `tool.commit`."""
    return dependency.removesuffix(_VERIFY).removesuffix(_COMMIT)
