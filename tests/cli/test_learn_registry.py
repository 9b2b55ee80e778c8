"""The registry as somebody types it: the commands of docs/registry.md, one after the other, on a journal."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from plimsoll.cli import main

PAGE = Path(__file__).parents[2] / "docs/registry.md"
NOTHING = ("register", "promote", "rollback", "models", "fetch", "lineage")


def ran(*words: object) -> Result:
    return CliRunner().invoke(main, ["learn", *map(str, words)])


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


def test_what_names_nothing_is_told_before_mlflow_is_asked(tmp_path: Path) -> None:
    for words, said in (
        (("register", "nowhere", "--name", "a"), "nowhere: there is no such directory"),
        (("register", "nowhere", "--name", "a/b"), "'a/b' is no name for a model"),
        (("promote", "a", "--version", 1, "--verdict", "nowhere.json"), "nowhere.json cannot be read: No such file"),
        (("rollback", "a@b"), "is no name for a model"),
        (("models", "a b"), "is no name for a model"),
        (("fetch", "a:0", "--out", "x"), "names no model of the registry"),
        (("lineage", "@champion"), "names no model of the registry"),
        (("classify", "registry:", "a text"), "names no model of the registry"),
        (("explain", "registry:", "a text"), "names no model of the registry"),
        (("report", "registry:", "--data", "nowhere"), "names no model of the registry"),
    ):
        ended = ran(*words)
        assert ended.exit_code == 1, ended.output
        assert said in ended.stderr
        assert json.loads(ran(*words[:1], "--json", *words[1:]).stdout)["error"] in ended.stderr.replace("Error: ", "")
    assert list(tmp_path.iterdir()) == []


def test_without_its_extra_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    for name in [name for name in sys.modules if name.startswith("plimsoll.learning.registry.")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "mlflow", None)
    for words in (("models",), ("fetch", "a", "--out", "x"), ("classify", "registry:a", "a text")):
        ended = ran(*words)
        assert ended.exit_code == 1
        assert "pip install 'plimsoll-ai[registry]'" in ended.stderr
    assert list(tmp_path.iterdir()) == []


def commands() -> list[list[str]]:
    blocks = re.findall(r"^```sh\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    lines = [line.split("  #")[0] for line in "".join(blocks).splitlines()]
    return [[word.strip('"') for word in re.findall(r'"[^"]*"|\S+', line)[1:]] for line in lines]


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_the_page_says_what_is_so(tmp_path: Path) -> None:
    from tests.learning.registry.made import report
    from tests.learning.test_journals import journal_of
    from tests.learning.tiny import write_encoder

    journal = journal_of(tmp_path, *(f"{word} {number}" for number in range(6) for word in ("find it", "hello there")))
    encoder = write_encoder(tmp_path / "encoder")
    told: dict[str, str] = {}

    def gated() -> None:
        versions = json.loads(ran("models", "router", "--json").stdout)["versions"]
        Path("gate-report").mkdir()
        made = report(versions[0]["digest"], made_at="2026-01-01T00:00:00+00:00")
        Path("gate-report/verdict.json").write_bytes(made)

    more: dict[str, list[object]] = {
        "rows": ["--journal", journal],
        "fit": ["--encoder", encoder, "--max-tokens", 16],
        "promote": ["--max-age-days", 100_000],
    }
    for words in commands():
        if words == ["gate"]:
            gated()
            continue
        assert words[0] == "learn"
        ended = ran(*words[1:], *more.get(words[1], []))
        told[words[1]] = ended.output
        if words[1] == "classify":  # explained and judged by the same reference
            assert "log-odds" in ran("explain", *words[2:]).output
            assert "Judged by" in ran("report", words[2], "--data", "requests.jsonl", "--texts", 0).output
        if words[1] == "rollback":
            assert ended.exit_code == 1 and "no champion that is still there came before router:1" in ended.output
        else:
            assert ended.exit_code == 0, (words, ended.output)
    assert {"rows", "fit", "export", *NOTHING, "classify"} == set(told)
    assert "router:1 is the candidate" in told["register"]
    assert "candidate" in told["models"]
    assert all(f"run-{number}\n" in told["lineage"] for number in range(12))
    assert "12 rows of 12 runs of all agents; 0 runs had none to give" in told["lineage"]
    assert "router:1 is the champion; there was none." in told["promote"]
    assert "models/router: router:1" in told["fetch"]
    assert_json(tmp_path)
    for snippet in re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL):
        scope: dict[str, object] = {}
        exec(compile(snippet, PAGE.name, "exec"), scope)
        directory = scope["directory"]
        assert isinstance(directory, Path) and (directory / "model.onnx").exists()


def assert_json(tmp_path: Path) -> None:
    """The same, for programs."""
    answer: Callable[..., object] = lambda *words: json.loads(ran(*words, "--json").stdout)  # noqa: E731
    again = answer("register", "router-int8", "--name", "router")
    assert isinstance(again, dict)
    assert (again["version"], again["alias"]) == (2, "candidate")
    assert answer("models") == {"models": [{"name": "router", "aliases": {"candidate": 2, "champion": 1}}]}
    verdict = tmp_path / "gate-report" / "verdict.json"
    promote = ("promote", "router", "--version", 2, "--verdict", verdict)
    assert "has expired" in ran(*promote).stderr
    moved = answer(*promote, "--max-age-days", 100_000)
    assert moved == {"name": "router", "champion": 2, "before": 1}
    assert answer("rollback", "router") == {"name": "router", "champion": 1, "before": 2}
    fetched = answer("fetch", "router:2", "--out", "fetched")
    assert fetched == {"out": "fetched", "name": "router", "version": 2, "digest": again["digest"]}
    lineage = answer("lineage", "router:2")
    assert isinstance(lineage, dict)
    assert lineage["digest"] == again["digest"]
    assert lineage["lineage"]["sources"][0]["lineage"]["runs"] == [f"run-{number}" for number in range(12)]
