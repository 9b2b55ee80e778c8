"""Checks of `[models]`: ladders, their time, and what they cost."""

import difflib
from collections.abc import Mapping

from plimsoll.contract.checking_policies import POLICIES, check_policies
from plimsoll.contract.concessions import SPIKE
from plimsoll.contract.model import Contract, DayLimits, Model, Retry
from plimsoll.contract.notes import Notes
from plimsoll.contract.pricing import price_of
from plimsoll.contract.soundness import check_rungs
from plimsoll.contract.toml_places import Path
from plimsoll.core.calls import Effect, Fault

__all__ = ["PRIMARY", "check_models", "check_retry", "check_slow", "ladder_of", "worst_time_s"]

PRIMARY = "primary"
_NO_MODEL = ("canned", "cached_for_s", "hand_over")
"""The fields that make a rung one that asks no model."""


def check_models(contract: Contract, notes: Notes) -> None:
    """Notes what is doubtful about the models and their ladders."""
    _check_primary(contract.models, notes)
    for name, model in contract.models.items():
        _check_model(name, model, contract, notes)
        _check_fallback(name, model, contract.models, notes)
    check_rungs({name: model.fallback for name, model in contract.models.items()}, notes.error)
    _check_ladder_of_primary(contract, notes)


def _check_primary(models: Mapping[str, Model], notes: Notes) -> None:
    primary = models.get(PRIMARY)
    if primary is None:
        near = difflib.get_close_matches(PRIMARY, models, n=1)
        fix = f"rename [models.{near[0]}] to [models.primary]" if near else "add [models.primary]"
        notes.error(("models",), "no model is called primary, the one that the agent asks", fix)
        return
    here: Path = ("models", PRIMARY)
    if not primary.is_model:
        kind = next(kind for kind in _NO_MODEL if getattr(primary, kind))
        notes.warning((*here, kind), "the agent would never ask a model", "make it a rung below")
        return
    if not primary.may_write:
        what = "bars nothing here: only a rung below the first keeps a run from writing"
        notes.error((*here, "may_write"), what, "remove it; a tool that may never write is one to leave out")
    if not primary.fallback:
        what = "has no fallback: when it fails, so does the run"
        notes.warning((*here, "fallback"), what, "name a rung below, at least a canned answer")


def _check_model(name: str, model: Model, contract: Contract, notes: Notes) -> None:
    here: Path = ("models", name)
    if not model.is_model:
        _check_no_model(here, model, contract, notes)
        return
    seconds = contract.limits.seconds
    if model.timeout_s > seconds:
        what = f"is {model.timeout_s:g} s, and a run has {seconds:g} s in all (limits.seconds)"
        notes.warning((*here, "timeout_s"), what, f"at most {seconds:g}")
    check_slow((*here, "slow_s"), model.slow_s, model.timeout_s, notes)
    _check_worst_case(here, model, contract, notes)
    if model.retry is not None:
        check_retry((*here, "retry"), model.retry, notes)
    check_policies(here, model, notes)


def _check_no_model(here: Path, model: Model, contract: Contract, notes: Notes) -> None:
    """Of a rung that gives an answer without asking a model."""
    kinds = [kind for kind in _NO_MODEL if getattr(model, kind)]
    for other in kinds[1:]:
        notes.error((*here, other), f"a rung that is {kinds[0]} is nothing else", f"keep {kinds[0]}, or this")
    for other in ("id", "local", "retry", *POLICIES):
        if getattr(model, other) is not None:
            notes.error((*here, other), f"a {kinds[0]} answer asks no model", f"keep {kinds[0]}, or this")
    writes = any(tool.effect is not Effect.READ for tool in contract.tools.values())
    if model.cached_for_s is not None and model.may_write and writes:
        what = "an answer that was given before may ask for what was done before"
        notes.warning((*here, "cached_for_s"), what, "may_write = false")


def _check_worst_case(here: Path, model: Model, contract: Contract, notes: Notes) -> None:
    """A call whose worst case passes a limit is refused before it is made."""
    limits = contract.limits
    if model.max_output_tokens >= limits.tokens:
        what = f"{model.max_output_tokens} may pass limits.tokens ({limits.tokens}), so that no call is ever made"
        notes.error((*here, "max_output_tokens"), what, "less, or raise limits.tokens")
    price = price_of(model)
    usd = 0.0 if price is None else price.usd(0, model.max_output_tokens)
    if usd > limits.usd:
        what = f"one answer may cost ${usd:g}, more than limits.usd (${limits.usd:g}), so that no call is ever made"
        notes.error((*here, "usd_per_million_output_tokens"), what, "a lower max_output_tokens, or a higher limits.usd")
    day = limits.day or DayLimits()
    if day.tokens is not None and model.max_output_tokens >= day.tokens:
        what = f"{model.max_output_tokens} may pass limits.day.tokens ({day.tokens}), so that no call is ever made"
        notes.error((*here, "max_output_tokens"), what, "less, or raise limits.day.tokens")
    if day.usd is not None and usd > day.usd:
        what = f"one answer may cost ${usd:g}, more than limits.day.usd (${day.usd:g}), so that no call is ever made"
        notes.error((*here, "max_output_tokens"), what, "less, or raise limits.day.usd")


def check_slow(here: Path, slow_s: float | None, timeout_s: float, notes: Notes) -> None:
    """Notes from when on answers are slow, where the gate wants that reported earlier. Shared with the tools."""
    latest_s = SPIKE * timeout_s
    if slow_s is not None and slow_s > latest_s:
        what = f"is too late: an answer that takes {SPIKE:g} of timeout_s is to be reported"
        notes.warning(here, what, f"at most {latest_s:g}")


def check_retry(here: Path, retry: Retry, notes: Notes) -> None:
    """Notes what makes a retry none. Shared with the tools."""
    if not retry.on:
        notes.warning((*here, "on"), "is empty: nothing is retried", 'name faults, such as "timeout"')
    if retry.max_attempts == 1:
        notes.warning((*here, "max_attempts"), "counts the first call: nothing is retried", "at least 2")
    if retry.base_s > retry.cap_s:
        notes.warning((*here, "base_s"), f"is more than cap_s ({retry.cap_s:g}), which holds", "at most cap_s")


# ------------------------------------------------------------------------------------------------------- ladders


def _check_fallback(name: str, model: Model, models: Mapping[str, Model], notes: Notes) -> None:
    here: Path = ("models", name, "fallback")
    if model.canned is not None and model.fallback:
        notes.error(here, "nothing comes after a canned answer, for it never fails", "remove it")
    for index, below in enumerate(model.fallback):
        if below in model.fallback[:index]:
            notes.error((*here, index), f"{below} is in this ladder twice", "name each rung once")
    _check_canned_last(here, model, models, notes)


def _check_canned_last(here: Path, model: Model, models: Mapping[str, Model], notes: Notes) -> None:
    rungs = [(index, below) for index, below in enumerate(model.fallback) if below in models]
    canned = [index for index, below in rungs if models[below].canned is not None]
    after = [(index, below) for index, below in rungs if canned and index > canned[0]]
    for index, below in after:
        what = f"{below} comes after the canned answer {model.fallback[canned[0]]}, which never fails"
        notes.error((*here, index), what, "put the canned answer last, and only one")


def ladder_of(top: str, models: Mapping[str, Model]) -> list[str]:
    """`top` and everything below it, from the top down, each once: as the runtime goes through them."""
    order: list[str] = []
    waiting = [top]
    while waiting:
        name = waiting.pop()
        if name in models and name not in order:
            order.append(name)
            waiting.extend(reversed(models[name].fallback))
    return order


def _check_ladder_of_primary(contract: Contract, notes: Notes) -> None:
    models = contract.models
    ladder = ladder_of(PRIMARY, models)
    for name in models:
        if ladder and name not in ladder:
            notes.warning(
                ("models", name), "is in no ladder that the agent uses", "name it in a fallback, or remove it"
            )
    _check_time(ladder, contract, notes)
    seen: dict[tuple[str | None, str | None], str] = {}
    for name in ladder:
        if not models[name].is_model:
            continue
        above = seen.setdefault((models[name].id, models[name].local), name)
        if above != name:
            what = f"asks the same model as {above} above it, which has failed"
            field = "id" if models[name].local is None else "local"
            notes.warning(("models", name, field), what, "name another model, best another provider's")


def _check_time(ladder: list[str], contract: Contract, notes: Notes) -> None:
    seconds, above = contract.limits.seconds, 0.0
    for name in ladder:
        if above >= seconds:
            what = f"the rungs above it may take {above:g} s, and a run has {seconds:g} s in all (limits.seconds)"
            notes.warning(("models", name), what, "shorter timeouts or fewer retries above, or a higher limits.seconds")
            return
        model = contract.models[name]
        above += worst_time_s(model.timeout_s, model.retry) if model.is_model else 0.0


def worst_time_s(timeout_s: float, retry: Retry | None) -> float:
    """The longest that attempts of `timeout_s` seconds and the waits between them take, when each times out."""
    if retry is None or Fault.TIMEOUT not in retry.on:
        return timeout_s
    # Past 60 doublings the cap has long been reached.
    waits = sum(min(retry.cap_s, retry.base_s * 2.0**n) for n in range(min(retry.max_attempts - 1, 60)))
    waits += retry.cap_s * max(0, retry.max_attempts - 61)
    return timeout_s * retry.max_attempts + waits
