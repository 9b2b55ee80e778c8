"""What models cost: by the contract, or by the installed table, offline and the same until another is installed."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from plimsoll.cli import main
from plimsoll.contract import pricing
from plimsoll.contract.checking import check_contract
from plimsoll.contract.holes import holes
from plimsoll.contract.model import AgentSection, Contract, DayLimits, Limits, Model
from plimsoll.contract.pricing import Price, Tariff, price_of, price_table, priced_by_table
from plimsoll.core.errors import MissingExtra
from plimsoll.policies.limits import LimitLedger
from plimsoll.runtime.fingerprint import installed_distributions

GPT_5 = "openai:gpt-5"
TIERED = "anthropic:claude-sonnet-4-5"


def contract(**models: Model) -> Contract:
    return Contract(agent=AgentSection(name="a"), models=models)


def unpriced(given: Contract) -> list[tuple[str, str]]:
    return [(".".join(map(str, hole.path)), hole.fix) for hole in holes(given) if hole.concession == "unpriced_models"]


@pytest.fixture
def without_table(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone() -> None:
        raise MissingExtra("genai-prices", extra="prices")

    monkeypatch.setattr(pricing, "_table", gone)
    monkeypatch.setattr(pricing, "_in_table", pricing._in_table.__wrapped__)


def test_a_model_that_the_contract_names_costs_what_the_table_says() -> None:
    price = price_of(Model(id=GPT_5))
    assert price == Price((Tariff(-1, 1.25, 10.0),))
    assert price.usd(1_000_000, 100_000) == pytest.approx(2.25)
    assert LimitLedger(Limits()).cost(Model(id=GPT_5), 0, 1000) == pytest.approx(0.01)


def test_a_price_in_the_contract_overrides_the_tables() -> None:
    model = Model(id=GPT_5, usd_per_million_input_tokens=0.1)
    assert price_of(model) == Price((Tariff(-1, 0.1, 0.0),))
    assert not priced_by_table(model) and priced_by_table(Model(id=GPT_5))
    assert [path for path, _ in unpriced(contract(primary=model))] == ["models.primary.usd_per_million_output_tokens"]


def test_a_long_prompt_costs_by_its_own_tariff() -> None:
    price = price_of(Model(id=TIERED))
    assert price is not None
    assert [tariff.above for tariff in price.tariffs] == [-1, 200_000]
    assert price.usd(200_000, 0) == pytest.approx(0.2 * price.tariffs[0].usd_per_million_input_tokens)
    assert price.usd(200_001, 0) == pytest.approx(0.200001 * price.tariffs[1].usd_per_million_input_tokens)


@pytest.mark.parametrize("model_id", [None, "gpt-5", "test:test", "openai:no-such-model", "nobody:gpt-5"])
def test_a_model_that_neither_knows_has_no_price(model_id: str | None) -> None:
    assert price_of(Model(id=model_id)) is None
    assert not priced_by_table(Model(id=model_id))


def test_a_canned_answer_costs_nothing() -> None:
    assert price_of(Model(canned="Later.", id=GPT_5)) is None


def test_only_models_that_neither_knows_are_asked_for_their_prices() -> None:
    known, unknown = Model(id=GPT_5, fallback=("backup",)), Model(id="nobody:model")
    assert unpriced(contract(primary=known)) == []
    assert [path for path, _ in unpriced(contract(primary=known, backup=unknown))] == ["models.backup"]
    assert [path for path, _ in unpriced(contract(primary=Model(), backup=unknown))] == ["limits.usd"]


def test_without_the_table_the_fix_names_it(without_table: None) -> None:
    assert price_of(Model(id=GPT_5)) is None
    assert price_table() == ""
    ((path, fix),) = unpriced(contract(primary=Model(id=GPT_5)))
    assert path == "limits.usd" and "plimsoll-ai[prices]" in fix


def test_where_the_library_is_missing_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "genai_prices", None)
    monkeypatch.delitem(sys.modules, "plimsoll.contract.price_table", raising=False)
    with pytest.raises(MissingExtra, match=r"plimsoll-ai\[prices\]"):
        importlib.import_module("plimsoll.contract.price_table")


def test_the_table_is_that_of_the_installed_distribution_which_is_part_of_the_fingerprint() -> None:
    name, version = price_table().split()
    assert f"{name}=={version}" in installed_distributions()


def test_the_table_stays_whatever_else_updates_the_librarys_prices() -> None:
    code = """
from genai_prices.data_snapshot import DataSnapshot, set_custom_snapshot
from plimsoll.contract.model import Model
from plimsoll.contract.pricing import price_of
set_custom_snapshot(DataSnapshot(providers=[], from_auto_update=True))
assert price_of(Model(id="openai:gpt-5")) is not None
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_library_is_loaded_only_where_a_price_is_asked_of_it() -> None:
    code = """
import sys
import plimsoll.cli
from plimsoll.contract.model import Model
from plimsoll.contract.pricing import price_of
price_of(Model()), price_of(Model(id="openai:gpt-5", usd_per_million_input_tokens=1.0))
assert "plimsoll.contract.price_table" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_announced_change_and_the_dearest_hours_hold() -> None:
    table = importlib.import_module("plimsoll.contract.price_table")
    types = importlib.import_module("genai_prices.types")
    from datetime import date, time
    from decimal import Decimal

    def at(price: int, constraint: object = None) -> object:
        both = types.ModelPrice(input_mtok=Decimal(price), output_mtok=Decimal(price))
        return types.ConditionalPrice(constraint, prices=both)

    by_night = types.TimeOfDateConstraint(start_time=time(1), end_time=time(5))
    dated = types.StartDateConstraint(start_date=date(2099, 1, 1))
    assert table._last([one := at(1), two := at(2, by_night)]) == [one, two]
    assert table._last([at(9), three := at(3, dated)]) == [three]
    assert table._last([at(9), three, two]) == [three, two]


def test_an_answer_that_may_cost_more_than_a_limit_is_an_error_by_the_tables_price_too() -> None:
    dear = Model(id=GPT_5, max_output_tokens=60_000)

    def errors(limits: Limits) -> list[str]:
        given = Contract(agent=AgentSection(name="a"), limits=limits, models={"primary": dear})
        return [problem.what for problem in check_contract(given) if problem.severity == "error"]

    assert errors(Limits(usd=1.0)) == []
    (what,) = errors(Limits(usd=0.5))
    assert "may cost $0.6, more than limits.usd ($0.5)" in what
    (what,) = errors(Limits(day=DayLimits(usd=0.5)))
    assert "may cost $0.6, more than limits.day.usd ($0.5)" in what
    (what,) = errors(Limits(day=DayLimits(tokens=50_000)))
    assert "limits.day.tokens (50000)" in what


def test_a_day_that_one_run_may_end_is_told() -> None:
    def told(limits: Limits) -> list[tuple[str, str]]:
        given = Contract(agent=AgentSection(name="a"), limits=limits)
        return [(problem.field, problem.what) for problem in check_contract(given) if "day" in problem.field]

    assert told(Limits()) == [] == told(Limits(day=DayLimits(usd=1.0, runs=1)))
    assert told(Limits(day=DayLimits()))[0] == ("limits.day", "is empty: nothing is limited")
    ((field, what),) = told(Limits(day=DayLimits(usd=0.5)))
    assert field == "limits.day.usd" and "a single run may use 1" in what


def test_check_tells_what_the_table_says_and_which_it_is(tmp_path: Path) -> None:
    path = tmp_path / "plimsoll.toml"
    path.write_text(
        f'[agent]\nname = "a"\n[models.primary]\nid = "{TIERED}"\nfallback = ["canned"]\n'
        '[models.canned]\ncanned = "Later."\n'
    )
    said = " ".join(CliRunner().invoke(main, ["check", str(path)]).output.split())
    assert "models.primary costs $3 and $15, $6 and $22.5 from 200,000 tokens of prompt on" in said
    assert f"by {price_table()}" in said
    told = json.loads(CliRunner().invoke(main, ["check", str(path), "--json"]).output)["prices"]
    assert told["table"] == price_table()
    assert [tariff["above"] for tariff in told["models"]["primary"]] == [-1, 200_000]
    path.write_text('[agent]\nname = "a"\n[models.primary]\n')
    told = json.loads(CliRunner().invoke(main, ["check", str(path), "--json"]).output)["prices"]
    assert told == {"table": "", "models": {}}
