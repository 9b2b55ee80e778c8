"""What a run used up, as the oracles and the limits count it."""

from collections import Counter

from plimsoll.contract.model import Contract, Limits, Model
from plimsoll.core.calls import Usage
from plimsoll.core.canonical import digest
from plimsoll.gate.scene import CallMade, Scene
from plimsoll.gate.sites import dependency_of, is_part
from plimsoll.policies.limits import LimitLedger

__all__ = ["at_worst", "most_repeated", "tokens_billed"]


def at_worst(scene: Scene) -> Limits:
    """The most that this healthy run might have used: each answer as long, each call as slow, as goes unnoticed."""
    contract = scene.stage.contract
    worst = [_worst_case(call, contract) for call in scene.calls if call.is_model]
    return Limits(
        steps=len({call.info.key for call in scene.calls}),
        seconds=sum(scene.stage.slow_s(dependency_of(call.site)) for call in scene.calls),
        tokens=sum(usage.tokens for usage in worst),
        usd=sum(usage.usd for usage in worst),
        repeats=most_repeated(scene),
    )


def _worst_case(call: CallMade, contract: Contract) -> Usage:
    model = contract.models.get(dependency_of(call.site), Model())
    return LimitLedger(contract.limits).worst_case(model, call.exchange.input_tokens)


def most_repeated(scene: Scene) -> int:
    """How often the most frequent tool call was made with the same arguments and the same result."""
    counts = Counter(
        (call.exchange.dependency, call.exchange.args_digest, digest(call.exchange.encode(call.native)))
        for call in scene.calls
        if not call.is_model and not call.error and call.ended_s is not None and not is_part(dependency_of(call.site))
    )
    return max(counts.values(), default=0)


def tokens_billed(scene: Scene) -> int:
    """What the model calls used, without the last: how much a provider bills for a call is known only afterwards."""
    answered = [call for call in scene.calls if call.is_model and not call.error and call.ended_s is not None]
    usages = (call.exchange.inspect(call.native).usage for call in answered[:-1])
    return sum(usage.tokens for usage in usages if usage is not None)
