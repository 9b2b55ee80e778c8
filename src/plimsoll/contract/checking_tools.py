"""Checks of `[tools]`: effects, approvals, rules, and whether the agent has these tools at all."""

import difflib
from collections.abc import Sequence

from plimsoll.contract.argument_kinds import argument_facts, argument_names
from plimsoll.contract.checking_connections import COMPENSATE
from plimsoll.contract.checking_models import check_retry, check_slow
from plimsoll.contract.checking_policies import check_policies
from plimsoll.contract.converting import check_pattern
from plimsoll.contract.expressions import Rule, RuleSyntaxError, RuleUndecided, compile_rule
from plimsoll.contract.model import Approval, Contract, Tool
from plimsoll.contract.notes import Notes
from plimsoll.contract.rule_types import ANY, KindClash, Kinds, check_kinds
from plimsoll.contract.shapes import ToolShape, guess_effect
from plimsoll.contract.toml_places import Path
from plimsoll.core.calls import Effect

__all__ = ["check_tools"]

_QUICK_S = 60.0
_PROVE_NOTHING = frozenset({"CallTimeout", "TimeoutError", "CancelledError", "OutputRejected", "Exception"})
"""Errors after which the effect may have happened, or may happen yet, whatever the tool is."""


def check_tools(contract: Contract, shapes: Sequence[ToolShape] | None, notes: Notes) -> None:
    """Notes what is doubtful about the tools. `shapes` are those that the agent has; None: not known."""
    known = {shape.name: shape for shape in shapes or ()}
    for name, tool in contract.tools.items():
        here: Path = ("tools", name)
        _check_effect(here, tool, notes)
        _check_time(here, tool, contract.limits.seconds, notes)
        check_policies(here, tool, notes)
        _check_rules(here, tool, known.get(name), notes)
        _check_output(here, tool, notes)
        if tool.approval is not None:
            _check_approval((*here, "approval"), tool.approval, notes)
        if shapes is not None and not name.endswith(COMPENSATE):
            _check_declared(here, name, tool, known, notes)
    for name in known:
        if name not in contract.tools:
            what = "the agent has this tool, and nothing is decided about it: it is taken for a write"
            notes.warning(("tools", name), what, "declare its effect")


# ------------------------------------------------------------------------------------------------------- effects


def _check_effect(here: Path, tool: Tool, notes: Notes) -> None:
    if tool.retry is not None:
        check_retry((*here, "retry"), tool.retry, notes)
        if tool.effect is Effect.WRITE:
            _check_write_retry((*here, "retry"), tool, notes)
    for error in sorted(_PROVE_NOTHING.intersection(tool.proves_nothing_happened)):
        what = f"{error} proves nothing: what timed out, broke off or answered badly may have happened all the same"
        notes.error((*here, "proves_nothing_happened"), what, "name errors by which the tool itself refuses")
    for name in ("verify", "claims"):
        if tool.effect is Effect.READ and getattr(tool, name):
            notes.warning((*here, name), "a read has no effect that could be in doubt", "remove it, or correct effect")


def _check_write_retry(here: Path, tool: Tool, notes: Notes) -> None:
    if not tool.proves_nothing_happened:
        what = "a write is retried only after an error that proves that nothing happened, and none is named"
        fix = (
            "name the exception classes in proves_nothing_happened; "
            'or effect = "idempotent" if the dependency deduplicates by idempotency key; or remove the retry'
        )
        notes.error(here, what, fix)


def _check_time(here: Path, tool: Tool, seconds: float, notes: Notes) -> None:
    if tool.timeout_s > seconds:
        what = f"is {tool.timeout_s:g} s, and a run has {seconds:g} s in all (limits.seconds)"
        notes.warning((*here, "timeout_s"), what, f"at most {seconds:g}")
    check_slow((*here, "slow_s"), tool.slow_s, tool.timeout_s, notes)


def _check_output(here: Path, tool: Tool, notes: Notes) -> None:
    output = tool.output
    if output.required and output.type not in (None, "object"):
        what = f"has keys, and the type is {output.type}"
        notes.error((*here, "output", "required"), what, 'type = "object", or remove it')
    if output.pattern is not None:
        if output.type not in (None, "string"):
            what = f"is for texts, and the type is {output.type}"
            notes.error((*here, "output", "pattern"), what, 'type = "string", or remove it')
        check_pattern(output.pattern, (*here, "output", "pattern"), notes.error)
    if output.fresh is not None and output.type not in (None, "object"):
        what = f"looks for the date in a key, and the type is {output.type}"
        notes.error((*here, "output", "fresh"), what, 'type = "object", or remove it')


# ----------------------------------------------------------------------------------------------------- approvals


def _check_approval(here: Path, approval: Approval, notes: Notes) -> None:
    if not any(approver.strip() for approver in approval.approvers):
        what = "names nobody, so that every call that needs approval is refused"
        notes.error((*here, "approvers"), what, "name who may decide; or write the rule as refuse_when")
    if approval.expires_s < _QUICK_S:
        what = f"{approval.expires_s:g} s is too short for a person, and nobody answering means no"
        notes.warning((*here, "expires_s"), what, f"at least {_QUICK_S:g}")


def _check_rules(here: Path, tool: Tool, shape: ToolShape | None, notes: Notes) -> None:
    if tool.approval is not None:
        rule = _compiled((*here, "approval", "when"), tool.approval.when, shape, notes)
        if rule is not None and _constant(rule) is False:
            notes.warning((*here, "approval", "when"), "never holds, so nobody is ever asked", "a rule over arguments")
    if tool.refuse_when is not None:
        rule = _compiled((*here, "refuse_when"), tool.refuse_when, shape, notes)
        if rule is not None and _constant(rule) is True:
            what = "always holds, so the tool can never be called"
            notes.warning((*here, "refuse_when"), what, "a rule over arguments")


def _constant(rule: Rule) -> bool | None:
    """What a rule without arguments says."""
    if rule.names:
        return None
    try:
        return rule.holds({})
    except RuleUndecided:
        return None


def _compiled(here: Path, source: str, shape: ToolShape | None, notes: Notes) -> Rule | None:
    try:
        rule = compile_rule(source)
    except RuleSyntaxError as error:
        notes.error(here, f"{error.what}, at column {error.column} of the rule", error.fix)
        return None
    if shape is not None:
        _check_arguments(here, rule, shape, notes)
    return rule


def _check_arguments(here: Path, rule: Rule, shape: ToolShape, notes: Notes) -> None:
    names = argument_names(shape.parameters)
    for path in sorted(rule.paths):
        facts = argument_facts(shape.parameters, tuple(path.split(".")))
        if facts is None:
            near = difflib.get_close_matches(path, names, n=1)
            fix = f"did you mean {near[0]}?" if near else f"it has {', '.join(names) or 'no arguments'}"
            notes.error(here, f"{shape.name} has no argument {path}, so the rule can never be decided", fix)
        elif not facts.required and path not in rule.guarded:
            what = f"{path} may be left out, and then the rule cannot be decided, which counts as holding"
            notes.warning(here, what, f"if that is not meant: given({path}) and …")

    def kinds(path: tuple[str, ...]) -> Kinds:
        facts = argument_facts(shape.parameters, path)
        return facts.kinds if facts else ANY

    try:
        check_kinds(rule.tree, kinds)
    except KindClash as clash:
        what = f"can never be decided: {clash.what}, at column {clash.column} of the rule"
        notes.error(here, what, clash.fix)


# ------------------------------------------------------------------------------------------------ the agent's own


def _check_declared(here: Path, name: str, tool: Tool, known: dict[str, ToolShape], notes: Notes) -> None:
    shape = known.get(name)
    if shape is None:
        near = difflib.get_close_matches(name, known, n=1)
        fix = f"did you mean {near[0]}?" if near else f"it has {', '.join(known) or 'no tools'}"
        if tool.approval is not None or tool.refuse_when is not None:
            notes.error(here, "the agent has no such tool, so this protects nothing", fix)
        else:
            notes.warning(here, "the agent has no such tool", fix)
        return
    if tool.effect is Effect.READ and shape.read_only_hint is False:
        notes.warning((*here, "effect"), "the tool itself says that it is no read (readOnlyHint)", 'effect = "write"')
    elif tool.effect is Effect.READ and shape.read_only_hint is None and guess_effect(name) is Effect.WRITE:
        what = "declared a read, and its name sounds like a write: reads are repeated freely"
        notes.warning((*here, "effect"), what, 'effect = "write", unless it changes nothing')
    elif tool.effect is Effect.IDEMPOTENT and shape.idempotent_hint is False:
        what = "the tool itself says that it is not idempotent (idempotentHint)"
        notes.warning((*here, "effect"), what, 'effect = "write"')
