"""The history of champions, against a model of it: any order of promotions, rollbacks and kills."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from plimsoll.learning.errors import RegistryError
from plimsoll.learning.registry.places import Place
from plimsoll.learning.registry.promoting import champions, promote, rollback
from plimsoll.learning.registry.tags import MODEL_DIGEST
from plimsoll.learning.registry.tracking import Model, Tracking, Version
from tests.learning.registry.made import NOW, report, write_model

pytestmark = pytest.mark.heavy

VERSIONS = (1, 2, 3)
WHEN = st.sampled_from([0, 0, 0, 1, 2, 3])
"""The write at which a process is killed; 0: it lives."""


class Killed(BaseException):
    """Ends a process where it stands."""


class Remembered:
    """A registry in memory, of three versions whose files were fetched already, killed at the write `left`."""

    def __init__(self, cache: Path, digests: Mapping[int, str]) -> None:
        self.place = Place(uri="memory", cache=cache)
        self.left = 0
        self.aliases: dict[str, int] = {}
        self.tags: dict[str, str] = {}
        self.kept = {
            number: Version(name="m", number=number, run_id="r", made_at=0.0, tags={MODEL_DIGEST: digest})
            for number, digest in digests.items()
        }

    @contextmanager
    def alone(self) -> Iterator[None]:
        yield

    def _write(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed

    def model(self, name: str) -> Model:
        return Model(name=name, tags=dict(self.tags), aliases=dict(self.aliases))

    def versions(self, name: str) -> tuple[Version, ...]:
        return tuple(self.kept.values())

    def attach(self, version: Version, place: str, text: str, *, tags: Mapping[str, str]) -> None:
        self._write()
        self.kept[version.number].tags.update(tags)

    def set_alias(self, name: str, alias: str, number: int) -> None:
        self._write()
        self.aliases[alias] = number

    def tag(self, name: str, key: str, value: str) -> None:
        self._write()
        self.tags[key] = value


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[int, str]]:
    cache, digests = tmp_path_factory.mktemp("cache"), {}
    for number in VERSIONS:
        digests[number] = write_model(cache / "new", bytes([number]))
        (cache / "new").rename(cache / digests[number])
    return cache, digests


def machine(cache: Path, digests: Mapping[int, str]) -> type[RuleBasedStateMachine]:
    reports = {number: report(digest) for number, digest in digests.items()}

    class Champions(RuleBasedStateMachine):
        @initialize()
        def begin(self) -> None:
            self.registry = Remembered(cache, digests)
            self.tracking = cast(Tracking, self.registry)
            self.past: list[int] = []

        @rule(number=st.sampled_from(VERSIONS), killed=WHEN)
        def promote(self, number: int, killed: int) -> None:
            after = self.past if self.past[-1:] == [number] else [*self.past, number]
            self._do(killed, after, lambda: self._promoted(number))

        @rule(killed=WHEN)
        def rollback(self, killed: int) -> None:
            if len(self.past) < 2:
                with pytest.raises(RegistryError):
                    rollback(self.tracking, "m")
                return
            self._do(killed, self.past[:-1], lambda: rollback(self.tracking, "m"))

        def _promoted(self, number: int) -> Any:
            return promote(self.tracking, self.registry.kept[number], report=reports[number], now=NOW)

        def _do(self, killed: int, after: list[int], work: Any) -> None:
            self.registry.left = killed
            try:
                moved = work()
            except Killed:
                now = self.registry.aliases.get("champion")
                assert now in (*self.past[-1:], *after[-1:]) or (now is None and not self.past)
                self.past = after if [now] == after[-1:] else self.past
            else:
                assert moved.now == after[-1]
                assert moved.before == (self.past[-1] if self.past else None)
                self.past = after
            self.registry.left = 0

        @invariant()
        def the_history_is_what_happened(self) -> None:
            if hasattr(self, "past"):
                assert list(champions(self.registry.model("m"))) == self.past
                assert self.registry.aliases.get("champion") == (self.past[-1] if self.past else None)

    return Champions


def test_the_history_is_what_happened_whatever_is_killed(kept: tuple[Path, dict[int, str]]) -> None:
    run_state_machine_as_test(machine(*kept), settings=settings(max_examples=150, stateful_step_count=20))


def test_two_rollbacks_that_are_killed_are_two(kept: tuple[Path, dict[int, str]]) -> None:
    cache, digests = kept
    registry = Remembered(cache, digests)
    tracking = cast(Tracking, registry)
    for number in (1, 2, 1, 2):
        promote(tracking, registry.kept[number], report=report(digests[number]), now=NOW)
    for champion in (1, 2):
        with pytest.raises(Killed):
            killed_when_the_alias_has_moved(registry, lambda: rollback(tracking, "m"))
        assert registry.aliases["champion"] == champion
    assert champions(registry.model("m")) == (1, 2)


def killed_when_the_alias_has_moved(registry: Remembered, work: Callable[[], object]) -> None:
    """Does `work` up to the write that comes after the alias has moved."""
    before = dict(registry.aliases)
    write = registry._write

    def writing() -> None:
        if registry.aliases != before:
            raise Killed
        write()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(registry, "_write", writing)
        work()
