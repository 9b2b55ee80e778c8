"""Tenants: their keys, what each may send, and that none ever sees what is another's."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import openai
import pytest
from starlette.responses import JSONResponse

from plimsoll.core.errors import Misuse
from plimsoll.services.gateway.tenants import KeyFile
from tests.services.gateway.serving import CONTRACT, UP_KEY, Gateway, Upstream, completion, fails, gateway, hang
from tests.services.gateway.test_runs import calls, say


@pytest.mark.parametrize("header", [None, "", "Bearer", "Bearer plk_wrong", "Basic {key}", "{key}", "Bearer é"])
def test_nobody_is_answered_without_a_key(served_gateway: Gateway, upstream: Upstream, header: str | None) -> None:
    headers = {} if header is None else {"authorization": header.format(key=served_gateway.key()).encode("latin-1")}
    for method, path in (
        ("POST", "chat/completions"),
        ("POST", "embeddings"),
        ("GET", "models"),
        ("POST", "responses"),
    ):
        answer = httpx2.request(method, f"{served_gateway.url}/v1/{path}", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "invalid_api_key")
    assert upstream.asked == []


def test_a_key_is_kept_as_its_hash_and_taken_away_at_once(
    tmp_path: Path, upstream: Upstream, upstream_url: str
) -> None:
    file = tmp_path / ".plimsoll/gateway-keys.json"
    with gateway(tmp_path, upstream_url) as running:
        client = running.client()
        say(client)
        assert running.key() not in file.read_text()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert running.key_file.remove("team-a") == 1
        with pytest.raises(openai.AuthenticationError):
            say(client)


def test_a_tenants_name_is_checked_and_a_broken_file_told(tmp_path: Path) -> None:
    keys = KeyFile(tmp_path / "keys.json")
    for name in ("", "Team", "a/b", "a~1", "-a", "x" * 64):
        with pytest.raises(Misuse, match="no tenant's name"):
            keys.add(name, at=0.0)
    (tmp_path / "keys.json").write_text("[")
    with pytest.raises(Misuse, match="cannot be read"):
        keys.add("a", at=0.0)


def test_keys_that_cannot_be_read_are_told_as_such(tmp_path: Path, upstream: Upstream, upstream_url: str) -> None:
    with gateway(tmp_path, upstream_url) as running:
        client = running.client()
        say(client)
        (tmp_path / ".plimsoll/gateway-keys.json").write_text("[")
        with pytest.raises(openai.InternalServerError) as refused:
            say(client)
    assert (refused.value.status_code, refused.value.code) == (503, "keys_unreadable")
    assert len(upstream.asked) == 1


def test_no_key_is_lost_when_several_are_added_at_once(tmp_path: Path) -> None:
    def adds(number: int) -> list[str]:
        return [KeyFile(tmp_path / "keys.json").add(f"team-{number}", at=0.0) for _ in range(10)]

    with ThreadPoolExecutor(4) as threads:
        keys = list(threads.map(adds, range(4)))
    held = KeyFile(tmp_path / "keys.json")
    assert held.tenants() == {f"team-{number}": 10 for number in range(4)}
    assert [held.tenant_of(each[-1]) for each in keys] == [f"team-{number}" for number in range(4)]


def test_a_run_of_one_tenant_is_not_anothers(served_gateway: Gateway, upstream: Upstream) -> None:
    one, other = served_gateway.client("one"), served_gateway.client("other")
    for client in (one, other):
        answer = say(client, run="same", key="same")
        assert "x-plimsoll-replayed" not in answer.headers
    assert len(upstream.asked) == 2
    assert [len(calls(served_gateway, f"{tenant}/same")) for tenant in ("one", "other")] == [1, 1]
    for name in ("other/same", "../other/same", "same~2", "same/undo", "", "circuit:x/y"):
        with pytest.raises(openai.BadRequestError):
            say(one, run=name)


def test_an_answer_given_before_is_given_to_the_same_tenant_alone(
    tmp_path: Path, upstream: Upstream, upstream_url: str
) -> None:
    text = CONTRACT.replace('fallback = ["canned"]', 'fallback = ["cached"]') + "\n[models.cached]\ncached_for_s = 60\n"
    with gateway(tmp_path, upstream_url, text) as running:
        upstream.does["first"] = lambda body: JSONResponse(completion("the secret of one"))
        say(running.client("one"), model="polite")
        upstream.does["first"] = fails(500)
        answer = say(running.client("one"), model="polite")
        assert (answer.headers["x-plimsoll-rung"], "secret of one" in answer.text) == ("cached", True)
        with pytest.raises(openai.InternalServerError) as failed:
            say(running.client("other"), model="polite")
        assert "secret" not in failed.value.response.text


def test_a_tenant_that_sends_too_much_is_told_when_to_come_again(
    tmp_path: Path, upstream: Upstream, upstream_url: str
) -> None:
    text = CONTRACT.replace("[gateway.upstreams.up]", "[gateway]\nrequests_per_minute = 1\n[gateway.upstreams.up]")
    with gateway(tmp_path, upstream_url, text) as running:
        say(running.client("eager"))
        with pytest.raises(openai.RateLimitError) as failed:
            say(running.client("eager"))
        assert 1 <= int(failed.value.response.headers["retry-after"]) <= 60
        say(running.client("calm"))
    assert len(upstream.asked) == 2


def test_a_place_is_free_again_however_a_request_ended(tmp_path: Path, upstream: Upstream, upstream_url: str) -> None:
    text = CONTRACT.replace("[gateway.upstreams.up]", "[gateway]\nmax_concurrent = 1\n[gateway.upstreams.up]")
    with gateway(tmp_path, upstream_url, text, timeout_s=0.2) as running:
        client = running.client()
        for broken in (fails(500), fails(400), hang, None):
            upstream.does = {} if broken is None else {"first": broken, "second": fails(500)}
            for stream in (False, True):
                try:
                    made = client.chat.completions.create(
                        model="primary", messages=[{"role": "user", "content": "hello"}], stream=stream
                    )
                    list(made)
                except openai.APIStatusError as error:
                    assert error.status_code != 429


def test_keys_prompts_and_answers_are_in_no_log(
    served_gateway: Gateway, upstream: Upstream, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="plimsoll")
    upstream.does["first"] = fails(500, message=f"answer-secret {UP_KEY}", code="prompt-secret is long")
    client = served_gateway.client()
    say(client, "prompt-secret")
    with pytest.raises(openai.InternalServerError):
        say(client, "prompt-secret", model="lone", key="idempotency-secret")
    httpx2.get(f"{served_gateway.url}/{served_gateway.key()}/%1b[31m")
    assert "- - 404 not_found" in caplog.text
    assert "team-a /chat/completions 200" in caplog.text
    said = ("prompt-secret", "answer-secret", "idempotency-secret", "second says", "31m")
    for secret in (*said, UP_KEY, served_gateway.key()):
        assert secret not in caplog.text
