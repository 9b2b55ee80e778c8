"""The registry on a SQLite file: who is champion, by whose word, and what happens when it goes wrong."""

import shutil
import sqlite3
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from plimsoll.core.errors import Misuse, PlimsollError
from plimsoll.gate.verdict import Decision
from plimsoll.learning.errors import PromotionRefused, RegistryError, RegistryUnavailable, WeightsError
from plimsoll.learning.manifest import FILE
from plimsoll.learning.registry import Reference, RegistrySource, resolve
from plimsoll.learning.registry.fetching import cached, fetch, found
from plimsoll.learning.registry.places import Place, place_of
from plimsoll.learning.registry.promoting import Moved, champions, promote, rollback
from plimsoll.learning.registry.registering import register
from plimsoll.learning.registry.telling import lineage_of, told_versions
from plimsoll.learning.registry.tracking import Tracking
from tests.learning.registry.made import MADE_AT, NOW, SOURCES, report, write_model

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # MLflow takes long to import


def registered(tracking: Tracking, folder: Path, *weights: bytes) -> list[str]:
    """The digests of models that are registered one after the other as versions of `intents`."""
    digests = []
    for each in weights:
        digests.append(write_model(folder / each.decode(), each))
        register(tracking, folder / each.decode(), name="intents")
    return digests


def promoted(tracking: Tracking, number: int, digest: str) -> Moved:
    return promote(tracking, tracking.version("intents", number), report=report(digest), now=NOW)


def champion(tracking: Tracking) -> int | None:
    return tracking.model("intents").aliases.get("champion")


def names(folder: Path) -> list[str]:
    return sorted(file.name for file in folder.iterdir())


def in_the_registry(place: Place, name: str) -> Path:
    """Where MLflow keeps the only file of that name."""
    assert place.file is not None
    (file,) = (place.file.parent / "mlflow-artifacts").rglob(name)
    return file


class TestRegistering:
    def test_all_that_is_known_of_a_model_goes_with_it(self, tracking: Tracking, place: Place, tmp_path: Path) -> None:
        (digest,) = registered(tracking, tmp_path, b"one")
        assert tracking.model("intents").aliases == {"candidate": 1}
        (told,) = told_versions(tracking, "intents")
        assert (told.version, told.aliases, told.digest, told.method, told.seed) == (
            1,
            ("candidate",),
            digest,
            "full",
            "3",
        )
        assert (told.data_digest, told.base_digest, told.runs, told.verdict) == ("data", "base", 2, "")
        assert told.metrics["validation.accuracy"] == 0.9
        assert told.metrics["bytes"] == sum(
            (tmp_path / "one" / name).stat().st_size
            for name in ("curves.json", "lineage.json", "encoder/model.safetensors")
        )
        assert in_the_registry(place, "README.md").read_text() == "# Model card\n"
        assert in_the_registry(place, "lineage.json").stat().st_mode & 0o777 == 0o600

    def test_learning_curves_have_a_point_for_each_epoch(self, tracking: Tracking, tmp_path: Path) -> None:
        registered(tracking, tmp_path, b"one")
        run = tracking.version("intents", 1).run_id
        points = tracking._client.get_metric_history(run, "training.accuracy")
        assert sorted((point.step, point.value) for point in points) == [(1, 0.7), (2, 0.9)]
        assert tracking._client.get_run(run).data.params["max_tokens"] == "64"

    def test_what_is_not_the_models_stays_where_it_is(self, tracking: Tracking, place: Place, tmp_path: Path) -> None:
        registered(tracking, tmp_path, b"one")
        assert place.file is not None
        assert not list(place.file.parent.rglob("notes.pkl"))

    def test_the_latest_is_the_candidate(self, filled: Tracking) -> None:
        assert filled.model("intents").aliases == {"candidate": 3}
        assert [told.aliases for told in told_versions(filled, "intents")] == [("candidate",), (), ()]

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda model: (model / "encoder" / "model.safetensors").write_bytes(b"x"), "is not the file"),
            (lambda model: (model / "curves.json").unlink(), "curves.json is missing"),
            (lambda model: (model / FILE).unlink(), "`plimsoll learn fit` makes"),
        ],
    )
    def test_a_directory_that_is_not_as_its_manifest_says_is_refused(
        self, tracking: Tracking, tmp_path: Path, spoil: Callable[[Path], object], said: str
    ) -> None:
        write_model(tmp_path / "model")
        spoil(tmp_path / "model")
        with pytest.raises(WeightsError, match=said):
            register(tracking, tmp_path / "model", name="intents")
        assert tracking.models() == ()

    def test_a_lineage_that_was_laid_there_later_is_refused(self, tracking: Tracking, tmp_path: Path) -> None:
        write_model(tmp_path / "model")
        manifest = tmp_path / "model" / FILE
        manifest.write_bytes(manifest.read_bytes().replace(b'"lineage.json"', b'"README.md"'))
        with pytest.raises(WeightsError):
            register(tracking, tmp_path / "model", name="intents")
        assert tracking.models() == ()


class TestPromoting:
    def test_the_gates_word_makes_a_champion_and_is_kept(
        self, tracking: Tracking, place: Place, tmp_path: Path
    ) -> None:
        (digest,) = registered(tracking, tmp_path, b"one")
        assert promoted(tracking, 1, digest) == Moved(name="intents", now=1, before=None)
        (told,) = told_versions(tracking, "intents")
        assert told.aliases == ("candidate", "champion")
        assert (told.verdict, told.subject, told.verdict_at) == (
            "ship",
            "support-assistant",
            "2026-03-14T09:26:53+00:00",
        )
        assert len(told.fingerprint) == len(told.contract_digest) == 64
        assert told.promoted_at == MADE_AT
        stored = tracking.version("intents", 1).tags["plimsoll.verdict_digest"]
        assert in_the_registry(place, f"{stored}.json").read_bytes() == report(digest)

    @pytest.mark.parametrize("decision", [Decision.BLOCK, Decision.INCONCLUSIVE])
    def test_without_it_the_champion_stays(self, filled: Tracking, digests: list[str], decision: Decision) -> None:
        one, two, _ = digests
        promoted(filled, 1, one)
        second = filled.version("intents", 2)
        for refused in (report(two, decision=decision), report(one), report(), b"{}", report(two, failing_trials=1)):
            with pytest.raises(PromotionRefused):
                promote(filled, second, report=refused, now=NOW)
        with pytest.raises(PromotionRefused, match="expired"):
            promote(filled, second, report=report(two), now=NOW + 1000.0, max_age_s=999.0)
        assert champion(filled) == 1
        assert filled.version("intents", 2).tags == second.tags

    def test_the_champion_may_be_confirmed_by_a_later_verdict(self, filled: Tracking, digests: list[str]) -> None:
        digest = digests[0]
        promoted(filled, 1, digest)
        later = report(digest, made_at="2026-04-14T09:26:53+00:00")
        moved = promote(filled, filled.version("intents", 1), report=later, now=NOW + 32 * 86_400)
        assert moved == Moved(name="intents", now=1, before=1)
        assert champions(filled.model("intents")) == (1,)
        assert told_versions(filled, "intents")[-1].verdict_at == "2026-04-14T09:26:53+00:00"

    def test_a_model_whose_files_were_altered_does_not_become_champion(
        self, tracking: Tracking, place: Place, tmp_path: Path
    ) -> None:
        (digest,) = registered(tracking, tmp_path, b"one")
        in_the_registry(place, "model.safetensors").write_bytes(b"other")
        with pytest.raises(WeightsError, match=r"intents:1: .*model.safetensors is not the file.*register it anew"):
            promoted(tracking, 1, digest)
        assert champion(tracking) is None

    def test_two_at_once_leave_one_champion_and_the_other_before_it(self, filled: Tracking, digests: list[str]) -> None:
        promoted(filled, 1, digests[0])
        with ThreadPoolExecutor(2) as both:
            moved = list(both.map(lambda number: promoted(filled, number, digests[number - 1]), (2, 3)))
        last = champion(filled)
        first = 5 - (last or 0)
        assert champions(filled.model("intents")) == (1, first, last)
        assert {(each.before, each.now) for each in moved} == {(1, first), (first, last)}
        assert rollback(filled, "intents").now == first


class TestRollback:
    def test_twice_goes_back_twice_and_then_no_further(self, filled: Tracking, digests: list[str]) -> None:
        for number, digest in enumerate(digests, 1):
            promoted(filled, number, digest)
        assert rollback(filled, "intents") == Moved(name="intents", now=2, before=3)
        assert rollback(filled, "intents") == Moved(name="intents", now=1, before=2)
        with pytest.raises(RegistryError, match="no champion that is still there came before intents:1"):
            rollback(filled, "intents")
        assert champion(filled) == 1

    def test_there_is_none_to_go_back_to_without_a_champion(self, tracking: Tracking, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match="there is no model 'intents'"):
            rollback(tracking, "intents")
        registered(tracking, tmp_path, b"one")
        with pytest.raises(RegistryError, match=r"has no champion in .*promote` makes one"):
            rollback(tracking, "intents")

    def test_a_version_that_somebody_deleted_is_passed_over(self, filled: Tracking, digests: list[str]) -> None:
        for number, digest in enumerate(digests, 1):
            promoted(filled, number, digest)
        filled._client.delete_model_version("intents", "2")
        assert rollback(filled, "intents") == Moved(name="intents", now=1, before=3)

    def test_the_champion_stays_where_the_one_before_cannot_serve(
        self, tracking: Tracking, place: Place, tmp_path: Path
    ) -> None:
        one, two = registered(tracking, tmp_path, b"one", b"two")
        promoted(tracking, 1, one)
        promoted(tracking, 2, two)
        shutil.rmtree(place.cache)
        assert place.file is not None
        for file in (place.file.parent / "mlflow-artifacts").rglob("model.safetensors"):
            if file.read_bytes() == b"one":
                file.unlink()
        with pytest.raises(WeightsError, match="missing"):
            rollback(tracking, "intents")
        assert champion(tracking) == 2

    def test_an_alias_that_was_moved_elsewhere_is_the_latest_of_the_history(
        self, filled: Tracking, digests: list[str]
    ) -> None:
        for number in (1, 3, 2):
            promoted(filled, number, digests[number - 1])
        filled.tag("intents", "plimsoll.champions", "[1,2]")
        filled.set_alias("intents", "champion", 3)  # two promotions at once, on a server: 2 was written, and 3 moved
        assert champions(filled.model("intents")) == (1, 2, 3)
        assert rollback(filled, "intents") == Moved(name="intents", now=2, before=3)

    def test_a_history_that_was_spoiled_is_told(self, filled: Tracking, digests: list[str]) -> None:
        digest = digests[0]
        promoted(filled, 1, digest)
        filled.tag("intents", "plimsoll.champions", "one, two")
        with pytest.raises(RegistryError, match=r"plimsoll.champions of intents is no list of versions"):
            rollback(filled, "intents")
        assert champion(filled) == 1


class Killed(BaseException):
    """Ends a process where it stands."""


class Dying(Tracking):
    """A registry whose process is killed at the write with the number `at`, counted from 1."""

    def __init__(self, alive: Tracking, at: int) -> None:
        super().__init__(alive._client, alive.place)
        self.left = at

    def _write(self, work: Callable[[], None]) -> None:
        self.left -= 1
        if self.left == 0:
            raise Killed
        work()

    def attach(self, *args: Any, **kwargs: Any) -> None:
        self._write(lambda: Tracking.attach(self, *args, **kwargs))

    def set_alias(self, *args: Any) -> None:
        self._write(lambda: Tracking.set_alias(self, *args))

    def tag(self, *args: Any) -> None:
        self._write(lambda: Tracking.tag(self, *args))


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_promotion_that_is_killed_leaves_the_champion_and_may_be_said_again(
    filled: Tracking, digests: list[str], at: int
) -> None:
    one, two, _ = digests
    promoted(filled, 1, one)
    with pytest.raises(Killed):
        promoted(Dying(filled, at), 2, two)
    assert champion(filled) == 1
    assert champions(filled.model("intents")) == (1,)
    assert promoted(filled, 2, two) == Moved(name="intents", now=2, before=1)
    assert champions(filled.model("intents")) == (1, 2)


@pytest.mark.parametrize("at", [1, 2])
def test_a_rollback_that_is_killed_has_happened_or_has_not(filled: Tracking, digests: list[str], at: int) -> None:
    for number, digest in enumerate(digests, 1):
        promoted(filled, number, digest)
    with pytest.raises(Killed):
        rollback(Dying(filled, at), "intents")
    now = {1: 3, 2: 2}[at]
    assert champion(filled) == now
    assert champions(filled.model("intents")) == tuple(range(1, now + 1))
    assert rollback(filled, "intents").now == now - 1


class TestFetching:
    def test_what_is_fetched_is_what_was_registered(self, tracking: Tracking, tmp_path: Path) -> None:
        registered(tracking, tmp_path, b"one")
        out = tmp_path / "out" / "model"
        fetch(tracking, found(tracking, Reference.parse("intents@candidate")), out)
        files = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
        assert files == {FILE, "README.md", "curves.json", "lineage.json", "encoder/model.safetensors"}
        for name in files:
            assert (out / name).read_bytes() == (tmp_path / "one" / name).read_bytes()
        assert (out / "lineage.json").stat().st_mode & 0o777 == 0o600
        assert names(out.parent) == ["model"]
        with pytest.raises(Misuse, match="is there already"):
            fetch(tracking, found(tracking, Reference.parse("intents:1")), out)

    @pytest.mark.parametrize(
        ("spoil", "said"),
        [
            (lambda file: (file / "encoder" / "model.safetensors").write_bytes(b"x"), "is not the file"),
            (lambda file: (file / "encoder" / "model.safetensors").unlink(), "is missing"),
            (lambda file: (file / FILE).write_bytes((file / FILE).read_bytes() + b" "), "manifest is not the one"),
            (lambda file: (file / FILE).unlink(), "cannot be read"),
        ],
    )
    def test_a_corrupted_model_is_not_handed_out(
        self, tracking: Tracking, place: Place, tmp_path: Path, spoil: Callable[[Path], object], said: str
    ) -> None:
        registered(tracking, tmp_path, b"one")
        spoil(in_the_registry(place, FILE).parent)
        with pytest.raises(WeightsError, match=said) as error:
            fetch(tracking, tracking.version("intents", 1), tmp_path / "out" / "model")
        assert error.value.directory == "intents:1"
        assert names(tmp_path / "out") == []

    def test_files_that_are_gone_are_told(self, tracking: Tracking, place: Place, tmp_path: Path) -> None:
        registered(tracking, tmp_path, b"one")
        shutil.rmtree(in_the_registry(place, FILE).parent)
        with pytest.raises(PlimsollError, match="intents:1"):
            fetch(tracking, tracking.version("intents", 1), tmp_path / "out" / "model")
        assert names(tmp_path / "out") == []

    def test_a_copy_that_was_spoiled_is_brought_anew(self, tracking: Tracking, place: Place, tmp_path: Path) -> None:
        (digest,) = registered(tracking, tmp_path, b"one")
        version = tracking.version("intents", 1)
        kept = cached(tracking, version)
        assert kept == place.cache / digest
        (kept / "encoder" / "model.safetensors").write_bytes(b"x")
        (place.cache / f".{digest}.killed").mkdir()
        assert cached(tracking, version) == kept
        assert (kept / "encoder" / "model.safetensors").read_bytes() == b"one"
        assert names(place.cache) == [digest, f"{digest}.lock"]

    def test_what_is_not_there_is_told(self, tracking: Tracking, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match=r"there is no model 'intents' in .*mlflow.db"):
            found(tracking, Reference.parse("intents"))
        registered(tracking, tmp_path, b"one")
        with pytest.raises(RegistryError, match="intents has no version 7"):
            found(tracking, Reference.parse("intents:7"))
        with pytest.raises(RegistryError, match=r"has no champion: .*promote.* It has @candidate \(version 1\)"):
            found(tracking, Reference.parse("intents"))
        with pytest.raises(RegistryError, match="has no shadow"):
            found(tracking, Reference.parse("intents@shadow"))

    def test_a_champion_by_hand_is_none(self, filled: Tracking, digests: list[str]) -> None:
        filled.set_alias("intents", "champion", 1)
        with pytest.raises(RegistryError, match="version 1, for which no verdict of the gate speaks"):
            found(filled, Reference.parse("intents@champion"))

    def test_a_version_of_somebody_else_is_not_ours_to_hand_out(self, tracking: Tracking, tmp_path: Path) -> None:
        tracking._client.create_registered_model("foreign")
        tracking._client.create_model_version("foreign", str(tmp_path))
        with pytest.raises(RegistryError, match="not made by `plimsoll learn register`"):
            cached(tracking, tracking.version("foreign", 1))
        assert told_versions(tracking, "foreign")[0].metrics == {}


class TestSource:
    def test_it_follows_the_champion(self, tracking: Tracking, place: Place, tmp_path: Path) -> None:
        one, two = registered(tracking, tmp_path, b"one", b"two")
        promoted(tracking, 1, one)
        source = RegistrySource("registry:intents@champion", root=tmp_path)
        assert source.current() == source.current() == place.cache / one
        promoted(tracking, 2, two)
        assert source.current() == place.cache / two
        rollback(tracking, "intents")
        assert source.current() == place.cache / one
        assert resolve("registry:intents:2", root=tmp_path) == place.cache / two

    def test_a_registry_that_goes_leaves_what_was_fetched(
        self, tracking: Tracking, place: Place, tmp_path: Path
    ) -> None:
        (digest,) = registered(tracking, tmp_path, b"one")
        promoted(tracking, 1, digest)
        source = RegistrySource("registry:intents", root=tmp_path)
        kept = source.current()
        assert place.file is not None
        with closing(sqlite3.connect(place.file)) as connection:
            connection.execute("ALTER TABLE registered_models RENAME TO gone")
        with pytest.raises(RegistryUnavailable, match=r"mlflow.db cannot be used: .*no such table"):
            source.current()
        assert (kept / FILE).exists()


def test_lineage_leads_from_the_model_to_the_runs(tracking: Tracking, tmp_path: Path) -> None:
    registered(tracking, tmp_path, b"one")
    told = lineage_of(tracking, tracking.version("intents", 1))
    assert told.data_digest == "data"
    assert told.lineage is not None
    assert told.lineage.sources == SOURCES
    assert told.lineage.runs == ("run-1", "run-2")


class TestFiles:
    """A file that is no registry of this version stays as it is, byte by byte."""

    def refused(self, file: Path, error: type[Exception], said: str) -> None:
        before = file.read_bytes()
        for make in (False, True):
            with pytest.raises(error, match=said):
                Tracking.open(place_of(f"sqlite:///{file}", root=file.parent, environ={}), make=make)
        assert file.read_bytes() == before

    def test_one_that_is_not_there_is_not_made_by_looking(self, tmp_path: Path) -> None:
        with pytest.raises(RegistryError, match=r"there is no registry at .*`plimsoll learn register` makes one"):
            Tracking.open(place_of(root=tmp_path, environ={}))
        assert names(tmp_path) == []

    @pytest.mark.parametrize(
        ("revision", "said"), [("ffffffffffff", "of a later MLflow"), ("451aebb31d03", "of an earlier MLflow")]
    )
    def test_one_of_another_version(self, place: Place, revision: str, said: str) -> None:
        assert place.file is not None
        with closing(sqlite3.connect(place.file)) as connection:
            connection.execute("UPDATE alembic_version SET version_num = ?", (revision,))
            connection.commit()
        self.refused(place.file, RegistryError, f"{said} .*schema {revision}")

    def test_a_database_of_something_else(self, tmp_path: Path) -> None:
        file = tmp_path / "journal.db"
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("CREATE TABLE runs (id INTEGER)")
        self.refused(file, RegistryError, "is no registry, and stays as it is")

    def test_one_that_is_no_database(self, tmp_path: Path) -> None:
        file = tmp_path / "mlflow.db"
        file.write_bytes(b"nothing that SQLite knows" * 100)
        self.refused(file, RegistryUnavailable, "cannot be read as a registry: file is not a database")

    def test_a_folder_that_cannot_be(self, tmp_path: Path) -> None:
        (tmp_path / ".plimsoll").write_text("a file")
        with pytest.raises(RegistryUnavailable, match="cannot be used"):
            Tracking.open(place_of(root=tmp_path, environ={}), make=True)
