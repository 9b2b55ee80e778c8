"""A policy decides the next call of strangers, out of what is there, and abstains from the rest."""

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from click.testing import CliRunner

from plimsoll.cli import main
from plimsoll.core.clock import SystemClock
from plimsoll.core.errors import Misuse
from plimsoll.learning.conversations import Conversation, Decision, Made
from plimsoll.learning.errors import DataError, NotSure, WeightsError
from plimsoll.learning.lineage import read_lineage
from plimsoll.learning.linear import Head
from plimsoll.learning.loading import load_local
from plimsoll.learning.local import LocalCall, LocalModel
from plimsoll.learning.manifest import FILE, digests, model_digest, read_manifest, write_manifest
from plimsoll.learning.options import Progress
from plimsoll.learning.policy import Policy
from plimsoll.learning.policy.answers import LABEL
from plimsoll.learning.policy.fitting import bound_for, fit_policy, is_right, judged, parted
from plimsoll.learning.policy.model import Choice, conversation_of
from plimsoll.learning.policy.options import PolicyOptions
from plimsoll.learning.policy.store import ARGUMENTS, SPEC, load_spec, save_spec
from tests.learning.shopping import TEXT, TOOLS, conversation, conversations, messages, tool

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

OPTIONS = PolicyOptions(
    max_tokens=32, share=0.3, precision=0.8, templates={"get_order": "Your order is {{ result.status }}."}
)
TRACKED, CANCELLED, REFUNDED = (conversation(kind, "W7777", "card_9999") for kind in ("track", "cancel", "refund"))


def fitted(out: Path, encoder: Path, listener: Any = lambda told: None) -> Policy:
    return fit_policy(
        conversations(24), encoder=encoder, out=out, options=OPTIONS, clock=SystemClock(), listener=listener
    )


@pytest.fixture(scope="module")
def directory(encoder_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("policy") / "policy"
    fitted(out, encoder_dir)
    return out


@pytest.fixture(scope="module")
def policy(directory: Path) -> Policy:
    return Policy.load(directory)


@pytest.mark.parametrize("played", [TRACKED, CANCELLED, REFUNDED], ids=["track", "cancel", "refund"])
def test_it_serves_a_stranger_to_the_end(policy: Policy, played: Conversation) -> None:
    for number, call in enumerate(played.calls):
        reply = policy.decide(messages(played.request, *played.calls[:number]), TOOLS)
        assert reply.calls == (LocalCall(call.tool, call.arguments),) and not reply.text
        assert reply.probability is not None and 0 < reply.probability <= 1
    last = policy.decide(messages(played.request, *played.calls), TOOLS)
    assert last.calls == () and last.text.startswith(LABEL)


def test_what_it_says_is_the_template_or_what_came_back(policy: Policy) -> None:
    assert policy.decide(messages(TRACKED.request, *TRACKED.calls), TOOLS).text == (
        f"{LABEL} Your order is pending.\nNothing was changed."
    )
    told = policy.decide(messages(CANCELLED.request, *CANCELLED.calls), TOOLS).text
    assert "- cancel_order (order_id W7777, reason unwanted): status cancelled, order_id W7777" in told


def test_it_answers_as_a_local_model(policy: Policy, directory: Path) -> None:
    local: LocalModel = policy
    assert asyncio.run(local.reply(messages(TRACKED.request), TOOLS)) == policy.decide(messages(TRACKED.request), TOOLS)
    assert local.digest == model_digest(directory)
    loaded = load_local(directory.name, base=directory.parent)  # as a contract names it
    assert (type(loaded), loaded.digest) == (Policy, local.digest)


def unsure(policy: Policy, told: list[dict[str, Any]], tools: list[dict[str, Any]] = TOOLS) -> NotSure:
    with pytest.raises(NotSure) as error:
        policy.decide(told, tools)
    return error.value


@pytest.mark.parametrize("request_", ["please cancel my order", "please where track my order now"])
def test_a_value_that_is_nowhere_is_not_made_up(policy: Policy, request_: str) -> None:
    assert "order_id is nowhere to be found" in str(unsure(policy, messages(request_)))


def test_a_tool_that_is_not_offered_is_not_called(policy: Policy) -> None:
    assert "is no tool of this agent" in str(unsure(policy, messages(TRACKED.request), TOOLS[1:]))


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "integer"}, r"does not take $.order_id"),
        ({"enum": ["W1"]}, r"does not take $.order_id"),
        ({"type": "nothing"}, "cannot be read"),
        ({"$ref": "https://shop.example/order.json"}, "cannot be read"),
    ],
)
def test_arguments_that_its_schema_does_not_take(policy: Policy, schema: dict[str, Any], said: str) -> None:
    doubt = unsure(policy, messages(TRACKED.request), [tool("get_order", order_id=schema)])
    assert said in str(doubt) and "W7777" not in str(doubt)


def test_an_argument_that_it_never_saw_and_that_must_be(policy: Policy) -> None:
    doubt = unsure(policy, messages(TRACKED.request), [tool("get_order", order_id=TEXT, shop=TEXT)])
    assert "does not take" in str(doubt)


@pytest.mark.parametrize("told", [[], [{"role": "system", "content": "be kind"}], [{"role": "user", "content": " "}]])
def test_nobody_asked(policy: Policy, told: list[dict[str, Any]]) -> None:
    assert "no request" in str(unsure(policy, told))


def test_the_same_call_is_not_made_again(policy: Policy) -> None:
    looked = CANCELLED.calls[0]
    failed = msgspec.structs.replace(looked, result="nothing yet")  # as at the beginning, for all that it can see
    mind = policy.mind
    chosen = mind.choice(CANCELLED.request, [looked, failed])
    if chosen.tool == "get_order":
        assert "again" in chosen.doubt
    again = mind.choice(CANCELLED.request, [*CANCELLED.calls, CANCELLED.calls[1]])
    assert again.tool != "cancel_order" or "again" in again.doubt


def test_an_unlikely_decision_is_not_made(directory: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(directory, tmp_path / "never")
    spec = load_spec(copy)
    tools = {name: msgspec.structs.replace(about, bound=None) for name, about in spec.tools.items()}
    save_spec(copy, msgspec.structs.replace(spec, tools=tools))
    write_manifest(copy, msgspec.structs.replace(manifest_of(copy), files=digests(copy)))
    doubt = unsure(Policy.load(copy), messages(TRACKED.request))
    assert "not likely enough" in str(doubt) and doubt.probability is not None


def test_what_is_no_number_decides_nothing(directory: Path) -> None:
    policy = Policy.load(directory)
    policy.mind._head = Head(policy.mind._head.weight * np.float32("nan"), policy.mind._head.bias)
    assert "like none that was learned from" in str(unsure(policy, messages(TRACKED.request)))


def test_what_was_asked_earlier_is_over(policy: Policy) -> None:
    told = [*messages(CANCELLED.request, *CANCELLED.calls), *messages(TRACKED.request)[1:]]
    assert conversation_of(told) == (TRACKED.request, [])
    assert policy.decide(told, TOOLS).calls[0].tool == "get_order"


def test_what_was_changed_before_the_last_request_is_told_of(policy: Policy) -> None:
    # As where a framework asks once more, in a person's place, for an answer that it can read.
    told = [*messages(CANCELLED.request, *CANCELLED.calls), *messages(TRACKED.request, *TRACKED.calls)[1:]]
    text = policy.decide(told, TOOLS).text
    assert text.startswith(f"{LABEL} Your order is pending.\n- cancel_order (order_id W7777, reason unwanted): status")
    assert "status cancelled" in text and text.endswith("Nothing else was changed.")
    unfinished = [message for message in messages(CANCELLED.request, *CANCELLED.calls) if message["role"] != "tool"]
    text = policy.decide([*unfinished, *messages(TRACKED.request, *TRACKED.calls)[1:]], TOOLS).text
    assert "- cancel_order (order_id W7777, reason unwanted): no clear result" in text


def test_messages_in_every_form() -> None:
    told = [
        {"role": "user", "content": [{"type": "text", "text": "hello"}]},
        {
            "role": "assistant",
            "tool_calls": [
                {"id": "1", "function": {"name": "a", "arguments": '{"x": 1}'}},
                {"id": "2", "function": {"name": "b", "arguments": "no json"}},
                {"id": "3", "function": {"name": "c", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "1", "content": [{"type": "text", "text": '{"y": 2}'}]},
        {"role": "tool", "tool_call_id": "2", "content": "12.5"},
    ]
    assert conversation_of(told) == (
        "hello",
        [Made(tool="a", arguments={"x": 1}, result={"y": 2}), Made(tool="b", arguments={}, result="12.5")],
    )


ALONE = """
import sys
for name in ("torch", "transformers", "sklearn", "scipy"):
    sys.modules[name] = None
from pathlib import Path
from plimsoll.learning.policy import Policy
from tests.learning.shopping import TOOLS, messages
reply = Policy.load(Path(sys.argv[1])).decide(messages("please where track my order W7777"), TOOLS)
print(reply.calls[0].arguments["order_id"])
"""


def test_it_needs_onnx_runtime_alone(directory: Path) -> None:
    ended = subprocess.run([sys.executable, "-c", ALONE, str(directory)], capture_output=True, text=True, check=False)
    assert ended.stdout == "W7777\n", ended.stderr


def test_a_fit_gives_the_same_again_and_tells_how_far_it_is(directory: Path, encoder_dir: Path, tmp_path: Path) -> None:
    told: list[Progress] = []
    fitted(tmp_path / "again", encoder_dir, told.append)
    assert {name: digest for name, digest in digests(tmp_path / "again").items()} == digests(directory)
    assert {each.what for each in told} == {"embed", "point"}
    assert all(each.done <= each.total for each in told)
    assert list(tmp_path.iterdir()) == [tmp_path / "again"]


def test_its_card_says_how_well_it_decides(directory: Path, policy: Policy) -> None:
    card, spec = (directory / "README.md").read_text(), policy.spec
    assert spec.validation.decisions == spec.validation.whole  # it is an easy shop
    assert f"| `get_order` | {spec.tools['get_order'].rows} |" in card
    assert policy.mind.manifest.kind == "policy" and policy.mind.manifest.validation.accuracy == 1


def manifest_of(directory: Path) -> Any:
    from plimsoll.learning.manifest import Manifest

    return msgspec.json.decode((directory / FILE).read_bytes(), type=Manifest)


def cut_short(directory: Path) -> None:
    file = directory / ARGUMENTS
    file.write_bytes(file.read_bytes()[:100])


def rewritten(directory: Path, name: str, content: bytes) -> None:
    """Spoils a file, and the manifest says that it is right."""
    (directory / name).write_bytes(content)
    write_manifest(directory, msgspec.structs.replace(manifest_of(directory), files=digests(directory)))


def other_paths(directory: Path) -> None:
    spec = json.loads((directory / SPEC).read_text())
    spec["tools"]["get_order"]["parameters"][0]["paths"].append("more")
    rewritten(directory, SPEC, json.dumps(spec).encode())


def test_the_work_of_another_fit_is_not_taken_away(encoder_dir: Path, tmp_path: Path) -> None:
    plan = tmp_path / "policy.work" / "plan.json"
    plan.parent.mkdir()
    plan.write_text("{}")
    with pytest.raises(Misuse, match="of a fit that has not ended"):
        fitted(tmp_path / "policy", encoder_dir)
    assert plan.exists()


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (cut_short, "is not the file"),
        (lambda directory: rewritten(directory, ARGUMENTS, b"none"), "does not fit"),
        (lambda directory: rewritten(directory, SPEC, b"{}"), "cannot be read"),
        (other_paths, "weights of other shapes"),
        (lambda directory: (directory / SPEC).unlink(), "is missing"),
    ],
)
def test_what_is_damaged_is_refused(directory: Path, tmp_path: Path, spoil: Callable[[Path], None], said: str) -> None:
    copy = shutil.copytree(directory, tmp_path / "spoiled")
    spoil(copy)
    with pytest.raises(WeightsError, match=said):
        Policy.load(copy)


def test_a_classifier_is_no_policy(directory: Path) -> None:
    from plimsoll.learning.classifier import Classifier

    with pytest.raises(WeightsError, match="of kind `policy`, and `export` is wanted"):
        Classifier.load(directory)
    assert read_manifest(directory, kind="policy").kind == "policy"


def test_what_cannot_be_fitted(directory: Path, encoder_dir: Path, tmp_path: Path) -> None:
    def fit(rows: list[Conversation], out: Path = tmp_path / "out", **options: Any) -> None:
        fit_policy(
            rows, encoder=encoder_dir, out=out, options=PolicyOptions(max_tokens=32, **options), clock=SystemClock()
        )

    with pytest.raises(Misuse, match="a model must not be lost"):
        fit(conversations(4), directory)
    with pytest.raises(DataError, match="9 conversations; 10 at least"):
        fit(conversations(3))
    with pytest.raises(DataError, match="no tool is called"):
        fit([Conversation(request=f"order {number}") for number in range(12)])
    with pytest.raises(Misuse, match="the template for refund cannot be read"):
        fit(conversations(4), templates={"refund": "{{ oh"})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "wrong", [{"precision": 0.4}, {"share": 0.0}, {"rejected": 0.6}, {"seed": -1}, {"max_tokens": 2}]
)
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misuse, match=next(iter(wrong))):
        PolicyOptions(**wrong)


def test_equal_requests_stand_on_one_side() -> None:
    rows = conversations(10) * 2
    train, validation = parted(rows, share=0.3, seed=1)
    assert len(train) + len(validation) == len(rows) and validation
    assert not {each.request for each in train} & {each.request for each in validation}
    of_two = [msgspec.structs.replace(each, group=f"customer {number % 2}") for number, each in enumerate(rows)]
    train, validation = parted(of_two, share=0.3, seed=1)
    assert len(train) == len(validation) == len(rows) / 2


def choices(*rated: tuple[float, bool]) -> tuple[list[Choice], list[Decision]]:
    made = Made(tool="a", arguments={"x": 1})
    return (
        [Choice("a", {"x": 1 if right else 2}, probability) for probability, right in rated],
        [Decision("", (), made) for _ in rated],
    )


@pytest.mark.parametrize(
    ("rated", "bound"),
    [
        ([], None),
        ([(0.9, True)] * 7, None),
        ([(0.9, True)] * 8, 0.7),
        ([(0.3, True)] * 8, 0.3),
        ([(0.9, True)] * 8 + [(0.8, False)], 0.85),
        ([(0.9, True)] * 18 + [(0.8, False)], 0.65),
        ([(0.9, True)] * 8 + [(0.9, False)] * 8, None),
        ([(0.95, False), *[(0.9, True)] * 18], 0.7),
    ],
)
def test_the_bound_is_where_the_share_is_right(rated: list[tuple[float, bool]], bound: float | None) -> None:
    assert bound_for(*choices(*rated), 0.9) == (bound if bound is None else pytest.approx(bound))


def test_a_decision_is_right_with_all_of_its_arguments() -> None:
    (choice,), (decision,) = choices((0.5, True))
    assert is_right(choice, decision) == (True, True)
    assert is_right(Choice("a", {}, 0.5), decision) == (True, False)
    assert is_right(Choice("a", {"x": 1, "y": 2}, 0.5), decision) == (True, False)
    assert is_right(Choice("answer", {}, 0.5), decision) == (False, False)
    assert is_right(Choice("answer", {}, 0.5), Decision("", (), None)) == (True, True)
    told = judged(*choices((0.9, True), (0.8, False), (0.1, True)), {"a": 0.5})
    assert (told.decisions, told.tool, told.whole, told.answered, told.right) == (3, 3, 2, 2, 1)


def test_the_command_fits_what_the_rows_say(encoder_dir: Path, tmp_path: Path) -> None:
    data, templates = tmp_path / "rows.jsonl", tmp_path / "templates.toml"
    data.write_bytes(b"".join(msgspec.json.encode(each) + b"\n" for each in conversations(20)))
    templates.write_text('refund = "It is {{ result.refund }}."\n')
    command = ["learn", "policy", "--data", str(data), "--encoder", str(encoder_dir), "--max-tokens", "32"]
    out = ["--out", str(tmp_path / "policy")]
    told = CliRunner().invoke(main, [*command, *out, "--templates", str(templates), "--json"])
    assert told.exit_code == 0, told.output
    said = json.loads(told.stdout)
    assert said["validation"]["whole"] <= said["validation"]["tool"] <= said["validation"]["decisions"]
    assert said["digest"] == Policy.load(tmp_path / "policy").digest and "get_order" in said["tools"]
    lineage = read_lineage(tmp_path / "policy", data_digest=manifest_of(tmp_path / "policy").data_digest)
    assert lineage is not None and [source.file for source in lineage.sources] == ["rows.jsonl"]
    again = CliRunner().invoke(main, [*command, *out])
    assert again.exit_code == 1 and "is there already" in again.stderr
    templates.write_text("refund = 3\n")
    wrong = CliRunner().invoke(main, [*command, "--out", str(tmp_path / "b"), "--templates", str(templates)])
    assert wrong.exit_code == 1 and "refund is no text" in wrong.stderr
