"""Every tool that changes something: what it does, and what the rules refuse."""

from collections.abc import Callable
from typing import Any

import pytest

from examples.assistant.ledger import Movement
from examples.assistant.shop import Shop, ShopRefusal

ADDRESS = {
    "address1": "1 Quay Street",
    "address2": "",
    "city": "Astoria",
    "state": "OR",
    "country": "USA",
    "zip": "97103",
}


def refund(payment_method_id: str, cents: int) -> Movement:
    return Movement(payment_method_id=payment_method_id, direction="refund", cents=cents)


def charge(payment_method_id: str, cents: int) -> Movement:
    return Movement(payment_method_id=payment_method_id, direction="charge", cents=cents)


def money(shop: Shop) -> tuple[Movement, ...]:
    """What the one effect of the test moved."""
    (entry,) = shop.ledger()
    return entry.money


def balance(shop: Shop, user_id: str, gift_card: str) -> Any:
    return shop.get_user_details(user_id)["payment_methods"][gift_card]["balance"]


def test_a_cancelled_order_is_refunded_in_full_to_what_paid_it(shop: Shop) -> None:
    order = shop.cancel_pending_order("#W7001002", reason="no longer needed")
    assert (order["status"], order["cancel_reason"]) == ("cancelled", "no longer needed")
    assert money(shop) == (refund("credit_card_4100021", 174_65),)
    assert order["payment_history"][-1] == {
        "transaction_type": "refund",
        "amount": 174.65,
        "payment_method_id": "credit_card_4100021",
    }
    assert shop.get_order_details("#W7001002") == order


def test_a_cancelled_order_is_refunded_to_a_gift_card_at_once(shop: Shop) -> None:
    shop.cancel_pending_order("#W7001007", reason="ordered by mistake")
    assert balance(shop, "bela_szabo_6602", "gift_card_4100062") == 374.60


def test_after_a_change_of_payment_a_cancellation_refunds_only_what_was_not_refunded(shop: Shop) -> None:
    shop.modify_pending_order_payment("#W7001011", payment_method_id="credit_card_4100104")
    shop.cancel_pending_order("#W7001011", reason="no longer needed")
    assert shop.ledger()[-1].money == (refund("credit_card_4100104", 438_00),)
    # Paid once, changed, cancelled: the first card has its money back from the change, the second has it now.
    assert shop.money_moved() == {"credit_card_4100096": 438_00, "credit_card_4100104": 0}


def test_the_address_of_a_pending_order_changes_and_the_customers_stays(shop: Shop) -> None:
    home = shop.get_user_details("ines_calder_4821")["address"]
    order = shop.modify_pending_order_address("#W7001002", **ADDRESS)
    assert order["address"] == ADDRESS
    assert shop.get_user_details("ines_calder_4821")["address"] == home
    assert money(shop) == ()


def test_the_address_of_a_customer_changes_and_the_orders_stays(shop: Shop) -> None:
    before = shop.get_order_details("#W7001002")
    user = shop.modify_user_address("ines_calder_4821", **ADDRESS)
    assert user["address"] == ADDRESS
    assert shop.get_order_details("#W7001002") == before
    found = shop.find_user_id_by_name_zip("Ines", last_name="Calder", zip=ADDRESS["zip"])
    assert found == "ines_calder_4821"
    (entry,) = shop.ledger()
    assert (entry.order_id, entry.user_id, entry.money) == (None, "ines_calder_4821", ())


def test_a_change_of_payment_charges_the_new_method_and_refunds_the_former(shop: Shop) -> None:
    order = shop.modify_pending_order_payment("#W7001011", payment_method_id="credit_card_4100104")
    assert order["status"] == "pending"
    assert money(shop) == (charge("credit_card_4100104", 438_00), refund("credit_card_4100096", 438_00))


def test_a_swap_in_a_pending_order_charges_the_difference_and_closes_the_order(shop: Shop) -> None:
    order = shop.modify_pending_order_items(
        "#W7001005",
        item_ids=["2045100401"],
        new_item_ids=["2045100403"],
        payment_method_id="credit_card_4100054",
    )
    assert order["status"] == "pending (item modified)"
    (item,) = order["items"]
    assert (item["item_id"], item["price"]) == ("2045100403", 328.30)
    assert item["options"] == {"burr": "ceramic", "colour": "black"}
    assert money(shop) == (charge("credit_card_4100054", 79_30),)
    with pytest.raises(ShopRefusal, match=r"pending \(item modified\), not pending"):
        shop.cancel_pending_order("#W7001005", reason="no longer needed")
    with pytest.raises(ShopRefusal, match=r"pending \(item modified\), not pending"):
        shop.modify_pending_order_address("#W7001005", **ADDRESS)


def test_a_swap_for_something_cheaper_refunds_the_difference_to_a_gift_card(shop: Shop) -> None:
    shop.modify_pending_order_items(
        "#W7001007",
        item_ids=["2045100303"],
        new_item_ids=["2045100302"],
        payment_method_id="gift_card_4100062",
    )
    assert money(shop) == (refund("gift_card_4100062", 5_35),)
    assert balance(shop, "bela_szabo_6602", "gift_card_4100062") == 245.85


def test_a_return_is_refunded_to_the_original_method_or_a_gift_card(shop: Shop) -> None:
    order = shop.return_delivered_order_items(
        "#W7001006", item_ids=["2045100103", "2045100103"], payment_method_id="credit_card_4100054"
    )
    assert order["status"] == "return requested"
    assert order["return_items"] == ["2045100103", "2045100103"]
    assert money(shop) == (refund("credit_card_4100054", 63_00),)

    shop.return_delivered_order_items("#W7001009", item_ids=["2045100402"], payment_method_id="gift_card_4100088")
    assert shop.ledger()[-1].money == (refund("gift_card_4100088", 264_60),)
    assert balance(shop, "nadia_firth_2718", "gift_card_4100088") == 15.00, "the goods have not arrived yet"


def test_a_return_does_not_pay_again_what_was_refunded_out_of_goodwill(shop: Shop) -> None:
    shop.issue_refund("#W7001001", amount=5, payment_method_id="credit_card_4100021", reason="late")
    shop.return_delivered_order_items("#W7001001", item_ids=["2045100102"], payment_method_id="credit_card_4100021")
    assert shop.money_moved() == {"credit_card_4100021": 20_00}


def test_an_exchange_books_the_difference(shop: Shop) -> None:
    order = shop.exchange_delivered_order_items(
        "#W7001014",
        item_ids=["2045100601", "2045100304"],
        new_item_ids=["2045100602", "2045100303"],
        payment_method_id="gift_card_4100146",
    )
    assert order["status"] == "exchange requested"
    assert order["exchange_price_difference"] == 165.15
    assert order["exchange_new_items"] == ["2045100303", "2045100602"]
    assert [item["item_id"] for item in order["items"]] == ["2045100601", "2045100304"]
    assert money(shop) == (charge("gift_card_4100146", 165_15),)


def test_a_faulty_item_is_exchanged_for_the_same_variant(shop: Shop) -> None:
    order = shop.exchange_delivered_order_items(
        "#W7001003",
        item_ids=["2045100604"],
        new_item_ids=["2045100604"],
        payment_method_id="paypal_4100047",
    )
    assert order["exchange_price_difference"] == 0
    assert money(shop) == ()


@pytest.mark.parametrize(("order_id", "amount"), [("#W7001001", 20), ("#W7001003", 1499.99)])
def test_goodwill_refunds_part_or_all_of_a_delivered_order(shop: Shop, order_id: str, amount: float) -> None:
    original = shop.get_order_details(order_id)["payment_history"][0]["payment_method_id"]
    order = shop.issue_refund(order_id, amount=amount, payment_method_id=original, reason="scratched")
    assert order["status"] == "delivered"
    assert order["payment_history"][-1]["reason"] == "scratched"
    assert money(shop) == (refund(original, round(amount * 100)),)


def test_goodwill_refunds_a_cancelled_order_that_was_not_refunded_yet(shop: Shop) -> None:
    shop.issue_refund("#W7001012", amount=1320, payment_method_id="credit_card_4100104", reason="out of stock")
    assert money(shop) == (refund("credit_card_4100104", 1320_00),)


def test_goodwill_reaches_a_gift_card_at_once(shop: Shop) -> None:
    shop.issue_refund("#W7001009", amount=9.99, payment_method_id="gift_card_4100088", reason="late")
    assert balance(shop, "nadia_firth_2718", "gift_card_4100088") == 24.99


def test_a_hand_over_is_an_effect_of_nobodys_order(shop: Shop) -> None:
    shop.transfer_to_human_agents("Wants to speak to a person.")
    (entry,) = shop.ledger()
    assert (entry.tool, entry.order_id, entry.user_id, entry.money) == (
        "transfer_to_human_agents",
        None,
        None,
        (),
    )


def swap_pending(shop: Shop, **changed: Any) -> None:
    arguments = {
        "item_ids": ["2045100302"],
        "new_item_ids": ["2045100303"],
        "payment_method_id": "credit_card_4100021",
        **changed,
    }
    shop.modify_pending_order_items("#W7001002", **arguments)


def exchange(shop: Shop, **changed: Any) -> None:
    arguments = {
        "item_ids": ["2045100402"],
        "new_item_ids": ["2045100403"],
        "payment_method_id": "paypal_4100070",
        **changed,
    }
    shop.exchange_delivered_order_items("#W7001009", **arguments)


def give_back(shop: Shop, order_id: str, *item_ids: str, to: str) -> None:
    shop.return_delivered_order_items(order_id, item_ids=list(item_ids), payment_method_id=to)


def goodwill(shop: Shop, order_id: str, amount: float, to: str) -> None:
    shop.issue_refund(order_id, amount=amount, payment_method_id=to, reason="late")


def cancel(shop: Shop, order_id: str, reason: Any = "no longer needed") -> None:
    shop.cancel_pending_order(order_id, reason=reason)


def pay(shop: Shop, order_id: str, method: str) -> None:
    shop.modify_pending_order_payment(order_id, payment_method_id=method)


REFUSED: dict[str, tuple[Callable[[Shop], Any], str]] = {
    "cancel: unknown order": (lambda s: cancel(s, "#W7009999"), "no order '#W7009999'"),
    "cancel: processed": (lambda s: cancel(s, "#W7001004"), "is processed, not pending"),
    "cancel: delivered": (lambda s: cancel(s, "#W7001001"), "is delivered, not pending"),
    "cancel: cancelled": (lambda s: cancel(s, "#W7001008"), "is cancelled, not pending"),
    "cancel: item modified": (lambda s: cancel(s, "#W7001013"), "not pending"),
    "cancel: another reason": (lambda s: cancel(s, "#W7001002", "found it cheaper"), "not a reason"),
    "address: processed": (
        lambda s: s.modify_pending_order_address("#W7001004", **ADDRESS),
        "is processed, not pending",
    ),
    "customer's address: unknown": (lambda s: s.modify_user_address("nobody_1", **ADDRESS), "no user"),
    "payment: delivered": (lambda s: pay(s, "#W7001001", "gift_card_4100039"), "not pending"),
    "payment: the same": (lambda s: pay(s, "#W7001002", "credit_card_4100021"), "by credit_card_4100021 already"),
    "payment: somebody else's": (lambda s: pay(s, "#W7001002", "paypal_4100047"), "has no payment method"),
    "payment: gift card too small": (lambda s: pay(s, "#W7001002", "gift_card_4100039"), "holds only 60.00"),
    "swap: delivered": (
        lambda s: s.modify_pending_order_items(
            "#W7001001",
            item_ids=["2045100102"],
            new_item_ids=["2045100101"],
            payment_method_id="credit_card_4100021",
        ),
        "is delivered, not pending",
    ),
    "swap: nothing": (lambda s: swap_pending(s, item_ids=[], new_item_ids=[]), "no item is named"),
    "swap: uneven": (lambda s: swap_pending(s, new_item_ids=[]), "exactly one new item"),
    "swap: not in the order": (lambda s: swap_pending(s, item_ids=["2045100301"]), "has no item 2045100301"),
    "swap: more than ordered": (
        lambda s: swap_pending(s, item_ids=["2045100302"] * 2, new_item_ids=["2045100303"] * 2),
        "fewer than are named",
    ),
    "swap: another product": (lambda s: swap_pending(s, new_item_ids=["2045100203"]), "not a variant of Rain"),
    "swap: out of stock": (lambda s: swap_pending(s, new_item_ids=["2045100305"]), "out of stock"),
    "swap: for itself": (lambda s: swap_pending(s, new_item_ids=["2045100302"]), "for itself"),
    "swap: somebody else's payment": (
        lambda s: swap_pending(s, payment_method_id="paypal_4100047"),
        "has no payment method",
    ),
    "return: pending": (
        lambda s: give_back(s, "#W7001002", "2045100302", to="credit_card_4100021"),
        "is pending, not delivered",
    ),
    "return: twice": (
        lambda s: give_back(s, "#W7001010", "2045100301", to="paypal_4100070"),
        "is return requested, not delivered",
    ),
    "return: nothing": (lambda s: give_back(s, "#W7001003", to="paypal_4100047"), "no item is named"),
    "return: more than ordered": (
        lambda s: give_back(s, "#W7001001", *["2045100102"] * 2, to="credit_card_4100021"),
        "fewer than are named",
    ),
    "return: not to what paid": (
        lambda s: give_back(s, "#W7001014", "2045100601", to="credit_card_4100138"),
        "is refunded to gift_card_4100146 or to a gift card",
    ),
    "return: somebody else's gift card": (
        lambda s: give_back(s, "#W7001001", "2045100102", to="gift_card_4100146"),
        "has no payment method",
    ),
    "exchange: another product": (lambda s: exchange(s, new_item_ids=["2045100502"]), "not a variant of Coffee"),
    "exchange: out of stock": (lambda s: exchange(s, new_item_ids=["2045100404"]), "out of stock"),
    "exchange: gift card too small": (
        lambda s: exchange(s, payment_method_id="gift_card_4100088"),
        "gift_card_4100088 holds only 15.00",
    ),
    "exchange: return requested": (
        lambda s: s.exchange_delivered_order_items(
            "#W7001010",
            item_ids=["2045100301"],
            new_item_ids=["2045100302"],
            payment_method_id="paypal_4100070",
        ),
        "not delivered",
    ),
    "goodwill: pending": (
        lambda s: goodwill(s, "#W7001002", 1, "credit_card_4100021"),
        "is pending, not delivered or cancelled",
    ),
    "goodwill: more than paid": (
        lambda s: goodwill(s, "#W7001001", 20.01, "credit_card_4100021"),
        "only 20.00 of order #W7001001",
    ),
    "goodwill: refunded already": (lambda s: goodwill(s, "#W7001008", 1, "gift_card_4100062"), "only 0.00"),
    "goodwill: somebody else's": (
        lambda s: goodwill(s, "#W7001001", 1, "credit_card_4100054"),
        "has no payment method",
    ),
    "goodwill: nothing": (lambda s: goodwill(s, "#W7001001", 0, "credit_card_4100021"), "not an amount"),
    "goodwill: negative": (lambda s: goodwill(s, "#W7001001", -5, "credit_card_4100021"), "not an amount"),
    "goodwill: not a number": (
        lambda s: goodwill(s, "#W7001001", float("nan"), "credit_card_4100021"),
        "not an amount",
    ),
    "goodwill: endless": (
        lambda s: goodwill(s, "#W7001001", float("inf"), "credit_card_4100021"),
        "not an amount",
    ),
    "goodwill: parts of a cent": (
        lambda s: goodwill(s, "#W7001001", 1.005, "credit_card_4100021"),
        "whole number of cents",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_the_rules_refuse_and_nothing_has_changed(shop: Shop, case: str) -> None:
    call, why = REFUSED[case]
    before = shop.image()
    with pytest.raises(ShopRefusal, match=why):
        call(shop)
    assert shop.image() == before


def test_an_order_is_changed_in_its_items_once(shop: Shop) -> None:
    swap_pending(shop)
    with pytest.raises(ShopRefusal, match="not pending"):
        swap_pending(shop)
    exchange(shop)
    with pytest.raises(ShopRefusal, match="is exchange requested, not delivered"):
        exchange(shop)
    assert len(shop.ledger()) == 2


def test_the_payment_of_an_order_is_changed_once(shop: Shop) -> None:
    pay(shop, "#W7001011", "credit_card_4100104")
    with pytest.raises(ShopRefusal, match="was changed before"):
        pay(shop, "#W7001011", "credit_card_4100096")


def test_goodwill_ends_where_all_that_was_paid_is_refunded(shop: Shop) -> None:
    goodwill(shop, "#W7001001", 12, "credit_card_4100021")
    goodwill(shop, "#W7001001", 8, "gift_card_4100039")
    with pytest.raises(ShopRefusal, match=r"only 0\.00"):
        goodwill(shop, "#W7001001", 0.01, "credit_card_4100021")
