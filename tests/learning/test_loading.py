"""A model of one's own is what its contract calls it, or an error that says why it is none."""

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from plimsoll.learning import loading
from plimsoll.learning.errors import NotSure, WeightsError
from plimsoll.learning.loading import load_local
from plimsoll.learning.local import LocalModel
from plimsoll.learning.manifest import FILE
from plimsoll.learning.registry import resolving
from plimsoll.runtime.compiled import DECLINED


class Loaded:
    """A model that knows where it is from."""

    digest = "0" * 64

    def __init__(self, source: Any) -> None:
        self.source = source

    async def reply(self, messages: Any, tools: Any) -> Any:
        raise NotImplementedError

    @classmethod
    def load(cls, directory: Path) -> "Loaded":
        return cls(directory)

    @classmethod
    def at(cls, url: str) -> "Loaded":
        return cls(url)


def known(monkeypatch: pytest.MonkeyPatch, where: tuple[str, str], value: Any) -> None:
    """Has `where` be `value`."""
    module = ModuleType(where[0])
    setattr(module, where[1], value)
    monkeypatch.setitem(sys.modules, where[0], module)


def made(folder: Path, *, manifest: str | None = None, config: bool = False) -> Path:
    folder.mkdir(parents=True)
    if manifest is not None:
        (folder / FILE).write_text(manifest)
    if config:
        (folder / "config.json").write_text("{}")
    return folder


def source_of(model: LocalModel) -> Any:
    assert isinstance(model, Loaded)
    return model.source


def test_a_directory_is_read_by_what_its_manifest_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, loading._BY_KIND["policy"], Loaded)
    folder = made(tmp_path / "models" / "assistant", manifest='{"kind": "policy", "more": 1}', config=True)
    assert source_of(load_local("models/assistant", base=tmp_path)) == folder
    assert source_of(load_local(str(folder), base=Path("elsewhere"))) == folder


def test_one_that_transformers_knows_is_a_decoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, loading._DECODER, Loaded)
    folder = made(tmp_path / "qwen", config=True)
    assert source_of(load_local("qwen", base=tmp_path)) == folder


def test_an_address_is_asked_where_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known(monkeypatch, loading._SERVED, Loaded)
    assert source_of(load_local("http://127.0.0.1:8000/v1", base=tmp_path)) == "http://127.0.0.1:8000/v1"


def test_a_name_in_the_registry_is_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made(tmp_path / "cache" / "3", manifest='{"kind": "policy"}')
    asked: list[tuple[str, Path]] = []

    def resolve(reference: str, *, root: Path, tracking_uri: str | None) -> Path:
        asked.append((reference, root))
        return folder

    monkeypatch.setattr(resolving, "resolve", resolve)
    known(monkeypatch, loading._BY_KIND["policy"], Loaded)
    assert source_of(load_local("registry:assistant@champion", base=tmp_path)) == folder
    assert asked == [("registry:assistant@champion", tmp_path)], "its registry is the contract's, too"


@pytest.mark.parametrize(
    ("made_of", "what"),
    [
        (None, "there is no such directory"),
        ({}, "it holds no model: neither plimsoll-model.json nor config.json"),
        ({"manifest": '{"kind": "export"}'}, "it is of kind `export`, which labels texts"),
        ({"manifest": '{"kind": "poli'}, "its plimsoll-model.json cannot be read"),
        ({"manifest": "[]"}, "its plimsoll-model.json cannot be read"),
        ({"manifest": "\udcff"}, "its plimsoll-model.json cannot be read"),
    ],
)
def test_what_is_no_model_is_an_error_that_names_it(tmp_path: Path, made_of: Any, what: str) -> None:
    if made_of is not None:
        folder = made(tmp_path / "model")
        for name, text in made_of.items():
            assert name == "manifest"
            (folder / FILE).write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(WeightsError, match=what) as raised:
        load_local("model", base=tmp_path)
    assert raised.value.directory == str(tmp_path / "model")


def test_what_this_version_cannot_read_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(loading._BY_KIND, "dream", ("plimsoll.learning.dreams", "Dream"))
    made(tmp_path / "model", manifest='{"kind": "dream"}')
    with pytest.raises(WeightsError, match=r"this version of Plimsoll has no plimsoll\.learning\.dreams"):
        load_local("model", base=tmp_path)


def test_the_runtime_knows_how_a_model_declines() -> None:
    assert (NotSure.__name__,) == DECLINED
