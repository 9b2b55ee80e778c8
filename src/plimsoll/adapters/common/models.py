"""The models of an agent, by their names in its contract: given, inferred from their ids, or a scenario's stand-ins."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Generic, TypeVar

from plimsoll.adapters.common.local import LocalModels
from plimsoll.adapters.common.waiting import PRIMARY
from plimsoll.contract.checking_local import local_problems
from plimsoll.contract.model import Contract
from plimsoll.core.canonical import digest
from plimsoll.core.errors import Misuse
from plimsoll.learning.local import LocalModel

__all__ = ["Models", "StandIns", "check_models", "rungs", "stand_ins"]

M = TypeVar("M")
Own = Callable[[LocalModel, str], M]
"""Makes a framework's model of one's own, for the rung of that name."""


class Models(Generic[M]):
    """The models below an agent's own.

    `given` are models or their ids by name; those left out are the contract's. `make` makes one of its id: when it is
    first asked, or, `eager`, all of them by `made`. `own` makes one of a model of one's own; those are loaded at once,
    from `directory`, the contract's folder. Raises `WeightsError` and `MissingExtra` where one cannot be.
    """

    __slots__ = ("_contract", "_eager", "_given", "_kind", "_made", "_make", "_own", "local")

    def __init__(
        self,
        contract: Contract,
        given: Mapping[str, M | LocalModel | str],
        *,
        kind: type[M],
        make: Callable[[Any], M],
        own: Own[M],
        directory: Path,
        eager: bool = True,
    ) -> None:
        self._contract = contract
        self._eager = eager
        self.local = LocalModels(contract, given, directory=directory)
        self._given: dict[str, Any] = dict(given)
        self._kind = kind
        self._make = make
        self._own = own
        self._made: dict[str, M] = {}

    @property
    def primary(self) -> M | str | None:
        """What the agent is asked with: a model, or the id of one. None: the agent's own."""
        return self._given.get(PRIMARY) or self._contract.models[PRIMARY].id

    def first(self) -> M | None:
        """What `primary` is, made now if only its id is known."""
        primary = self.primary
        if primary is None or isinstance(primary, self._kind):
            return primary
        if PRIMARY not in self._made:
            self._made[PRIMARY] = self._make(primary)
        return self._made[PRIMARY]

    def made(self) -> dict[str, M]:
        """Those below the first, by name. Not `eager`: only those that were given as models, or have been asked."""
        for name in rungs(self._contract):
            if self._eager or isinstance(self._given.get(name), self._kind):
                self.of(name)
        return dict(self._made)

    def own(self) -> dict[str, M]:
        """Those of one's own that answer in this process, by name."""
        return {name: self.of(name) for name in self.local.here()}

    def fingerprinted(self, fingerprint: str) -> str:
        """The fingerprint of an agent that has these: with which weights its own models answer. What answers behind an
        address is not known here."""
        digests = self.local.digests()
        return digest([fingerprint, digests]) if digests else fingerprint

    def of(self, name: str) -> M:
        """The model of a rung below the first, made now if it was not. Raises `Misuse` when there is no such rung."""
        if name not in self._made:
            known = rungs(self._contract)
            if name not in known:
                raise _unknown(name, known)
            own = self.local.get(name)
            if own is not None:
                self._made[name] = self._own(own, name)
            else:
                asked = self._given.get(name) or self._contract.models[name].id or ""
                self._made[name] = asked if isinstance(asked, self._kind) else self._make(asked)
        return self._made[name]


class StandIns(Generic[M]):
    """The models of a scenario, in place of all others but `own`, those of one's own that it gives none for."""

    __slots__ = ("_models",)

    def __init__(self, models: Mapping[str, M], *, own: Mapping[str, M]) -> None:
        self._models = {**own, **models}

    @property
    def primary(self) -> M | None:
        """What the agent is asked with."""
        return self._models.get(PRIMARY)

    def first(self) -> M | None:
        """The same: all of them are made."""
        return self.primary

    def of(self, name: str) -> M:
        """The model of a rung. Raises `Misuse` when it was not given."""
        model = self._models.get(name)
        if model is None:
            raise _unknown(name, sorted(self._models))
        return model


def _unknown(name: str, known: list[str]) -> Misuse:
    return Misuse(f"no model was given for {name!r}; given: {', '.join(known) or 'none'}")


def rungs(contract: Contract) -> list[str]:
    """The models that are made by an adapter: all but the first and the canned ones."""
    return [name for name, section in contract.models.items() if name != PRIMARY and section.is_model]


def check_models(contract: Contract, given: Mapping[str, object], *, from_ids: bool = True) -> None:
    """Raises `Misuse` where the models that were given and those of the contract do not belong together.

    `from_ids`: the adapter makes models of their ids, so one that was not given needs one.
    """
    if PRIMARY not in contract.models:
        raise Misuse(f"the contract has no models.{PRIMARY}, which is the model that the agent is asked with")
    unknown = sorted(given.keys() - contract.models.keys())
    if unknown:
        raise Misuse(f"models were given that the contract does not know: {', '.join(unknown)}")
    for path, wrong, fix in local_problems(contract):
        raise Misuse(f"{'.'.join(map(str, path))}: {wrong}; {fix}")
    for name, model in given.items():
        if isinstance(model, LocalModel) and contract.models[name].local is None:
            raise Misuse(f"a local model was given for models.{name}, which is none: write `local` into the contract")
    for name, section in contract.models.items() if from_ids else ():
        if name != PRIMARY and section.is_model and section.id is section.local is None and name not in given:
            raise Misuse(f"models.{name} has neither an id nor a canned answer; give one, or pass it in `models`")


def stand_ins(contract: Contract, models: Mapping[str, Any], *, kind: type[M], own: Own[M], what: str) -> dict[str, M]:
    """The stand-ins for the contract's models, by their names. Raises `Misuse` where one is missing or is none.

    A model of one's own needs none where it answers in this process. `what` is what such a model is called, such as
    "Pydantic AI model"; a `LocalModel` becomes one by `own`.
    """
    found = {name: own(model, name) if isinstance(model, LocalModel) else model for name, model in models.items()}
    for name, section in contract.models.items():
        is_here = section.local is not None and not section.is_served and name not in found
        if section.is_model and not is_here and not isinstance(found.get(name), kind):
            why = ": what is behind an address cannot be asked in simulated time" if section.is_served else ""
            raise Misuse(f"the scenario gives no {what} for models.{name}{why}")
    return found
