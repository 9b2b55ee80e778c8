"""Where a shop is kept: seeded, loaded, cloned, and in a file."""

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from examples.assistant.seed import build_image, seed_image
from examples.assistant.shop import Shop, ShopRefusal

ROOT = Path(__file__).parents[3]


def test_the_seeded_shop_is_the_same_each_time() -> None:
    again = seed_image.__wrapped__()
    assert again is not seed_image()
    assert again == seed_image()


def test_the_seeded_shop_has_an_order_in_every_status(shop: Shop) -> None:
    user_ids = ["ines_calder_4821", "tomas_okafor_1907", "wren_halloway_3355", "bela_szabo_6602"]
    user_ids += ["nadia_firth_2718", "joss_lindqvist_9143", "amara_vance_5034", "kit_marlow_7788"]
    orders = [
        shop.get_order_details(order_id)
        for user_id in user_ids
        for order_id in shop.get_user_details(user_id)["orders"]
    ]
    assert {order["status"] for order in orders} == {
        "pending",
        "processed",
        "delivered",
        "cancelled",
        "return requested",
        "pending (item modified)",
    }
    totals = [order["payment_history"][0]["amount"] for order in orders]
    assert (min(totals), max(totals)) == (20.0, 1500.0)
    for order, total in zip(orders, totals, strict=True):
        assert total == round(sum(item["price"] for item in order["items"]), 2)
        for item in order["items"]:
            variant = shop.get_product_details(item["product_id"])["variants"][item["item_id"]]
            assert (variant["price"], variant["options"]) == (item["price"], item["options"])


def test_customers_are_found_whatever_the_case_of_what_they_type(shop: Shop) -> None:
    assert shop.find_user_id_by_email("Ines.Calder@Example.com") == "ines_calder_4821"
    assert shop.find_user_id_by_name_zip("TOMAS", last_name="okafor", zip="85719") == "tomas_okafor_1907"


def test_of_two_customers_that_fit_neither_is_found() -> None:
    user: dict[str, Any] = {
        "name": {"first_name": "Ada", "last_name": "Berg"},
        "email": "ada@example.com",
        "address": {"zip": "10001"},
        "payment_methods": {},
        "orders": [],
    }
    with (
        Shop.load(users={"ada_1": user, "ada_2": user}, products={}, orders={}) as shop,
        pytest.raises(ShopRefusal, match="more than one customer"),
    ):
        shop.find_user_id_by_name_zip("Ada", last_name="Berg", zip="10001")


def test_a_copy_shares_nothing_with_its_original(shop: Shop) -> None:
    shop.issue_refund("#W7001001", amount=1, payment_method_id="credit_card_4100021", reason="late")
    with shop.copy() as copy:
        assert copy.ledger() == shop.ledger()
        copy.cancel_pending_order("#W7001002", reason="no longer needed")
        shop.issue_refund("#W7001001", amount=2, payment_method_id="credit_card_4100021", reason="late")
        assert [entry.tool for entry in copy.ledger()] == ["issue_refund", "cancel_pending_order"]
        assert shop.get_order_details("#W7001002")["status"] == "pending"
        assert shop.money_moved() == {"credit_card_4100021": 3_00}
    with Shop.seeded() as fresh:
        assert fresh.ledger() == []


def test_a_copy_keeps_the_clock() -> None:
    with Shop.seeded(now=lambda: 7.0) as shop, shop.copy() as copy:
        copy.transfer_to_human_agents("Needs a person.")
        assert copy.ledger()[0].at == 7.0


def test_a_shop_in_a_file_is_there_when_opened_again(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    with shop.copy(path) as kept:
        kept.cancel_pending_order("#W7001002", reason="no longer needed", key="k")
    assert shop.ledger() == []
    with Shop.open(path) as again:
        assert again.get_order_details("#W7001002")["status"] == "cancelled"
        assert again.find_effect("k") is not None
        with again.copy() as in_memory:
            assert in_memory.ledger() == again.ledger()


def test_an_effect_survives_the_death_of_its_process(shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "shop.db"
    shop.copy(path).close()
    program = """if True:
        import os, signal, sys
        from examples.assistant.shop import Shop, ShopRefusal
        shop = Shop.open(sys.argv[1])
        shop.transfer_to_human_agents("one", key="done")
        with shop._effect("transfer_to_human_agents", "never done", {}) as effect:
            effect.order("#W7001002", status="pending")["status"] = "cancelled"
            effect.save()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    died = subprocess.run([sys.executable, "-c", program, path], check=False, env=environment)
    assert died.returncode == -9
    with Shop.open(path) as again:
        assert [entry.idempotency_key for entry in again.ledger()] == ["done"]
        assert again.get_order_details("#W7001002")["status"] == "pending"


def test_a_shop_works_from_another_thread_than_it_was_made_in(shop: Shop) -> None:
    worker = threading.Thread(target=shop.transfer_to_human_agents, args=("Needs a person.",))
    worker.start()
    worker.join()
    assert len(shop.ledger()) == 1


def test_a_ledger_is_never_overwritten(shop: Shop, tmp_path: Path) -> None:
    shop.copy(tmp_path / "shop.db").close()
    with pytest.raises(FileExistsError, match="never overwritten"):
        shop.copy(tmp_path / "shop.db")


def test_only_a_shop_is_opened_as_one(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="make one with"):
        Shop.open(tmp_path / "missing.db")
    (tmp_path / "text.db").write_text("not a database, and long enough that SQLite looks at its header" * 20)
    with pytest.raises(ValueError, match=r"text\.db is not a shop"):
        Shop.open(tmp_path / "text.db")
    with closing(sqlite3.connect(tmp_path / "other.db")) as db:
        db.execute("CREATE TABLE notes (body TEXT)")
    with pytest.raises(ValueError, match="but not a shop"):
        Shop.open(tmp_path / "other.db")


def test_a_malformed_document_is_named() -> None:
    user: dict[str, Any] = {
        "name": {},
        "email": "",
        "address": {},
        "payment_methods": {"paypal_1": {}},
        "orders": [],
    }
    order: dict[str, Any] = {
        "order_id": "#W1",
        "user_id": "ada_1",
        "status": "pending",
        "address": {},
        "items": [],
        "payment_history": [
            {"transaction_type": "payment", "amount": 1, "payment_method_id": "paypal_2"},
        ],
    }
    with pytest.raises(ValueError, match=r"products\['1'\]: missing product_id, variants"):
        build_image(users={}, products={"1": {"name": "Lamp"}}, orders={})
    with pytest.raises(ValueError, match=r"orders\['#W1'\]: user 'ada_1' is not among the users"):
        build_image(users={}, products={}, orders={"#W1": order})
    with pytest.raises(ValueError, match=r"orders\['#W1'\]: payment method 'paypal_2'"):
        build_image(users={"ada_1": user}, products={}, orders={"#W1": order})
