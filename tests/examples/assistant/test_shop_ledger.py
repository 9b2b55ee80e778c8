"""The ledger: a doubled effect shows, nothing can be taken back, and a write is there in full or not at all."""

import dataclasses
import hashlib
import sqlite3
import threading
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from examples.assistant.ledger import Movement, args_digest
from examples.assistant.shop import Shop, ShopRefusal

REFUND: dict[str, Any] = {
    "order_id": "#W7001003",
    "amount": 250,
    "payment_method_id": "paypal_4100047",
    "reason": "bent wheel",
}


def test_a_blind_retry_refunds_twice_and_the_ledger_shows_it(shop: Shop) -> None:
    shop.issue_refund(**REFUND, key="run-1/refund")
    shop.issue_refund(**REFUND, key="run-1/refund")
    first, second = shop.ledger()
    assert (first.idempotency_key, first.tool, first.args_digest) == (
        second.idempotency_key,
        second.tool,
        second.args_digest,
    )
    assert (first.seq, second.seq) == (1, 2)
    assert shop.money_moved() == {"paypal_4100047": 500_00}


def test_a_row_says_what_was_done_to_whom_and_what_was_answered(shop: Shop) -> None:
    order = shop.issue_refund(**REFUND, key="run-1/refund")
    (entry,) = shop.ledger()
    assert entry.tool == "issue_refund"
    assert entry.args == REFUND
    assert entry.args_digest == args_digest(REFUND)
    assert (entry.order_id, entry.user_id) == ("#W7001003", "tomas_okafor_1907")
    assert entry.money == (Movement(payment_method_id="paypal_4100047", direction="refund", cents=250_00),)
    assert entry.result == order
    with pytest.raises(dataclasses.FrozenInstanceError):
        entry.tool = "think"  # type: ignore[misc]


def test_an_effect_is_found_by_its_key(shop: Shop) -> None:
    assert shop.find_effect("run-1/refund") is None
    shop.transfer_to_human_agents("Needs a person.")
    assert shop.find_effect("run-1/refund") is None
    order = shop.issue_refund(**REFUND, key="run-1/refund")
    shop.issue_refund(**REFUND, key="run-1/refund")
    found = shop.find_effect("run-1/refund")
    assert found is not None
    assert (found.seq, found.result) == (2, order)


def test_a_refused_call_is_no_effect(shop: Shop) -> None:
    with pytest.raises(ShopRefusal):
        shop.issue_refund(**{**REFUND, "amount": 2000}, key="run-1/refund")
    assert shop.find_effect("run-1/refund") is None
    assert shop.ledger() == []
    assert shop.money_moved() == {}


def test_reads_leave_no_row(shop: Shop) -> None:
    shop.get_order_details("#W7001001")
    shop.think("hm")
    shop.calculate("1 + 1")
    assert shop.ledger() == []


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM ledger",
        "DELETE FROM ledger WHERE seq = 1",
        "UPDATE ledger SET money = '[]'",
        "INSERT OR REPLACE INTO ledger SELECT 1, NULL, 'think', '{}', '', NULL, NULL, '[]', '{}', 0",
        "REPLACE INTO ledger SELECT * FROM ledger WHERE seq = 1",
    ],
)
def test_the_ledger_is_append_only(shop: Shop, tmp_path: Path, statement: str) -> None:
    with shop.copy(tmp_path / "shop.db") as kept:
        kept.issue_refund(**REFUND)
        before = kept.ledger()
        with (
            closing(sqlite3.connect(tmp_path / "shop.db", isolation_level=None)) as db,
            pytest.raises(sqlite3.IntegrityError, match="append-only"),
        ):
            db.execute(statement)
        assert kept.ledger() == before


def test_a_write_that_fails_at_its_ledger_row_leaves_nothing(shop: Shop) -> None:
    before = shop.image()
    unfit: Any = object()
    # The order and the gift card are written by then: only the row itself fails.
    with pytest.raises(sqlite3.Error):
        shop.cancel_pending_order("#W7001007", reason="no longer needed", key=unfit)
    assert shop.image() == before
    shop.cancel_pending_order("#W7001007", reason="no longer needed")
    assert len(shop.ledger()) == 1


def test_time_is_the_callers_or_counts_effects() -> None:
    ticks = count(100.0, 0.5)
    with Shop.seeded(now=lambda: next(ticks)) as timed, Shop.seeded() as counted:
        for shop in (timed, counted):
            shop.transfer_to_human_agents("one")
            shop.transfer_to_human_agents("two")
        assert [entry.at for entry in timed.ledger()] == [100.0, 100.5]
        assert [entry.at for entry in counted.ledger()] == [1_700_000_000.0, 1_700_000_001.0]


def test_effects_from_many_threads_are_all_recorded(shop: Shop) -> None:
    def refund_cents() -> None:
        for _ in range(20):
            shop.issue_refund(**{**REFUND, "amount": 0.01})

    threads = [threading.Thread(target=refund_cents) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [entry.seq for entry in shop.ledger()] == list(range(1, 161))
    assert len(shop.get_order_details("#W7001003")["payment_history"]) == 161


def test_the_digest_is_of_the_arguments_not_of_how_they_are_written() -> None:
    assert args_digest({"a": 20, "b": ["x"]}) == args_digest({"b": ("x",), "a": 20.0})
    assert args_digest({"a": 20}) != args_digest({"a": 20.5})
    assert args_digest({"b": [1.0, {}], "a": "é"}) == hashlib.sha256('{"a":"é","b":[1,{}]}'.encode()).hexdigest()
