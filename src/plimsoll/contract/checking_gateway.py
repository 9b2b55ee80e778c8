"""Checks of `[gateway]`: that every model of a ladder has a service to be sent to."""

import difflib
from collections.abc import Iterator
from urllib.parse import urlsplit

from plimsoll.contract.model import Contract
from plimsoll.contract.notes import Notes
from plimsoll.contract.toml_places import Path

__all__ = ["check_gateway", "gateway_problems", "upstream_of"]


def upstream_of(model_id: str) -> tuple[str, str]:
    """The upstream that a model's id names, and the model's name there: `openai:gpt-5` → `openai`, `gpt-5`."""
    upstream, _, name = model_id.partition(":")
    return upstream, name


def check_gateway(contract: Contract, notes: Notes) -> None:
    """Notes what keeps the gateway from starting. Without a `[gateway]` there is none."""
    if contract.gateway is not None:
        for path, what, fix in gateway_problems(contract):
            notes.error(path, what, fix)


def gateway_problems(contract: Contract) -> Iterator[tuple[Path, str, str]]:
    """Why no gateway can be made of the contract: the field, what is wrong with it, and what would be right."""
    if contract.gateway is None:
        yield ("gateway",), "is missing: no upstream is named", "add [gateway.upstreams.openai] with its base_url"
        return
    for guard in contract.guards:
        what = "judges texts of an agent, and here are but its requests: its own code runs at the client"
        yield ("guards", guard), what, "leave it out of the gateway's contract; harden the agent to have guards"
    upstreams = contract.gateway.upstreams
    for name, upstream in upstreams.items():
        if urlsplit(upstream.base_url).password:
            fix = 'api_key = "env:NAME", and the key into that variable of the environment'
            yield ("gateway", "upstreams", name, "base_url"), "holds a password", fix
    for name, model in contract.models.items():
        here: Path = ("models", name)
        if not (name.isascii() and name.isprintable()):
            yield here, "has a name that no HTTP header can carry", "name it in printable ASCII"
        if model.hand_over:
            yield (
                (*here, "hand_over"),
                "takes longer than an HTTP request waits",
                "leave it out of the gateway's contract",
            )
        if not model.is_model:
            continue
        if model.local is not None:
            what = "is no upstream: a gateway asks HTTP services alone"
            yield (*here, "local"), what, 'serve the model by HTTP, name that upstream, and write id = "UPSTREAM:MODEL"'
            continue
        if model.id is None:
            yield (*here, "id"), "is missing: the gateway has no model of its own", 'id = "UPSTREAM:MODEL"'
            continue
        wanted, model_name = upstream_of(model.id)
        if wanted not in upstreams or not model_name:
            near = difflib.get_close_matches(wanted, upstreams, n=1)
            fix = f"did you mean {near[0]}:{model_name}?" if near else f"add [gateway.upstreams.{wanted}]"
            yield (*here, "id"), f"{model.id} names no upstream", fix
