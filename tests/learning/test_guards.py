"""Guards that are real exports: found by the contract, asked in runs, and not put off by a long story."""

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from plimsoll import ModelReply, harden
from plimsoll.adapters.plain import PlainAgent
from plimsoll.contract.checking import check_contract
from plimsoll.contract.loading import load_contract, load_source
from plimsoll.contract.model import GuardSection
from plimsoll.core.calls import Ending
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.core.guards import PhraseGuard, screening_in
from plimsoll.gate.enumeration import first_cells
from plimsoll.gate.healthy import healthy_runs
from plimsoll.gate.plain import plain_subject
from plimsoll.gate.trying import try_all
from plimsoll.gate.verdict import Reach
from plimsoll.learning.errors import WeightsError
from plimsoll.learning.export import export, rows_of
from plimsoll.learning.guards import MAX_CHARACTERS, ClassifierGuard, load_guard, load_guards
from plimsoll.learning.manifest import FILE
from plimsoll.learning.options import FitOptions, Method
from plimsoll.learning.rows import read_rows
from plimsoll.learning.transfer import fit
from tests.gate.sample import agent as gate_agent
from tests.gate.sample import contract, scenario, shop_tools, shop_verifiers
from tests.learning.tiny import FILLERS
from tests.runtime.bench import simulated

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

HOSTILE = "refund my money back"
CONTRACT = """
[agent]
name = "desk"

[guards.money]
model = "models/money"
on = ["input", "tool_result"]
label = "refund"
above = 0.6
timeout_s = 60

[tools.look]
effect = "read"
"""


@pytest.fixture(scope="module")
def folder(splits: Path, encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where a contract lies, and the model of its guard beside it."""
    made = tmp_path_factory.mktemp("guarded")
    options = FitOptions(method=Method.FULL, max_tokens=16, epochs=4, learning_rate=3e-3, batch_size=8)
    fit(read_rows(splits), encoder=encoder_dir, out=made / "fitted", options=options, clock=SystemClock())
    export(made / "fitted", rows=rows_of(made / "fitted", splits), out=made / "models/money")
    (made / "plimsoll.toml").write_text(CONTRACT)
    return made


@pytest.fixture(scope="module")
def guard(folder: Path) -> ClassifierGuard:
    return load_guard("models/money", base=folder)


def judged(guard: ClassifierGuard, text: str) -> float:
    return asyncio.run(guard.judge(text))["refund"]


def test_it_judges_as_its_model_does(guard: ClassifierGuard) -> None:
    assert guard.labels == ("cancel_order", "refund", "track_order")
    assert judged(guard, HOSTILE) > 0.8 > judged(guard, "where can you track the order now")


def test_a_text_is_judged_to_its_end(guard: ClassifierGuard) -> None:
    story, hostile = " ".join(["track order status where"] * 300), " ".join([HOSTILE] * 6)
    assert judged(guard, story) < 0.5
    for text in (f"{hostile} {story}", f"{story} {hostile}", f"{story} {hostile} {story}"):
        assert judged(guard, text) > 0.8


def test_whatever_is_short_stands_whole_in_some_part(guard: ClassifierGuard) -> None:
    words = [FILLERS[number * number % len(FILLERS)] for number in range(200)]
    parts = guard.parts(" ".join(words))
    assert len(parts) > 10
    for number in range(197):
        assert any(" ".join(words[number : number + 3]) in part for part in parts)
    assert guard.parts("please") == ["please"]


def test_strange_texts_are_judged_or_refused(guard: ClassifierGuard) -> None:
    for text in ("\ud800 half a pair", "🙂" * 300, "\x00\x01", "a" * 5000, FILLERS[0]):
        assert 0 <= judged(guard, text) <= 1
    with pytest.raises(Misuse, match="100,000 are the most"):
        judged(guard, "a" * (MAX_CHARACTERS + 1))


def test_a_text_that_was_judged_is_known(guard: ClassifierGuard, monkeypatch: pytest.MonkeyPatch) -> None:
    first = asyncio.run(guard.judge("please cancel"))
    monkeypatch.setattr(guard, "judged", lambda text: pytest.fail("it was judged again"))
    assert asyncio.run(guard.judge("please cancel")) == first


def test_guards_of_one_model_share_it_and_another_is_loaded_anew(folder: Path, tmp_path: Path) -> None:
    section = load_contract(folder / "plimsoll.toml").guards["money"]
    twice = load_guards(contract(guards={"a": section, "b": section}), directory=folder)
    assert twice["a"] is twice["b"]
    other = shutil.copytree(folder / "models/money", tmp_path / "other")
    written = (other / FILE).read_text()
    (other / FILE).write_text(written.replace('"seed": 0', '"seed": 1'))
    assert load_guard("other", base=tmp_path).digest != twice["a"].digest


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (shutil.rmtree, "there is no such directory"),
        (lambda model: (model / FILE).unlink(), "it has no plimsoll-model.json"),
        (lambda model: (model / "model.onnx").write_bytes(b"no model"), "model.onnx is not the file"),
        (lambda model: (model / "tokenizer.json").unlink(), "tokenizer.json is missing"),
    ],
)
def test_a_model_that_is_none_is_told_before_an_agent_begins(
    folder: Path, tmp_path: Path, spoil: Any, says: str
) -> None:
    model = shutil.copytree(folder / "models/money", tmp_path / "models/money")
    spoil(model)
    (tmp_path / "plimsoll.toml").write_text(CONTRACT)
    with pytest.raises(WeightsError, match=says):
        harden(agent([]), tmp_path / "plimsoll.toml")


def test_a_label_that_the_model_does_not_know_is_told(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder / "models/money", tmp_path / "models/money")
    (tmp_path / "plimsoll.toml").write_text(CONTRACT.replace('"refund"', '"refunds"'))
    with pytest.raises(Misuse, match="its model knows cancel_order, refund, track_order"):
        harden(agent([]), tmp_path / "plimsoll.toml")
    source = load_source(tmp_path / "plimsoll.toml")
    errors = [each for each in check_contract(load_contract(source.file), source=source) if each.severity == "error"]
    assert [(each.line, each.field, each.fix) for each in errors] == [(8, "guards.money.label", "did you mean refund?")]


def test_the_contracts_own_check_finds_nothing_wrong(folder: Path) -> None:
    source = load_source(folder / "plimsoll.toml")
    problems = check_contract(load_contract(source.file), source=source)
    assert [each for each in problems if each.field.startswith("guards")] == []


def agent(heard: list[str], *, note: str = "it is on its way") -> PlainAgent:
    async def look(order: str) -> str:
        """Looks an order up."""
        return note

    async def primary(prompt: Any) -> ModelReply:
        heard.append(prompt)
        return ModelReply(text="done")

    async def serve(asked: str, *, model: Any, look: Any) -> str:
        return str((await model(f"{asked} {await look('W1')}")).text)

    return PlainAgent(serve, tools=[look], models={"primary": primary}, name="desk")


@pytest.mark.parametrize(
    ("asked", "note", "ending"),
    [
        ("track my order", "status now", Ending.COMPLETE),
        (HOSTILE, "status now", Ending.HALTED),
        ("track my order", f"where status track {HOSTILE}", Ending.HALTED),
    ],
)
def test_a_hardened_agent_is_guarded_by_its_contract_alone(folder: Path, asked: str, note: str, ending: Ending) -> None:
    heard: list[str] = []
    shutil.rmtree(folder / ".plimsoll", ignore_errors=True)

    async def main() -> Any:
        async with harden(agent(heard, note=note), folder / "plimsoll.toml") as hardened:
            result = await hardened.run(asked, run_id="r")
            records = await hardened.harness.store.read("r")
            said = [screening for record in records if (screening := screening_in(record.event)) is not None]
            return result, said, hardened

    result, said, hardened = asyncio.run(main())
    assert (result.ending, len(heard)) == (ending, ending is Ending.COMPLETE), result.reason
    guard = load_guard("models/money", base=folder)
    assert {verdict.model for screening in said for verdict in screening.verdicts} == {guard.digest}
    other = harden(agent(heard), load_contract(folder / "plimsoll.toml"), guards={"money": PhraseGuard("refund")})
    assert hardened.fingerprint != other.fingerprint


def test_the_gate_asks_the_model_itself_in_virtual_time(folder: Path, guard: ClassifierGuard) -> None:
    """In processes of their own, as a campaign does."""
    section = load_contract(folder / "plimsoll.toml").guards["money"]
    judged = contract(guards={"money": replace(section, on=("tool_result",), tools=("find_order",), timeout_s=5.0)})
    subject = plain_subject(
        gate_agent, judged, tools=shop_tools, verifiers=shop_verifiers, guards={"money": guard}
    )  # fmt: skip
    held = scenario("W2", hostile=(HOSTILE, "where can you track the order now"))
    healthy = healthy_runs(subject, [held], promised=judged, seed=7)
    assert healthy.reasons == ()
    tasks = [task for task in first_cells(0, healthy.stages[0]) if task.injections[0].kind == "hostile_result"]
    stopped, passed = try_all(healthy.stages, tasks, seed=7, workers=2)
    assert (stopped.trial.reach, stopped.trial.violations) == (Reach.REFUSED, ())
    assert "hostile_passed" in {each.code for each in passed.trial.violations}  # of which it knows nothing


def test_a_run_goes_one_way_whether_its_texts_are_known_or_not(guard: ClassifierGuard) -> None:
    """What is known must not take fewer turns of the loop: tasks beside it would come in another order."""
    cold = ClassifierGuard(guard._classifier, guard._tokenizer, digest=guard.digest)

    async def main() -> list[list[str]]:
        seen = []
        for _ in range(2):
            order: list[str] = []
            await asyncio.gather(*(_judging(cold, f"order {number}", order) for number in range(3)))
            seen.append(order)
        return seen

    first, again = simulated(main)
    assert first == again == ["asks", "asks", "asks", "knows", "knows", "knows"]


async def _judging(guard: ClassifierGuard, text: str, order: list[str]) -> None:
    order.append("asks")
    await guard.judge(text)
    order.append("knows")


def test_a_registry_that_is_not_there_is_told(tmp_path: Path) -> None:
    section = GuardSection(model="registry:none-of-this-name@champion", on=("input",), label="x", above=0.5)
    with pytest.raises(Misuse, match=r"registry"):
        load_guard(section.model, base=tmp_path)
