"""The registry on a real MLflow server: the same promises over HTTP; and one that does not answer."""

import os
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from plimsoll.learning.errors import PromotionRefused, RegistryError, RegistryUnavailable, WeightsError
from plimsoll.learning.registry import RegistrySource, resolve
from plimsoll.learning.registry.places import place_of
from plimsoll.learning.registry.promoting import promote, rollback
from plimsoll.learning.registry.registering import register
from plimsoll.learning.registry.telling import lineage_of, told_versions
from plimsoll.learning.registry.tracking import Tracking
from tests.learning.registry.made import NOW, SOURCES, report, write_model
from tests.observability.telemetry.running import Server, running

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]


@pytest.fixture
def server(database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("MLFLOW_SERVER_ENABLE_JOB_EXECUTION", "false")  # some ten processes more
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(database, folder / "mlflow.db")

    def command(port: int) -> list[str]:
        store = [
            "--backend-store-uri",
            f"sqlite:///{folder}/mlflow.db",
            "--artifacts-destination",
            str(folder / "files"),
        ]
        return [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
            *store,
        ]

    with running(command, healthy="/health", folder=folder, within_s=200) as started:
        yield started


def test_a_server_keeps_what_a_file_keeps(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.url)
    place = place_of(root=tmp_path, environ=os.environ)
    tracking = Tracking.open(place)
    with pytest.raises(RegistryError, match=f"there is no model 'intents' in {server.url}"):
        tracking.model("intents")
    digests = [write_model(tmp_path / name, name.encode()) for name in ("one", "two")]
    assert [register(tracking, tmp_path / name, name="intents") for name in ("one", "two")] == [1, 2]
    with pytest.raises(RegistryError, match="intents has no version 3"):
        tracking.version("intents", 3)

    source = RegistrySource("registry:intents@champion", root=tmp_path)
    with pytest.raises(RegistryError, match="has no champion"):
        source.current()
    with pytest.raises(PromotionRefused, match="of other models"):
        promote(tracking, tracking.version("intents", 1), report=report(digests[1]), now=NOW)
    for number, digest in enumerate(digests, 1):
        promote(tracking, tracking.version("intents", number), report=report(digest), now=NOW)
        assert source.current() == place.cache / digest
    assert (place.cache / digests[0] / "lineage.json").stat().st_mode & 0o777 == 0o600
    assert [(told.version, told.aliases, told.verdict) for told in told_versions(tracking, "intents")] == [
        (2, ("candidate", "champion"), "ship"),
        (1, (), "ship"),
    ]
    told = lineage_of(tracking, tracking.version("intents", 2))
    assert told.lineage is not None and told.lineage.sources == SOURCES

    shutil.rmtree(place.cache)
    for file in (tmp_path / "server" / "files").rglob("model.safetensors"):
        if file.read_bytes() == b"one":
            file.write_bytes(b"another")
    with pytest.raises(WeightsError, match=r"intents:1: encoder/model.safetensors is not the file"):
        rollback(tracking, "intents")
    assert tracking.model("intents").aliases["champion"] == 2
    assert resolve("registry:intents", root=tmp_path) == place.cache / digests[1]


def test_one_that_does_not_answer_is_told_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.socket() as nobody:
        nobody.bind(("127.0.0.1", 0))  # and nobody listens
        uri = f"http://maria:secret@127.0.0.1:{nobody.getsockname()[1]}"
        with pytest.raises(RegistryUnavailable, match="Does it run, and is MLFLOW_TRACKING_URI right") as error:
            resolve("registry:intents", tracking_uri=uri, root=tmp_path)
    assert "secret" not in str(error.value) and "127.0.0.1" in str(error.value)
