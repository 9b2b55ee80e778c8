"""The learn demo: a journal becomes a model, and the assistant goes on by it when its provider is gone."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from examples.assistant.agent import CONTRACT
from examples.assistant.learn_demo import contract_with
from plimsoll import load_contract

ROOT = Path(__file__).parents[3]


def test_the_rung_stands_before_the_canned_answer(tmp_path: Path) -> None:
    written = tmp_path / "plimsoll.toml"
    written.write_text(contract_with('\n[models.local]\nlocal = "policy"\nmay_write = false\n\n[models.canned]\n'))
    contract, shipped = load_contract(written), load_contract(CONTRACT)
    assert contract.models["primary"].fallback == ("backup", "local", "canned")
    assert (contract.models["local"].local, contract.models["local"].may_write) == ("policy", False)
    assert contract.tools == shipped.tools and contract.limits == shipped.limits


@pytest.mark.heavy
@pytest.mark.timeout(600)
def test_it_learns_ships_is_promoted_and_goes_on_alone(tmp_path: Path) -> None:
    out = tmp_path / "demo"
    told = subprocess.run(
        [sys.executable, "-m", "examples.assistant.learn_demo", "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout[-4000:] + told.stderr[-2000:]
    assert "shop-policy:1 is the champion" in told.stdout
    assert "was changed by any." in told.stdout
    assert ": 0 answered by its own model" not in told.stdout
