"""`plimsoll inference` as a process: an answer, and the end of it; and what is wrong is one line."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from click.testing import CliRunner

from plimsoll.cli import main


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.learning.tiny import write_encoder, write_export, write_model, write_splits

    work = tmp_path_factory.mktemp("inference")
    splits = write_splits(work / "splits")
    model = write_model(work / "model", splits=splits, encoder=write_encoder(work / "encoder"))
    return write_export(work / "intents", model=model, splits=splits)


@pytest.mark.heavy
@pytest.mark.timeout(300)
def test_a_process_answers_until_it_is_told_to_end(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a key\n")
    command = [sys.executable, "-m", "plimsoll", "inference", str(exported), "--port", "0"]
    command += ["--key-file", str(tmp_path / "key")]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ | {"NO_PROXY": "*"}) as process:
        assert process.stderr is not None
        said = ""
        while not (found := re.search(r"running on (http://\S+)", said)):
            line = process.stderr.readline()
            assert line, said
            said += line
        asked = {"texts": ["please cancel my order"]}
        answer = httpx2.post(f"{found[1]}/v1/classify", json=asked, headers={"authorization": "Bearer a key"})
        refused = httpx2.post(f"{found[1]}/v1/classify", json=asked)
        process.send_signal(signal.SIGTERM)
        said += process.stderr.read()
    assert process.returncode == -signal.SIGTERM
    assert answer.json()["model"] == "intents" and answer.json()["results"][0]["label"] == "cancel_order"
    assert refused.status_code == 401
    assert re.search(rf"{exported.resolve()} answers: version [0-9a-f]{{12}}", said)


@pytest.mark.heavy
@pytest.mark.timeout(120)
def test_a_process_follows_the_champion_of_a_registry(exported: Path, tmp_path: Path) -> None:
    """A promotion and a rollback exchange the model; and where no champion is left, the last one goes on."""
    from mlflow import MlflowClient

    from plimsoll.learning.registry.places import place_of
    from plimsoll.learning.registry.promoting import promote, rollback
    from plimsoll.learning.registry.registering import register
    from plimsoll.learning.registry.tracking import Tracking
    from tests.learning.registry.made import NOW, report
    from tests.services.inference.serving import version_of

    tracking = Tracking.open(place_of(root=tmp_path, environ={}), make=True)
    for directory in (exported, version_of(exported, tmp_path / "second", threshold=1e9)):
        register(tracking, directory, name="router")

    def champion(number: int) -> None:
        version = tracking.version("router", number)
        promote(tracking, version, report=report(version.tags["plimsoll.model_digest"]), now=NOW)

    champion(1)
    command = [sys.executable, "-m", "plimsoll", "inference", "registry:router@champion", "--port", "0"]
    environ = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"} | {"NO_PROXY": "*"}
    with subprocess.Popen(
        [*command, "--poll-s", "0.05"], stderr=subprocess.PIPE, text=True, env=environ, cwd=tmp_path
    ) as process:
        assert process.stderr is not None

        def said(what: str) -> str:
            assert process.stderr is not None
            while not (found := re.search(what, line := process.stderr.readline())):
                assert line and "alembic" not in line, what
            return found[1]

        def out_of_scope() -> bool:
            answer = httpx2.post(f"{url}/v1/classify", json={"texts": ["please cancel my order"]}).json()
            assert answer["model"] == "router"
            return bool(answer["results"][0]["out_of_scope"])

        first = said(r"answers: version ([0-9a-f]{12})")
        url = said(r"running on (http://\S+)")
        seen = [out_of_scope()]
        champion(2)
        assert said(r"answers: version ([0-9a-f]{12})") != first
        seen.append(out_of_scope())
        rollback(tracking, "router")
        assert said(r"answers: version ([0-9a-f]{12})") == first
        MlflowClient(tracking.place.uri, tracking.place.uri).delete_registered_model_alias("router", "champion")
        said(r"cannot be exchanged, and version (\w+) goes on")
        seen.append(out_of_scope())
        process.send_signal(signal.SIGTERM)
        process.stderr.read()
    assert seen == [False, True, False]
    assert process.returncode == -signal.SIGTERM


@pytest.mark.heavy
def test_a_registry_that_is_none_is_told_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    ended = CliRunner().invoke(main, ["inference", "registry:intents@champion"])
    assert ended.exit_code == 1
    assert "there is no registry at" in ended.stderr and ended.stderr.count("\n") == 1
    ended = CliRunner().invoke(main, ["inference", "registry:"])
    assert ended.exit_code == 1 and "names no model of the registry" in ended.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.heavy
def test_what_is_no_model_is_told_in_one_line(tmp_path: Path) -> None:
    ended = CliRunner().invoke(main, ["inference", str(tmp_path)])
    assert ended.exit_code == 1
    assert ended.stderr == f"Error: {tmp_path}: it has no plimsoll-model.json: " + (
        "`plimsoll learn export` makes such a directory\n"
    )


@pytest.mark.heavy
def test_a_key_that_cannot_be_read(tmp_path: Path) -> None:
    ended = CliRunner().invoke(main, ["inference", str(tmp_path), "--key-file", str(tmp_path / "none")])
    assert ended.exit_code == 1 and "cannot be read as a file with a key" in ended.stderr
    (tmp_path / "empty").touch()
    ended = CliRunner().invoke(main, ["inference", str(tmp_path), "--key-file", str(tmp_path / "empty")])
    assert ended.exit_code == 1 and "the key is empty" in ended.stderr
    (tmp_path / "two").write_text("one\ntwo\n")
    ended = CliRunner().invoke(main, ["inference", str(tmp_path), "--key-file", str(tmp_path / "two")])
    assert ended.exit_code == 1 and "which no client can send" in ended.stderr


@pytest.mark.parametrize("library", ["prometheus_client", "onnxruntime", "starlette"])
def test_a_missing_library_is_named_with_its_extra(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith(("plimsoll.services", "plimsoll.learning."))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, library, None)
    ended = CliRunner().invoke(main, ["inference", "nowhere"])
    assert ended.exit_code == 1
    assert "pip install 'plimsoll-ai[inference-service]'" in ended.stderr
