"""A harness over an encrypted, checkpointed journal: the contract alone says so."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from plimsoll import Harness, local
from plimsoll.contract.loading import parse_contract
from plimsoll.core.calls import Ending, Happened
from plimsoll.core.errors import KeyMissing, Misuse, RunErased
from plimsoll.journal.keys import new_master_key
from plimsoll.journal.signing import new_signing_key
from plimsoll.observability.findings import MemorySink
from plimsoll.runtime.result import RunResult
from plimsoll.runtime.run import Run

CONTRACT = """
[agent]
name = "refunds"

[tools.refund]
effect = "write"
approval = { when = "amount > 50", approvers = ["ana"] }

[journal]
path = "journal.db"
encrypt = true
key_file = "journal.key"
signing_key_file = "audit.key"
checkpoint_events = 3
"""


async def refund(order: str, amount: float) -> dict[str, Any]:
    return {"refunded": amount, "card": "4111 1111"}


async def agent(run: Run, request: dict[str, Any]) -> Any:
    return await run.call("refund", {"order": request["order"], "amount": request["amount"]})


class Shop:
    """A folder with a contract and its keys."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sink = MemorySink()
        self.contract = parse_contract(CONTRACT, file="plimsoll.toml")
        (folder / "journal.key").write_text(new_master_key())
        (folder / "audit.key").write_text(new_signing_key()[0])

    def does(self, work: Any) -> Any:
        """What `work` does with a harness and its store."""

        async def main() -> Any:
            surroundings = local(self.contract, directory=self.folder, sinks=[self.sink])
            verifiers = {"refund": lambda args, key: Happened({})}
            try:
                async with Harness(
                    self.contract, agent=agent, surroundings=surroundings, tools=[refund], verifiers=verifiers
                ) as harness:
                    return await work(harness)
            finally:
                await surroundings.store.close()

        return asyncio.run(main())

    def run(self, amount: float, run_id: str) -> RunResult:
        result: RunResult = self.does(
            lambda harness: harness.run({"order": "the order of ann", "amount": amount}, run_id=run_id)
        )
        return result

    @property
    def contents(self) -> bytes:
        return b"".join(file.read_bytes() for file in self.folder.glob("journal.db*") if file.is_file())


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


def test_nothing_personal_is_in_the_file_and_the_run_answers_again(shop: Shop) -> None:
    first = shop.run(20.0, "r")
    assert (first.ending, first.output["card"]) == (Ending.COMPLETE, "4111 1111")
    assert shop.run(20.0, "r").output == first.output
    for secret in (b"4111", b"order of ann", b'"amount"'):
        assert secret not in shop.contents


def test_an_approval_goes_through_with_everything_sealed(shop: Shop) -> None:
    parked = shop.run(500.0, "r")
    assert parked.waiting_for[0].args == {"order": "the order of ann", "amount": 500.0}
    request = parked.waiting_for[0].request_id

    async def decide(harness: Harness) -> bool:
        return await harness.operations.decide(request, approve=True, by="ana", note="a good customer")

    assert shop.does(decide) and not shop.does(decide), "made twice, it is one decision"
    (result,) = shop.does(lambda harness: harness.wake())
    assert (result.ending, result.output["refunded"]) == (Ending.COMPLETE, 500.0)
    for secret in (b"4111", b"a good customer", parked.waiting_for[0].args_digest.encode()):
        assert secret not in shop.contents


def test_checkpoints_are_made_as_it_works_and_when_it_ends(shop: Shop) -> None:
    shop.run(20.0, "r")

    async def look(harness: Harness) -> Any:
        checkpoints = await harness.store.checkpoints()  # type: ignore[attr-defined]
        return checkpoints, await harness.store.head("r")

    checkpoints, head = shop.does(look)
    assert len(checkpoints) >= 1
    leaves = shop.does(lambda harness: harness.store.leaves(checkpoints[-1].number))
    assert [(leaf.run_id, leaf.seq) for leaf in leaves] == [("r", head.seq)]


def test_an_erased_run_is_neither_gone_on_with_nor_answered(shop: Shop) -> None:
    shop.run(20.0, "r")
    shop.does(lambda harness: harness.store.erase("r", by="ann", reason="request 7", at=1.0))
    for again in (
        lambda harness: harness.resume("r"),
        lambda harness: harness.run({"order": "W1"}, run_id="r"),
        lambda harness: harness.compensate("r", by="ann"),
    ):
        with pytest.raises(RunErased, match="run r was erased"):
            shop.does(again)
    assert shop.does(lambda harness: harness.wake()) == []
    assert shop.sink.findings == []


def test_without_its_key_a_parked_run_is_left_as_it_is(shop: Shop) -> None:
    shop.run(500.0, "r")
    before = shop.does(lambda harness: harness.store.head("r"))
    (shop.folder / "journal.key").write_text(new_master_key())
    with pytest.raises(KeyMissing, match="run r is encrypted under master key"):
        shop.does(lambda harness: harness.resume("r"))
    assert shop.does(lambda harness: harness.store.head("r")) == before
    (shop.folder / "journal.key").unlink()
    with pytest.raises(Misuse, match=r"key_file .*journal.key cannot be read"):
        shop.run(20.0, "s")
