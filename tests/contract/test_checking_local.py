"""Checks of rungs that ask a model of one's own: what may be named, and whether it is there."""

from pathlib import Path

import pytest

from plimsoll.contract.checking import check_contract
from plimsoll.contract.checking_gateway import gateway_problems
from plimsoll.contract.holes import holes
from plimsoll.contract.loading import Source, contract_digest, load_contract, parse_contract
from plimsoll.contract.model import AgentSection, Contract, GatewaySection, Model, Upstream
from plimsoll.core.errors import ContractError

PLAIN = """\
[agent]
name = "desk"
[models.primary]
fallback = ["own"]
[models.own]
local = "LOCAL"
"""


def said(folder: Path, local: str) -> list[str]:
    """What is found about the rung of the contract in `folder`."""
    text = PLAIN.replace("LOCAL", local)
    file = folder / "plimsoll.toml"
    file.write_text(text)
    problems = check_contract(load_contract(file), source=Source(str(file), text))
    return [f"{each.severity} {each.line}: {each.what}" for each in problems if each.field == "models.own.local"]


def test_a_directory_that_is_not_there_is_told(tmp_path: Path) -> None:
    where = tmp_path / "models" / "assistant"
    assert said(tmp_path, "models/assistant") == [
        f"warning 6: there is no directory {where}: without it, the agent does not start here"
    ]
    where.mkdir(parents=True)
    assert said(tmp_path, "models/assistant") == said(tmp_path, str(where)) == []


@pytest.mark.parametrize("local", ["http://127.0.0.1:8000/v1", "registry:assistant@champion", "registry:assistant:3"])
def test_what_is_no_directory_is_not_looked_for(tmp_path: Path, local: str) -> None:
    assert said(tmp_path, local) == []


@pytest.mark.parametrize("host", ["8.8.8.8", "[2001:4860:4860::8888]", "[::ffff:8.8.8.8]"])
def test_a_public_address_is_told(tmp_path: Path, host: str) -> None:
    (told,) = said(tmp_path, f"https://{host}:8000/v1")
    assert told.startswith("warning 6: ") and "is a public address, and what the agent is told may not leave" in told


@pytest.mark.parametrize("host", ["10.1.2.3", "[::1]", "[fd00::1]", "[::ffff:192.168.0.1]", "llm.internal"])
def test_a_private_address_and_a_name_are_not(tmp_path: Path, host: str) -> None:
    assert said(tmp_path, f"http://{host}:8000/v1") == []


@pytest.mark.parametrize(
    "local", ["", " ", "http://", "https:///v1", "registry:", "registry:name", "registry:a@", "a "]
)
def test_what_names_no_model_is_refused_with_its_line(local: str) -> None:
    with pytest.raises(ContractError, match=r"plimsoll.toml:6: models.own.local: .*a model's directory"):
        parse_contract(PLAIN.replace("LOCAL", local), file="plimsoll.toml")


def test_it_is_part_of_what_was_decided() -> None:
    one, other = (parse_contract(PLAIN.replace("LOCAL", each), file="x") for each in ("models/a", "models/b"))
    assert contract_digest(one) != contract_digest(other)


def test_it_needs_no_price() -> None:
    prices = {"usd_per_million_input_tokens": 1.0, "usd_per_million_output_tokens": 1.0}
    models = {"primary": Model(fallback=("own",), **prices), "own": Model(local="models/a")}
    contract = Contract(agent=AgentSection(name="desk"), models=models)
    assert [hole.path for hole in holes(contract) if hole.concession == "unpriced_models"] == []


def test_a_gateway_has_none() -> None:
    models = {"primary": Model(id="openai:gpt-5", fallback=("own",)), "own": Model(local="models/a")}
    upstreams = {"openai": Upstream(base_url="https://api.openai.com/v1")}
    contract = Contract(agent=AgentSection(name="desk"), models=models, gateway=GatewaySection(upstreams=upstreams))
    (problem,) = gateway_problems(contract)
    assert problem[:2] == (("models", "own", "local"), "is no upstream: a gateway asks HTTP services alone")


def test_two_of_ones_own_are_two_models() -> None:
    text = PLAIN.replace("LOCAL", "models/a").replace('["own"]', '["own", "other"]')
    same, other = (f'{text}[models.other]\nlocal = "models/{name}"\n' for name in ("a", "b"))

    def repeated(text: str) -> list[str]:
        problems = check_contract(parse_contract(text, file="x"))
        return [each.field for each in problems if "asks the same model" in each.what]

    assert repeated(same) == ["models.other.local"] and repeated(other) == []
