"""A model from a directory writes texts, and calls that their tools' schemas allow, whatever its weights are."""

import asyncio
import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from safetensors.torch import load_file, save_file

from plimsoll.core.calls import Fault
from plimsoll.core.errors import Misuse, OutputRejected, Shed
from plimsoll.gate.simulator.run import simulate
from plimsoll.gate.workers import do_all
from plimsoll.learning.decoder.causal import Decoder
from plimsoll.learning.decoder.grammar import Constraint
from plimsoll.learning.errors import NotSure, ToolSchemaError
from plimsoll.learning.local import LocalReply
from plimsoll.policies.classify import classify
from tests.learning.decoder.tiny import TRACK, tool, user, write_decoder

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="<>|"), max_size=6)


def bounded(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """Arrays and objects of what is there already."""

    @st.composite
    def objects(draw: st.DrawFn) -> dict[str, Any]:
        properties = draw(st.dictionaries(WORDS.filter(bool), inner, max_size=3))
        required = draw(st.lists(st.sampled_from(sorted(properties)), unique=True)) if properties else []
        return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}

    @st.composite
    def arrays(draw: st.DrawFn) -> dict[str, Any]:
        least = draw(st.integers(0, 2))
        return {"type": "array", "items": draw(inner), "minItems": least, "maxItems": least + draw(st.integers(0, 2))}

    return objects() | arrays() | st.lists(inner, min_size=1, max_size=2).map(lambda each: {"anyOf": each})


LEAVES = st.one_of(
    st.tuples(st.integers(-999, 999), st.integers(0, 999)).map(
        lambda at: {"type": "integer", "minimum": at[0], "maximum": at[0] + at[1]}
    ),
    st.lists(WORDS | st.integers(-9, 9) | st.booleans() | st.none(), min_size=1, max_size=3).map(
        lambda each: {"enum": each}
    ),
    st.integers(0, 4).map(lambda least: {"type": "string", "minLength": least, "maxLength": least + 3}),
    st.sampled_from([{"type": "boolean"}, {"type": "null"}, {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"}]),
    st.sampled_from([{"type": "string", "format": "date"}, {"const": "refund"}]),
)
SCHEMAS = st.dictionaries(WORDS.filter(bool), st.recursive(LEAVES, bounded, max_leaves=5), min_size=1, max_size=3).map(
    lambda properties: {"type": "object", "properties": properties, "required": sorted(properties)}
)


def reply(decoder: Decoder, text: str, *tools: dict[str, Any]) -> LocalReply:
    return asyncio.run(decoder.reply(user(text), tools))


@pytest.fixture(scope="module")
def plain_decoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Decoder]:
    """One whose tokenizer brings no template."""
    directory = write_decoder(tmp_path_factory.mktemp("plain"), template=None, likes="calls", seed=1)
    with closing(Decoder.load(directory, max_new_tokens=900)) as decoder:
        yield decoder


@pytest.mark.parametrize("fixture", ["decoder", "plain_decoder"])
@settings(max_examples=15, derandomize=True)
@given(schemas=st.lists(SCHEMAS, min_size=1, max_size=3), text=st.text(max_size=20).filter(str.strip))
def test_every_call_is_what_its_schema_allows(
    request: pytest.FixtureRequest, fixture: str, schemas: list[dict[str, Any]], text: str
) -> None:
    decoder = request.getfixturevalue(fixture)
    tools = [tool(f"tool_{number}", schema) for number, schema in enumerate(schemas)]
    (call,) = reply(decoder, text, *tools).calls
    schema = schemas[int(call.tool.removeprefix("tool_"))]
    Draft202012Validator(schema).validate(call.arguments)
    assert set(call.arguments) <= set(schema["properties"])


def test_what_calls_nothing_says_something(tmp_path: Path) -> None:
    with closing(Decoder.load(write_decoder(tmp_path))) as decoder:
        for text in ("where is my order?", "hi"):
            answer = reply(decoder, text, tool())
            assert answer.text == answer.text.strip() != "" and not answer.calls
            assert reply(decoder, text, tool()) == answer


def test_without_a_template_an_answer_ends_with_its_line(tmp_path: Path) -> None:
    with closing(Decoder.load(write_decoder(tmp_path, template=None, likes="lines"))) as decoder:
        for text in ("where is my order?", "hi"):
            said = reply(decoder, text).text
            assert said and "\n" not in said


def test_references_within_a_schema(decoder: Decoder) -> None:
    item = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 5, "maximum": 7}}, "required": ["n"]}
    schema = {"properties": {"items": {"$ref": "#/$defs/one"}}, "required": ["items"]}
    schema["$defs"] = {"one": {"type": "array", "items": {**item, "additionalProperties": False}, "minItems": 2}}
    (call,) = reply(
        decoder, "hi", tool("add", {**schema, "$defs": {"one": {**schema["$defs"]["one"], "maxItems": 3}}})
    ).calls
    assert len(call.arguments["items"]) >= 2 and all(5 <= each["n"] <= 7 for each in call.arguments["items"])


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"properties": {"ids": {"type": "array", "uniqueItems": True}}}, "uniqueItems"),
        ({"properties": {"file": {"type": "string", "format": "binary"}}}, "binary"),
        ({"properties": {"n": {"not": {"type": "string"}}}}, "not"),
        ({"properties": {"n": {"type": "integer", "minimum": 3, "maximum": 1}}, "required": ["n"]}, "'n'"),
        ({"properties": {"n": {"type": "string", "pattern": "(?=x)"}}}, "look-around"),
        ({"properties": {"n": {"$ref": "https://example.com/schema"}}}, "example.com"),
        ({"properties": {"n": {"type": "strin"}}}, "no JSON Schema at properties/n/type"),
        ({"type": "string"}, "`type` is 'string'"),
    ],
)
def test_a_schema_that_cannot_be_held_to_is_named(decoder: Decoder, schema: dict[str, Any], said: str) -> None:
    tools = [tool(), tool("bad", schema)]
    with pytest.raises(ToolSchemaError, match=f"tool bad: .*{said}") as error:
        decoder.check(tools)
    assert error.value.tool == "bad"
    with pytest.raises(ToolSchemaError, match="tool bad"):
        reply(decoder, "hi", *tools)
    decoder.check(tools[:1])


def test_a_conversation_that_is_too_long(decoder: Decoder) -> None:
    for text in ("x " * 3300, "x" * 10_000_000):
        with pytest.raises(NotSure, match=r"context of 4,096"):
            reply(decoder, text, tool())


def test_an_answer_without_an_end_is_none(tmp_path: Path) -> None:
    endless = closing(Decoder.load(write_decoder(tmp_path, likes="words"), max_new_tokens=20))
    with endless as decoder, pytest.raises(OutputRejected, match="no end after 20 tokens") as error:
        reply(decoder, "hi")
    assert classify(error.value).fault is Fault.TRUNCATED


def test_weights_whose_numbers_run_over_answer_nothing(decoder_dir: Path, tmp_path: Path) -> None:
    directory = shutil.copytree(decoder_dir, tmp_path / "huge")
    weights = load_file(directory / "model.safetensors")
    weights["lm_head.weight"] = weights["lm_head.weight"].sign() * 3e38
    save_file(weights, directory / "model.safetensors", metadata={"format": "pt"})
    with closing(Decoder.load(directory, max_new_tokens=20)) as spoiled, pytest.raises(NotSure, match="no number"):
        asyncio.run(spoiled.reply(user("where is my order?"), [tool()]))


def test_the_directorys_own_ways_of_sampling_are_not_taken(decoder_dir: Path, decoder: Decoder, tmp_path: Path) -> None:
    directory = shutil.copytree(decoder_dir, tmp_path / "sampling")
    config = json.loads((directory / "generation_config.json").read_text())
    wild = {"do_sample": True, "temperature": 9.0, "repetition_penalty": 5.0, "max_length": 3, "num_beams": 1}
    (directory / "generation_config.json").write_text(json.dumps(config | wild))
    with closing(Decoder.load(directory, max_new_tokens=900)) as other:
        assert reply(other, "hi", tool()) == reply(decoder, "hi", tool())
        assert other.digest != decoder.digest


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_new_tokens": 0}, "at least 1"),
        ({"max_waiting": -1}, "at least 0"),
        ({"max_context": 100, "max_new_tokens": 100}, "no room for a conversation"),
        ({"max_new_tokens": 4096}, "this model's context 4096"),
    ],
)
def test_options_that_fit_nothing(decoder_dir: Path, options: dict[str, int], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        Decoder.load(decoder_dir, **options)


class Held:
    """Holds each generation before its second token, until it may go on."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.may_go_on = threading.Event()
        self.tokens = 0


@contextmanager
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Held]:
    holding, constrained = Held(), Constraint.__call__

    def call(self: Constraint, input_ids: Any, scores: Any) -> Any:
        holding.tokens += 1
        holding.begun.set()
        assert holding.may_go_on.wait(60)
        return constrained(self, input_ids, scores)

    monkeypatch.setattr(Constraint, "__call__", call)
    try:
        yield holding
    finally:
        holding.may_go_on.set()


def test_what_nobody_waits_for_ends_before_its_next_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def give_up(decoder: Decoder, holding: Held) -> None:
        tasks = [asyncio.create_task(decoder.reply(user("hi"), [])) for _ in range(2)]
        assert await asyncio.to_thread(holding.begun.wait, 60)  # the second waits for the first
        for task in tasks:
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        holding.may_go_on.set()

    decoder = Decoder.load(write_decoder(tmp_path, likes="words"), max_new_tokens=3000)
    with held(monkeypatch) as holding:
        asyncio.run(give_up(decoder, holding))
        decoder.close()
    assert holding.tokens == 1


def test_one_conversation_after_the_other_and_no_more_than_may_wait(
    decoder_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ask(decoder: Decoder, holding: Held) -> list[LocalReply]:
        asked = [asyncio.create_task(decoder.reply(user("hi"), [tool()])) for _ in range(2)]
        assert await asyncio.to_thread(holding.begun.wait, 60)
        with pytest.raises(Shed, match="too many wait") as error:
            await decoder.reply(user("hi"), [tool()])
        assert classify(error.value).fault is Fault.SHED
        holding.may_go_on.set()
        return await asyncio.gather(*asked)

    with closing(Decoder.load(decoder_dir, max_waiting=1)) as decoder:
        with held(monkeypatch) as holding:
            first, second = asyncio.run(ask(decoder, holding))
        assert first == second == reply(decoder, "hi", tool())  # there is room again


def test_it_takes_no_virtual_time(decoder: Decoder) -> None:
    async def main() -> tuple[LocalReply, float]:
        answer = await decoder.reply(user("hi"), [tool()])
        return answer, asyncio.get_running_loop().time()

    expected = reply(decoder, "hi", tool())
    assert simulate(main) == simulate(main) == (expected, 0.0)


def test_a_forked_process_answers_too(decoder: Decoder) -> None:
    """As the gate's workers have to, which inherit a model that has answered already."""

    def work(_: int) -> bytes:
        return msgspec.json.encode(simulate(lambda: decoder.reply(user("hi"), [tool()])))

    expected = msgspec.json.encode(reply(decoder, "hi", tool()))
    assert do_all(work, 2, apart=True, patience_s=30) == [expected, expected]


def test_a_conversation_with_calls_and_their_results(decoder: Decoder, plain_decoder: Decoder) -> None:
    function = {"name": "track_order", "arguments": '{"order_id": "W123"}'}
    messages = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": [{"type": "text", "text": "where is "}, {"type": "text", "text": "W123?"}]},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": function}]},
        {"role": "tool", "tool_call_id": "a", "content": '{"status": "sent"}'},
    ]
    for model in (decoder, plain_decoder):
        (call,) = asyncio.run(model.reply(messages, [tool()])).calls
        Draft202012Validator(TRACK).validate(call.arguments)


@pytest.mark.parametrize(
    ("message", "error", "said"),
    [
        ({"role": "critic", "content": "hm"}, Misuse, "message 2 has none of the roles"),
        ({"content": "hm"}, Misuse, "none of the roles"),
        ("hm", Misuse, "none of the roles"),
        ({"role": "user", "content": 5}, Misuse, "neither a text nor a list"),
        ({"role": "user", "content": [{"type": "text"}]}, Misuse, "part that is no text"),
        ({"role": "user", "content": [None]}, Misuse, "part that is no text"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {}}]}, NotSure, "'image_url'"),
        ({"role": "user", "content": "\ud800"}, Misuse, "no Unicode text"),
        (
            {"role": "assistant", "tool_calls": [{"function": {"name": "x", "arguments": "{"}}]},
            Misuse,
            "cannot be read",
        ),
        ({"role": "assistant", "tool_calls": ["x"]}, Misuse, "cannot be read"),
    ],
)
def test_what_is_no_conversation(decoder: Decoder, message: Any, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        asyncio.run(decoder.reply([*user("hi"), message], []))


def test_no_conversation_at_all(decoder: Decoder) -> None:
    with pytest.raises(Misuse, match="nothing was asked"):
        asyncio.run(decoder.reply([], []))


@pytest.mark.parametrize(
    ("tools", "said"),
    [
        ([tool(), tool()], "two tools are called track_order"),
        ([{"type": "function"}], "tool 1 is no"),
        ([tool('x"}')], "tool 1 is no"),
        ([tool("x" * 200)], "tool 1 is no"),
    ],
)
def test_what_is_no_tool(decoder: Decoder, tools: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(Misuse, match=said):
        asyncio.run(decoder.reply(user("hi"), tools))
