"""`plimsoll gate` tries the models of one's own that the contract names, wherever it is started."""

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll.cli.subjects import References, subject_maker
from plimsoll.contract.model import AgentSection, Contract, Model
from plimsoll.learning import loading
from plimsoll.learning.local import LocalReply
from plimsoll.learning.manifest import FILE

from .conftest import User

AGENT = """\
from plimsoll.adapters.plain import PlainAgent


async def answer(request, *, model):
    return (await model(request)).text


agent = PlainAgent(answer)
"""


class Policy:
    """A model that is loaded, and how often one was."""

    loads = 0

    def __init__(self, directory: Path) -> None:
        self.digest = directory.name.ljust(64, "0")

    async def reply(self, messages: Any, tools: Any) -> LocalReply:
        return LocalReply(text="Yes.")

    @classmethod
    def load(cls, directory: Path) -> "Policy":
        cls.loads += 1
        return cls(directory)


def test_it_is_looked_for_from_the_contracts_folder_and_loaded_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, attribute = loading._BY_KIND["policy"]
    module = ModuleType(name)
    setattr(module, attribute, Policy)
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "local_desk.py").write_text(AGENT)
    folder = tmp_path / "deploy" / "models" / "clerk"
    folder.mkdir(parents=True)
    (folder / FILE).write_text('{"kind": "policy"}')
    models = {"primary": Model(fallback=("own",)), "own": Model(local="models/clerk")}
    contract = Contract(agent=AgentSection(name="desk", entrypoint="local_desk:agent"), models=models)
    Policy.loads = 0
    make = subject_maker(References(), contract, folder=tmp_path / "deploy")
    whole, again = make(contract), make(contract)
    assert whole.local_models == {"own": "clerk".ljust(64, "0")} and whole.fingerprint == again.fingerprint
    without = make(replace(contract, models={"primary": Model()}))
    assert without.local_models == {} and without.fingerprint != whole.fingerprint
    assert Policy.loads == 1


def test_one_that_cannot_be_loaded_is_no_verdict(user: User) -> None:
    user.contract.write_text(user.contract.read_text() + '\n[models.own]\nlocal = "models/gone"\n')
    said = user.refused("gate", code=2)
    assert "models/gone: there is no such directory" in " ".join(said.split())


def test_what_it_prints_as_json_names_them(user: User) -> None:
    result = user.run("gate", "--json", "--workers", "2", "--storms", "0", "--scenarios", "shop.scenarios:FULL")
    assert json.loads(result.stdout.splitlines()[-1])["local_models"] == {}
