"""What a run used up, as the oracles and the limits count it."""

from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import groupby

from plimsoll.contract.model import Model
from plimsoll.contract.toml_places import Path
from plimsoll.core.calls import Usage
from plimsoll.core.canonical import digest
from plimsoll.gate.scene import CallMade, Scene
from plimsoll.gate.sites import dependency_of, is_part
from plimsoll.policies.limits import LimitLedger

__all__ = ["most_repeated", "tokens_billed", "used_up"]


def used_up(scene: Scene) -> Mapping[Path, float]:
    """What this run really used of each bound of a contract, by the bound's place; what is not named, it used nothing
    of. Nothing here depends on how high a bound is: whoever raises one raises no ceiling with it."""
    used: dict[Path, float] = {
        ("limits", "steps"): len({call.info.key for call in scene.calls}),
        ("limits", "seconds"): scene.active_s,
        ("limits", "repeats"): most_repeated(scene),
        ("limits", "tokens"): 0,
        ("limits", "usd"): 0.0,
    }
    for call, usage in _billed(scene):
        name = dependency_of(call.site)
        used["limits", "tokens"] += usage.tokens
        used["limits", "usd"] += _cost(scene, name, usage)
        _raise(used, ("models", name, "max_output_tokens"), usage.output_tokens)
    for call in scene.calls:
        here = ("models" if call.is_model else "tools", dependency_of(call.site))
        _raise(used, (*here, "timeout_s"), (call.ended_s or call.started_s) - call.started_s)
        _raise(used, (*here, "retry", "max_attempts"), call.info.attempt)
    return used


def _raise(used: dict[Path, float], path: Path, value: float) -> None:
    used[path] = max(used.get(path, 0), value)


def _cost(scene: Scene, name: str, usage: Usage) -> float:
    contract = scene.stage.contract
    model = contract.models.get(name, Model())
    return LimitLedger(contract.limits).cost(model, usage.input_tokens, usage.output_tokens)


def _billed(scene: Scene) -> Iterator[tuple[CallMade, Usage]]:
    """The model calls that were answered, and what their provider counted."""
    for call in scene.calls:
        if call.is_model and not call.error and call.ended_s is not None:
            usage = call.exchange.inspect(call.native).usage
            if usage is not None:
                yield call, usage


def most_repeated(scene: Scene) -> int:
    """How often the most frequent tool call was made with the same arguments and the same result; of an agent outside,
    whose tools are not seen, how often in a row its model said the same to the same request."""
    if scene.stage.subject.outside:
        return max((len(list(same)) for _, same in groupby(_said(scene))), default=0)
    counts = Counter(
        (call.exchange.dependency, call.exchange.args_digest, digest(call.exchange.encode(call.native)))
        for call in scene.calls
        if not call.is_model and not call.error and call.ended_s is not None and not is_part(dependency_of(call.site))
    )
    return max(counts.values(), default=0)


def _said(scene: Scene) -> Iterator[tuple[str, str]]:
    """What was asked of models, and what they said, in order."""
    answered = (call for call in scene.calls if call.is_model and not call.error and call.ended_s is not None)
    for call in answered:
        yield call.exchange.args_digest, call.exchange.sameness(call.exchange.encode(call.native))


def tokens_billed(scene: Scene) -> int:
    """What the model calls used, without the last: how much a provider bills for a call is known only afterwards."""
    return sum(usage.tokens for _, usage in list(_billed(scene))[:-1])
