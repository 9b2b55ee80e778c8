"""Which model answers: where it is found, when it is exchanged, and what happens with one that cannot be loaded."""

import asyncio
import logging
import shutil
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import msgspec
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from plimsoll.core.clock import ManualClock
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.linear import Head
from plimsoll.learning.manifest import FILE, Manifest, digests, read_manifest, write_manifest
from plimsoll.services.inference.batching import Admission, BatchOptions
from plimsoll.services.inference.metrics import Metrics
from plimsoll.services.inference.models import ClassifierReader, DirectorySource, Models
from tests.services.inference.serving import TEXT, serving, version_of

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import


def flip(link: Path, to: Path) -> None:
    """Sets the link to another directory, at once."""
    scratch = link.with_name("next")
    scratch.symlink_to(to)
    scratch.replace(link)


def models(scene: Callable[[Models, ManualClock], Awaitable[None]], path: Path) -> str:
    """Plays a scene with the models behind `path`, and gives what was measured."""
    metrics = Metrics(queued=lambda: 0)

    async def played() -> None:
        clock = ManualClock()
        made = Models(
            DirectorySource(path), options=BatchOptions(), admission=Admission(10), clock=clock, metrics=metrics
        )
        await made.start()
        await scene(made, clock)
        await made.close()

    asyncio.run(played())
    return metrics.written().decode()


def test_a_directory_a_link_to_one_and_a_file_that_names_one(exported: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(exported)
    (tmp_path / "absolute").write_text(f"{exported}\n")
    (tmp_path / "inner").mkdir()
    (tmp_path / "relative").write_text("inner\n")
    for path in (exported, tmp_path / "link", tmp_path / "absolute"):
        assert DirectorySource(path).current() == exported.resolve()
    assert DirectorySource(tmp_path / "relative").current() == (tmp_path / "inner").resolve()


@pytest.mark.parametrize("content", [None, "", "nowhere\n", "\0", b"\xff".decode("latin-1")])
def test_a_reference_to_nothing(content: str | None, tmp_path: Path) -> None:
    file = tmp_path / "reference"
    if content is not None:
        file.write_bytes(content.encode("latin-1"))
    with pytest.raises(WeightsError, match="reference: it names no model's directory"):
        DirectorySource(file).current()


def test_a_link_that_leads_to_itself(tmp_path: Path) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(WeightsError, match="it names no model's directory"):
        DirectorySource(tmp_path / "loop").current()


def test_a_model_that_is_none_is_told_at_the_start(tmp_path: Path) -> None:
    async def scene(models: Models, clock: ManualClock) -> None:
        raise AssertionError("it has started")

    with pytest.raises(WeightsError, match=r"it has no plimsoll-model\.json"):
        models(scene, tmp_path)


def test_another_model_answers_when_the_link_is_set_to_it(exported: Path, second: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(exported)

    async def scene(models: Models, clock: ManualClock) -> None:
        before = models.current
        await models.look()
        assert models.current is before
        waiting = before.batcher.submit([[1, 2], [2, 3]])
        flip(link, second)
        await models.look()
        assert models.current is not before and models.current.version != before.version
        assert len(await waiting) == 2  # by the one that was asked
        (answer,) = models.current.classifier.classify([TEXT])
        assert answer.out_of_scope

    told = models(scene, link)
    assert 'plimsoll_inference_models_total{outcome="loaded"} 2.0' in told
    assert told.count("plimsoll_inference_model{version=") == 1


def test_a_model_that_cannot_be_loaded_is_reported_and_the_one_before_goes_on(
    exported: Path, second: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "plimsoll.inference")
    link, broken = tmp_path / "current", shutil.copytree(second, tmp_path / "broken")
    link.symlink_to(exported)
    whole = (broken / "model.onnx").read_bytes()
    (broken / "model.onnx").write_bytes(whole[:-1])

    async def scene(models: Models, clock: ManualClock) -> None:
        before = models.current
        flip(link, broken)
        for _ in range(3):
            await models.look()
        assert models.current is before
        assert models.rejected is not None and models.rejected.directory == str(broken.resolve())
        assert "model.onnx is not the file" in models.rejected.reason
        (broken / "model.onnx").write_bytes(whole)  # it was still being copied
        await models.look()
        assert models.current is before
        clock.advance(30)
        await models.look()
        assert models.current is not before and models.rejected is None

    told = models(scene, link)
    assert 'plimsoll_inference_models_total{outcome="rejected"} 1.0' in told
    assert sum("cannot be exchanged" in record.message for record in caplog.records) == 1


def test_a_link_that_is_set_back_is_no_news(exported: Path, tmp_path: Path) -> None:
    link = tmp_path / "current"
    link.symlink_to(exported)

    async def scene(models: Models, clock: ManualClock) -> None:
        before = models.current
        flip(link, tmp_path / "nowhere")
        await models.look()
        assert models.rejected is not None and models.rejected.directory == ""
        flip(link, exported)
        await models.look()
        assert models.current is before and models.rejected is None

    models(scene, link)


def test_a_model_that_answers_what_is_no_number(exported: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(exported, tmp_path / "broken")
    head = load_file(broken / "head.safetensors")
    save_file({name: np.full_like(array, np.nan) for name, array in head.items()}, broken / "head.safetensors")
    manifest = msgspec.json.decode((broken / FILE).read_bytes(), type=Manifest)
    write_manifest(broken, msgspec.structs.replace(manifest, files=digests(broken)))

    async def scene(models: Models, clock: ManualClock) -> None:
        raise AssertionError("it has started")

    with pytest.raises(WeightsError, match="is no number"):
        models(scene, broken)


def test_under_load_no_request_is_lost_while_models_are_exchanged(exported: Path, tmp_path: Path) -> None:
    """Eight clients ask without a pause while the link goes back and forth between two versions."""
    other = version_of(exported, tmp_path / "other", threshold=1e9)
    link = tmp_path / "current"
    link.symlink_to(exported)
    seen: list[tuple[int, str, bool]] = []
    ended = threading.Event()

    with serving(link, poll_s=0.01) as client:

        def ask() -> None:
            with httpx2.Client(base_url=client.base_url, trust_env=False, timeout=30) as mine:
                while not ended.is_set():
                    answer = mine.post("/v1/classify", json={"texts": [TEXT, "my money back"]})
                    scope = answer.json()["results"][0]["out_of_scope"] if answer.status_code == 200 else False
                    seen.append((answer.status_code, answer.headers["x-plimsoll-version"], scope))

        with ThreadPoolExecutor(8) as clients:
            asking = [clients.submit(ask) for _ in range(8)]
            versions = [client.get("/readyz").json()["version"]]
            for to in (other, exported) * 3:
                flip(link, to)
                while (version := client.get("/readyz").json()["version"]) == versions[-1]:
                    pass
                versions.append(version)
            ended.set()
            for each in asking:
                each.result()
    assert {status for status, _, _ in seen} == {200}
    assert {(version, scope) for _, version, scope in seen} == {(versions[0], False), (versions[1], True)}
    assert len(set(versions)) == 2


def test_what_is_long_is_known_from_its_letters(exported: Path) -> None:
    """A sign of Chinese is a token of its own: a text of two hundred of them is no short one."""
    manifest = msgspec.structs.replace(read_manifest(exported, kind="export"), max_tokens=512)
    reader = ClassifierReader(Classifier(Classifier.load(exported)._vectors, Head(None, None), manifest))
    assert reader.size("where is my parcel") < 10
    assert reader.size("订单" * 100) > 128
    assert reader.size("订单" * 10_000) == 512 and reader.size([1, 2, 3]) == 3
    assert reader.size("\ud800") == 2
