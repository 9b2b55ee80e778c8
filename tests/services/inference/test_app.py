"""The service, asked over HTTP: what it answers, what it refuses, and who waits for how long."""

import json
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import openai
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from plimsoll.core.errors import Misuse
from plimsoll.learning.classifier import Classifier
from plimsoll.learning.leave_one_out import attributions
from plimsoll.services.inference import InferenceOptions
from tests.services.inference.serving import TEXT, Held, serving

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

STRANGE = "poem planet weather"


@pytest.fixture(scope="module")
def client(exported: Path) -> Iterator[httpx2.Client]:
    with serving(exported, max_request_bytes=200_000, max_texts=8) as made:
        yield made


@pytest.fixture(scope="module")
def classifier(exported: Path) -> Classifier:
    return Classifier.load(exported)


def figures(client: httpx2.Client) -> dict[tuple[str, ...], float]:
    """What /metrics tells, by name and labels."""
    told = text_string_to_metric_families(client.get("/metrics").text)
    return {(each.name, *each.labels.values()): each.value for family in told for each in family.samples}


def test_classify_says_what_the_classifier_says(client: httpx2.Client, classifier: Classifier) -> None:
    texts = [TEXT, "where is the order", "my money back", STRANGE]
    answer = client.post("/v1/classify", json={"texts": texts})
    assert answer.status_code == 200
    body = answer.json()
    assert body["model"] == "intents" and body["version"] == answer.headers["x-plimsoll-version"]
    for result, expected in zip(body["results"], classifier.classify(texts), strict=True):
        assert result["label"] == expected.label and result["out_of_scope"] is expected.out_of_scope
        assert result["probability"] == pytest.approx(expected.probability, abs=1e-5)
        assert result["energy"] == pytest.approx(expected.energy, abs=1e-4)


def test_route_says_which_way_to_go(client: httpx2.Client, classifier: Classifier) -> None:
    body = client.post("/v1/route", json={"text": TEXT}).json()
    assert (body["route"], body["reason"], body["label"]) == ("cancel_order", "sure", "cancel_order")
    assert body["alternatives"][0]["label"] == "cancel_order" and len(body["alternatives"]) == 3
    assert sum(each["probability"] for each in body["alternatives"]) == pytest.approx(1)


def test_route_falls_back_where_no_label_fits(second: Path) -> None:
    with serving(second) as client:
        body = client.post("/v1/route", json={"text": TEXT, "fallback": "a person", "min_probability": 0}).json()
    assert (body["route"], body["reason"], body["out_of_scope"]) == ("a person", "out_of_scope", True)
    assert body["label"] == "cancel_order"


def test_route_falls_back_where_it_is_not_sure(client: httpx2.Client, classifier: Classifier) -> None:
    unsure = "cancel refund where"
    (answer,) = classifier.classify([unsure])
    assert not answer.out_of_scope
    bound = {"min_probability": 1.0}
    body = client.post("/v1/route", json={"text": unsure, **bound}).json()
    assert (body["route"], body["reason"]) == (
        ("fallback", "unsure") if answer.probability < 1 else (answer.label, "sure")
    )


def test_embeddings_by_the_client_that_people_have(client: httpx2.Client, classifier: Classifier) -> None:
    texts = [TEXT, "where is the order"]
    expected = classifier.embed(texts)
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="any") as asking:
        encoded = asking.embeddings.create(model="intents", input=texts)  # it asks for base64 by itself
        plain = asking.embeddings.create(model="intents", input=texts, encoding_format="float", user="somebody")
        one = asking.embeddings.create(model="intents", input=TEXT, dimensions=expected.shape[1])
        assert [model.id for model in asking.models.list()] == ["intents"]
    for answer in (encoded, plain):
        assert np.allclose([each.embedding for each in answer.data], expected, atol=1e-6)
        assert [each.index for each in answer.data] == [0, 1]
        tokens = sum(len(classifier.ids(text)) for text in texts)
        assert answer.usage.prompt_tokens == answer.usage.total_tokens == tokens
    assert np.allclose(one.data[0].embedding, expected[0], atol=1e-6)
    raw = client.post("/v1/embeddings", json={"input": TEXT, "encoding_format": "base64"}).json()
    assert isinstance(raw["data"][0]["embedding"], str)


def test_explain_says_which_words_spoke(client: httpx2.Client, classifier: Classifier) -> None:
    for label in (None, "refund"):
        body = client.post("/v1/explain", json={"text": TEXT, "label": label}).json()
        expected = attributions(classifier, TEXT, label=label)
        told = body["explanation"]
        assert told["label"] == expected.label
        assert [word["text"] for word in told["words"]] == TEXT.split()
        ours = [word.attribution for word in expected.words]
        assert [word["attribution"] for word in told["words"]] == pytest.approx(ours, rel=1e-3, abs=1e-3)


def test_it_says_that_it_is_alive_and_ready_and_what_it_has(client: httpx2.Client) -> None:
    assert client.get("/livez").json() == {"status": "alive"}
    ready = client.get("/readyz").json()
    assert ready["status"] == "ready" and ready["model"] == "intents" and ready["rejected"] is None
    (model,) = client.get("/v1/models").json()["data"]
    assert model["version"] == ready["version"]
    assert model["labels"] == ["cancel_order", "refund", "track_order"]


def test_metrics_count_what_was_answered_and_hold_no_text(client: httpx2.Client) -> None:
    before = figures(client)
    client.post("/v1/classify", json={"texts": ["my secret order", "two"]})
    client.post("/v1/classify", json={"texts": []})
    after = figures(client)

    def more(*key: str) -> float:
        return after[key] - before.get(key, 0)

    assert more("plimsoll_inference_request_seconds_count", "/v1/classify", "200") == 1
    assert more("plimsoll_inference_request_seconds_count", "/v1/classify", "400") == 1
    assert more("plimsoll_inference_batch_texts_sum") == 2
    assert after[("plimsoll_inference_queued_texts",)] == 0
    assert after[("plimsoll_inference_model", client.get("/readyz").json()["version"])] == 1
    assert "secret" not in client.get("/metrics").text


REFUSED = [
    ("/v1/classify", b"", 400, "no JSON object"),
    ("/v1/classify", b"\xff\xfe{}", 400, "no JSON object"),
    ("/v1/classify", b'{"texts": ["\xff"]}', 400, "no JSON object"),
    ("/v1/classify", b"[" * 100_000, 400, ""),
    ("/v1/classify", b'{"texts": ["\\ud800"]}', 400, ""),
    ("/v1/classify", b"[]", 400, "Expected `object`"),
    ("/v1/classify", b"{}", 400, "missing required field `texts`"),
    ("/v1/classify", b'{"texts": "one"}', 400, "Expected `array`, got `str`"),
    ("/v1/classify", b'{"texts": ["one", 2]}', 400, "Expected `str`, got `int` - at `$.texts[1]`"),
    ("/v1/classify", b'{"texts": []}', 400, "there is no text"),
    ("/v1/classify", b'{"texts": ["one", " "]}', 400, "text 2 is empty"),
    ("/v1/classify", b'{"texts": ["one"], "label": 1}', 400, "unknown field `label`"),
    ("/v1/classify", json.dumps({"texts": ["x" * 20_001]}).encode(), 400, "20,000 are the most"),
    ("/v1/classify", json.dumps({"texts": ["x"] * 9}).encode(), 413, "there are 9 texts, and a request has 8"),
    ("/v1/classify", json.dumps({"texts": ["x" * 10_000_000]}).encode(), 413, "200000 bytes at most"),
    ("/v1/classify", b'{"texts": ["one"], "model": "gpt"}', 404, "the model here is 'intents'"),
    ("/v1/route", b'{"text": "one", "min_probability": 2}', 400, "a number from 0 to 1"),
    ("/v1/route", b'{"text": ""}', 400, "text 1 is empty"),
    ("/v1/explain", b'{"text": "one", "label": "sing"}', 400, "the model has no label 'sing'"),
    ("/v1/embeddings", b'{"input": [1, 2, 3]}', 400, "token ids are another model's"),
    ("/v1/embeddings", b'{"input": [[1, 2], [3]]}', 400, "token ids are another model's"),
    ("/v1/embeddings", b'{"input": null}', 400, "`input` is a text"),
    ("/v1/embeddings", b'{"input": "one", "encoding_format": "int8"}', 400, "`float` or `base64`"),
    ("/v1/embeddings", b'{"input": "one", "dimensions": 5}', 400, "`dimensions` is 32"),
    ("/v1/generate", b"{}", 404, "there is nothing here"),
    ("/livez", b"{}", 405, "by another method"),
]


@pytest.mark.parametrize(("path", "body", "status", "said"), REFUSED, ids=range(len(REFUSED)))
def test_what_cannot_be_answered(client: httpx2.Client, path: str, body: bytes, status: int, said: str) -> None:
    answer = client.post(path, content=body)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert said in error["message"] and error["type"] == "invalid_request_error"


@settings(max_examples=40)
@given(
    body=st.one_of(
        st.binary(max_size=60),
        st.recursive(
            st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text()),
            lambda inner: (
                st.lists(inner, max_size=4)
                | st.dictionaries(st.sampled_from(["texts", "text", "input", "label", "model", "fallback"]), inner)
            ),
            max_leaves=8,
        ).map(lambda value: json.dumps(value).encode()),
        st.lists(st.text(max_size=40), max_size=4).map(lambda texts: json.dumps({"texts": texts}).encode()),
        st.text(max_size=200).map(lambda text: json.dumps({"text": text, "input": text}).encode()),
    ),
    path=st.sampled_from(["/v1/classify", "/v1/route", "/v1/embeddings", "/v1/explain"]),
)
def test_nothing_that_is_sent_makes_it_fail(client: httpx2.Client, body: bytes, path: str) -> None:
    assert client.post(path, content=body).status_code in (200, 400, 404, 413)


@pytest.mark.parametrize("told", ["0", "-1", "soon", "1.5", "", "9" * 12, "²"])
def test_a_time_that_is_none(client: httpx2.Client, told: str) -> None:
    headers = [(b"x-plimsoll-timeout-ms", told.encode("latin-1"))]
    answer = client.post("/v1/classify", json={"texts": [TEXT]}, headers=headers)
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "invalid_timeout"


def test_beyond_the_queue_it_says_when_to_come_again(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(exported, max_queued=2, max_texts=2) as client, ThreadPoolExecutor(1) as others:
        held = Held(monkeypatch)
        waiting = others.submit(client.post, "/v1/classify", json={"texts": ["one", "two"]})
        assert held.entered.wait(30)
        refused = client.post("/v1/classify", json={"texts": ["three"]})
        assert client.get("/readyz").json()["queued_texts"] == 2
        held.let_go()
        assert waiting.result().status_code == 200
        assert client.post("/v1/classify", json={"texts": ["three"]}).status_code == 200
    assert refused.status_code == 429 and refused.json()["error"]["code"] == "overloaded"
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.parametrize("by_header", [True, False])
def test_a_request_that_is_not_answered_in_its_time(
    by_header: bool, exported: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {} if by_header else {"timeout_s": 0.1}
    headers = {"x-plimsoll-timeout-ms": "100"} if by_header else {}
    with serving(exported, **options) as client, ThreadPoolExecutor(1) as others:
        held = Held(monkeypatch)
        waiting = others.submit(client.post, "/v1/classify", json={"texts": ["one", "two"]}, timeout=30)
        assert held.entered.wait(30)
        late = client.post("/v1/classify", json={"texts": ["three"]}, headers=headers)
        held.let_go()
        assert waiting.result().status_code == (200 if by_header else 504)
        client.post("/v1/classify", json={"texts": ["four", "five"]}, headers={"x-plimsoll-timeout-ms": "20000"})
    assert late.status_code == 504 and late.json()["error"]["code"] == "deadline_exceeded"
    assert held.read == 4  # `three` was never read


def test_a_client_that_left_costs_nothing_more(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(exported) as client, ThreadPoolExecutor(1) as others:
        held = Held(monkeypatch)
        waiting = others.submit(client.post, "/v1/classify", json={"texts": ["one", "two"]})
        assert held.entered.wait(30)
        body = json.dumps({"texts": ["three"] * 100}).encode()
        with socket.create_connection((client.base_url.host, client.base_url.port or 0)) as leaving:
            head = f"POST /v1/classify HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            leaving.sendall(head + body)
            while client.get("/readyz").json()["queued_texts"] != 102:
                pass
        while client.get("/readyz").json()["queued_texts"] != 2:
            pass
        held.let_go()
        assert waiting.result().status_code == 200
        assert client.post("/v1/classify", json={"texts": ["four"]}).status_code == 200
        assert figures(client)[("plimsoll_inference_request_seconds_count", "/v1/classify", "499")] == 1
    assert held.read == 3


def test_a_text_that_the_model_fails_at_fails_nobody_else(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(exported) as client:
        ids = Classifier.ids

        def failing(classifier: Classifier, text: str) -> list[int]:
            if text == "bad":
                raise RuntimeError("secret")
            return ids(classifier, text)

        monkeypatch.setattr(Classifier, "ids", failing)
        with ThreadPoolExecutor(4) as others:
            texts = ["one", "bad", "two", "three"]
            answers = list(others.map(lambda text: client.post("/v1/classify", json={"texts": [text]}), texts))
    assert [answer.status_code for answer in answers] == [200, 500, 200, 200]
    assert answers[1].json()["error"] == {
        "message": "the model failed at a text",
        "type": "api_error",
        "param": None,
        "code": "model_failed",
    }


def test_only_who_has_the_key_is_answered(exported: Path) -> None:
    with serving(exported, key="a key") as client:
        asked: dict[str, Any] = {"json": {"texts": [TEXT]}}
        assert client.post("/v1/classify", **asked, headers={"authorization": "Bearer a key"}).status_code == 200
        for wrong in ({}, {"authorization": "Bearer another"}, {"authorization": "Basic a key"}):
            answer = client.post("/v1/classify", **asked, headers=wrong)
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
            assert client.get("/v1/models", headers=wrong).status_code == 401
        assert client.get("/readyz").status_code == 200


def test_it_ends_when_what_was_asked_is_answered(exported: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stack = ExitStack()
    client = stack.enter_context(serving(exported))
    held = Held(monkeypatch)
    with ThreadPoolExecutor(1) as others, httpx2.Client(base_url=client.base_url, trust_env=False) as asking:
        waiting = others.submit(asking.post, "/v1/classify", json={"texts": ["one", "two"]}, timeout=30)
        assert held.entered.wait(30)
        ending = threading.Thread(target=stack.close)
        ending.start()
        address = (client.base_url.host, client.base_url.port or 0)
        while True:  # until it listens no more
            try:
                socket.create_connection(address).close()
            except ConnectionRefusedError:
                break
        held.let_go()
        assert waiting.result().status_code == 200
        ending.join(30)


def test_many_at_once_are_answered_as_one_by_one(exported: Path, classifier: Classifier) -> None:
    words = ["cancel", "order", "money", "back", "where", "track", "please", "poem"]
    texts = [" ".join(words[: 1 + number % 8]) for number in range(64)]
    with serving(exported) as client, ThreadPoolExecutor(16) as others:
        answers = list(others.map(lambda text: client.post("/v1/classify", json={"texts": [text]}).json(), texts))
    for answer, expected in zip(answers, (classifier.classify([text])[0] for text in texts), strict=True):
        (result,) = answer["results"]
        assert result["label"] == expected.label
        assert result["energy"] == pytest.approx(expected.energy, abs=1e-4)


@pytest.mark.parametrize(
    "wrong",
    [
        {"name": ""},
        {"max_texts": 0},
        {"max_texts": 2000},
        {"max_request_bytes": 0},
        {"timeout_s": 0},
        {"poll_s": float("nan")},
        {"key": ""},
    ],
    ids=str,
)
def test_options_that_cannot_be(wrong: dict[str, Any]) -> None:
    with pytest.raises(Misuse):
        InferenceOptions(**{"name": "intents", **wrong})
