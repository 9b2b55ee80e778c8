"""Names in Python: found where they are, and nothing of them is executed."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import Source, parse_contract
from plimsoll.contract.model import AgentSection, Contract, Tool


def verified(here: Path, reference: str, **options: Any) -> list[str]:
    text = f'[agent]\nname = "a"\n[tools.pay]\nverify = "{reference}"\n'
    source = Source(str(here / "p.toml"), text)
    problems = check_contract(parse_contract(text, file=source.file), source=source, **options)
    return [f"{problem.line}: {problem.what}" for problem in problems if problem.severity == "error"]


@pytest.fixture
def here(tmp_path: Path) -> Iterator[Path]:
    """A folder with modules in packages of both kinds. A file tells when one is executed."""
    for path in ("pkg/__init__.py", "pkg/deep/mod.py", "space/inner/mod.py", "bad.py"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        mark = f"Path({str(tmp_path / 'executed')!r}).touch()"
        (tmp_path / path).write_text(f"from pathlib import Path\n{mark}\nx = int\n")
    (tmp_path / "bad.py").write_text("1 / 0\n")
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    "reference", ["pkg:x", "pkg.deep.mod:x", "space.inner.mod:x", "bad:x", "json.decoder:x", "plimsoll.core.calls:x"]
)
def test_a_module_is_found_and_nothing_of_it_is_executed(here: Path, reference: str) -> None:
    path = list(sys.path)
    assert verified(here, reference) == []
    assert not (here / "executed").exists()
    assert sys.path == path


@pytest.mark.parametrize(
    "module", ["no.such", "pkg.nothing", "pkg.deep.nothing", "bad.mod", "space.nothing", "pkg..deep", "json.nothing"]
)
def test_a_verify_that_cannot_be_imported_is_an_error(here: Path, module: str) -> None:
    assert verified(here, f"{module}:verify") == [f"4: no module {module} is found"]
    assert not (here / "executed").exists()


def test_together_with_the_agent_the_attribute_is_looked_for_too(here: Path) -> None:
    path = list(sys.path)
    assert verified(here, "pkg.deep.mod:x", tools=[]) == []
    assert verified(here, "pkg.deep.mod:x.real", tools=[]) == []
    assert verified(here, "pkg.deep.mod:y", tools=[]) == ["4: pkg.deep.mod has no y"]
    assert verified(here, "pkg:x.y", tools=[]) == ["4: pkg has no y"]
    assert verified(here, "bad:x", tools=[]) == ["4: importing bad failed: ZeroDivisionError: division by zero"]
    assert sys.path == path


def test_without_a_file_no_module_is_looked_for() -> None:
    contract = Contract(agent=AgentSection(name="a"), tools={"pay": Tool(verify="no.such:thing")})
    assert [problem for problem in check_contract(contract) if problem.severity == "error"] == []
