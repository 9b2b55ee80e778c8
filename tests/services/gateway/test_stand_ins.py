"""Stand-ins for upstreams, and the faults that they show."""

import asyncio
from typing import Any

import pytest

from plimsoll.contract.loading import parse_contract
from plimsoll.core.calls import Fault
from plimsoll.core.errors import Misuse
from plimsoll.policies.classify import classify
from plimsoll.policies.ladder import Rung
from plimsoll.services.gateway.chat import CHAT
from plimsoll.services.gateway.embeddings import EMBEDDINGS
from plimsoll.services.gateway.endpoint import Endpoint
from plimsoll.services.gateway.exchange import Asked, GatewayExchange
from plimsoll.services.gateway.responses import RESPONSES
from plimsoll.services.gateway.stand_ins import GatewayForger, StandIns
from tests.services.gateway.serving import CONTRACT

MADE = parse_contract(CONTRACT.replace("{base_url}", "http://up/v1").replace("{timeout_s}", "1"), file="plimsoll.toml")
NAMES = [name for name, model in MADE.models.items() if model.is_model]
RUNG = Rung("primary", MADE.models["primary"])
BODY = {"messages": [], "input": "hello"}


def exchange(endpoint: Endpoint, stand_in: Any = lambda body: "Hello.", **body: Any) -> GatewayExchange:
    asked = Asked(endpoint=endpoint, tenant="gate", model="primary", body={**BODY, **body})
    return GatewayExchange(asked, StandIns(MADE, dict.fromkeys(NAMES, stand_in)))


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@pytest.mark.parametrize("streams", [False, True])
def test_a_text_is_an_answer_whole_or_streamed(endpoint: Endpoint, streams: bool) -> None:
    async def later(body: dict[str, Any]) -> str:
        return "Hello."

    for stand_in in (lambda body: "Hello.", later):
        asked = exchange(endpoint, stand_in, stream=streams)
        reply = asyncio.run(asked.send(RUNG))
        assert "Hello." in str(reply.body)
        assert asked.inspect(reply).problem is None


@pytest.mark.parametrize("endpoint", [CHAT, RESPONSES])
@pytest.mark.parametrize(
    "fault",
    [
        Fault(name)
        for name in (
            "rate_limited",
            "server_error",
            "connection",
            "malformed",
            "empty",
            "error_in_success",
            "truncated",
        )
    ],
)
def test_a_fault_is_taken_for_what_it_is(endpoint: Endpoint, fault: Fault) -> None:
    asked = exchange(endpoint)
    try:
        problem = asked.inspect(GatewayForger().forge(fault, asked, None)).problem
    except Exception as error:
        assert classify(error).fault is fault
    else:
        assert problem is not None
        assert problem.fault is fault


@pytest.mark.parametrize(
    ("asked", "fault"),
    [
        (exchange(CHAT, max_tokens=2), Fault.TRUNCATED),
        (exchange(RESPONSES, max_output_tokens=16), Fault.TRUNCATED),
        (exchange(EMBEDDINGS), Fault.EMPTY),
        (exchange(CHAT), Fault.STALE),
    ],
)
def test_what_cannot_be_shown_is_no_fault(asked: GatewayExchange, fault: Fault) -> None:
    with pytest.raises(LookupError):
        GatewayForger().forge(fault, asked, None)


def test_what_is_no_stand_in_is_told() -> None:
    with pytest.raises(Misuse, match="no stand-in for second, lone, embed, polite"):
        StandIns(MADE, {"primary": lambda body: "Hello."})
    with pytest.raises(Misuse, match="the stand-in for primary returned 3"):
        asyncio.run(exchange(CHAT, lambda body: 3).send(RUNG))
