"""The page of the gateway: its contract is one, and its snippets run against a gateway that it makes."""

import re
from pathlib import Path

import pytest

from plimsoll.contract.loading import parse_contract
from tests.services.gateway.serving import UP_KEY, Upstream, gateway

PAGE = (Path(__file__).parents[3] / "docs/gateway.md").read_text()
PYTHON = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
(TOML,) = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
SOURCES = Path(__file__).parents[3] / "src/plimsoll/services/gateway"


def test_the_snippets_run(
    tmp_path: Path,
    upstream: Upstream,
    upstream_url: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = TOML.replace("https://api.openai.com/v1", "{base_url}").replace("env:OPENAI_API_KEY", "env:UP_KEY")
    with gateway(tmp_path, upstream_url, text) as running:
        *clients, application = PYTHON
        for client in clients:
            code = client.replace("http://127.0.0.1:8080", running.url).replace("plk_…", running.key())
            exec(compile(code, "docs/gateway.md", "exec"), {})
        said = "gpt-5 says Where is my order?."
        assert capsys.readouterr().out == f"primary {said}\n{said}\n"
    (tmp_path / "plimsoll.toml").write_text(text.replace("{base_url}", upstream_url))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UP_KEY", UP_KEY)
    exec(compile(application, "docs/gateway.md", "exec"), {})
    assert parse_contract(TOML, file="docs/gateway.md").gateway is not None


def test_every_code_of_an_error_is_on_the_page() -> None:
    sources = "".join(file.read_text() for file in SOURCES.glob("*.py"))
    codes = set(re.findall(r'Failure\(\s*\d+, "([a-z_]+)"', sources)) | {"circuit_open", "overloaded", "run_busy"}
    codes -= {"internal_error", "disconnected"}  # a fault of ours, and one that nobody is there to be told
    assert {code for code in codes if f"`{code}`" not in PAGE and f'"{code}"' not in PAGE} == set()
