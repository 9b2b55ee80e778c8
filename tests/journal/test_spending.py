"""The limits of a day in every store: what is drawn together is never more than the limit."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.journal import SQLiteStore
from plimsoll.journal.spending import DAYS_KEPT, Drawn, Most, Spend, passed, share
from tests.journal.conftest import OpenStore
from tests.journal.helpers import in_loop

MOST = Most(nanos=1000, tokens=400, runs=5)
spends = st.builds(Spend, *[st.integers(0, 50)] * 3)


def test_a_share_is_what_is_needed_and_a_part_of_what_is_left() -> None:
    assert share(Spend(20, 0, 1), before=Spend(500, 0, 0), most=MOST) == Spend(20 + 480 // 20, 0, 1)
    assert share(Spend(30, 0, 0), before=Spend(500, 0, 0), most=MOST) == Spend(30, 0, 0), "not enough for another"
    assert share(Spend(10, 10, 0), before=Spend(), most=Most(nanos=10)) == Spend(10, 10, 0), "no limit, no share"


def test_a_share_just_for_as_much_again_is_dealt_out() -> None:
    assert share(Spend(20, 0, 0), before=Spend(580, 0, 0), most=MOST) == Spend(40, 0, 0)
    assert share(Spend(21, 0, 0), before=Spend(560, 0, 0), most=MOST) == Spend(21, 0, 0)


def test_spends_add_up_part_by_part() -> None:
    one, other = Spend(10, 20, 30), Spend(1, 22, 3)
    assert one.plus(other) == Spend(11, 42, 33)
    assert one.minus(other) == Spend(9, -2, 27)
    assert one.above(other) == Spend(9, 0, 27)
    assert other.above(one) == Spend(0, 2, 0)
    assert (bool(Spend()), bool(Spend(0, 0, 1))) == (False, True)


def test_what_would_pass_a_limit_is_refused_and_named() -> None:
    assert share(Spend(500, 1, 0), before=Spend(501, 0, 0), most=MOST) is None
    assert share(Spend(500, 1, 0), before=Spend(500, 0, 0), most=MOST) == Spend(500, 1 + 399 // 20, 0)
    assert passed(Spend(500, 401, 0), before=Spend(501, 0, 9), most=MOST) == ("nanos", "tokens")
    assert share(Spend(500, 1, 0), before=Spend(501, 0, 0), most=MOST, may_pass=True) == Spend(500, 1, 0)


@given(need=spends, before=spends, limits=st.tuples(*[st.none() | st.integers(0, 99)] * 3))
def test_a_share_never_passes_a_limit_that_it_needs_something_of(need: Spend, before: Spend, limits: tuple) -> None:
    dealt = share(need, before=before, most=Most(*limits))
    if dealt is None:
        assert passed(need, before=before, most=Most(*limits))
        return
    for needed, given_, drawn, limit in zip(need, dealt, before, limits, strict=True):
        assert given_ >= needed
        assert given_ == 0 or limit is None or drawn + given_ <= limit


@in_loop
async def test_owners_draw_on_one_account_and_put_back_what_they_do_not_need(open_store: OpenStore) -> None:
    one, two = open_store("one"), open_store("two")
    assert await one.draw("shop", 7, owner="one", need=Spend(40, 0, 0), most=MOST) == Drawn(Spend(88), Spend())
    assert await one.draw("shop", 7, owner="one", need=Spend(532, 0, 0), most=MOST) == Drawn(Spend(532), Spend(88))
    refused = await two.draw("shop", 7, owner="two", need=Spend(381, 0, 1), most=MOST)
    assert refused == Drawn(None, Spend(620, 0, 0))
    assert await two.drawn("shop", 7) == Spend(620, 0, 0)
    await one.put_back("shop", 7, owner="one", unused=Spend(20, 0, 0))
    assert (await two.draw("shop", 7, owner="two", need=Spend(381, 0, 1), most=MOST)).share == Spend(381, 0, 1)
    assert await one.drawn("shop", 7) == Spend(981, 0, 1)
    await two.put_back("shop", 7, owner="two", unused=Spend(-30, 0, 0))
    assert await one.drawn("shop", 7) == Spend(1011, 0, 1), "it was spent, whatever the limit says"
    await one.close()
    await two.close()


@in_loop
async def test_accounts_and_days_are_apart(open_store: OpenStore) -> None:
    store = open_store("one")
    await store.draw("shop", 7, owner="one", need=Spend(1000), most=MOST)
    assert (await store.draw("bank", 7, owner="one", need=Spend(1000), most=MOST)).share == Spend(1000)
    assert (await store.draw("shop", 8, owner="one", need=Spend(1000), most=MOST)).share == Spend(1000)
    assert (await store.draw("shop", 7, owner="one", need=Spend(1), most=MOST)).share is None
    assert (await store.draw("shop", 7, owner="one", need=Spend(1), most=MOST, may_pass=True)).share == Spend(1)
    await store.close()


@in_loop
async def test_days_that_are_long_over_are_forgotten_by_and_by(open_store: OpenStore) -> None:
    store = open_store("one")
    for account, day in (("shop", 1), ("bank", 1), ("shop", 2), ("shop", 2 + DAYS_KEPT)):
        await store.draw(account, day, owner="one", need=Spend(1), most=MOST)
    assert await store.drawn("shop", 1) == Spend()
    assert await store.drawn("shop", 2) != Spend()
    assert await store.drawn("bank", 1) != Spend()
    await store.close()


@pytest.mark.parametrize("together", [4, 20])
@in_loop
async def test_who_draws_at_once_gets_no_more_together_than_the_limit(open_store: OpenStore, together: int) -> None:
    stores = {name: open_store(name) for name in ("one", "two", "three")}
    drawn = await asyncio.gather(
        *(
            store.draw("shop", 7, owner=name, need=Spend(90), most=MOST)
            for name, store in stores.items()
            for _ in range(together)
        )
    )
    dealt = sum(each.share.nanos for each in drawn if each.share is not None)
    assert 1000 - 90 < dealt <= 1000
    assert await stores["one"].drawn("shop", 7) == Spend(dealt)
    for store in stores.values():
        await store.close()


@in_loop
async def test_who_only_looks_sees_what_was_drawn_and_what_was_drawn_outlives_its_process(tmp_path) -> None:
    store = SQLiteStore.open(tmp_path / "journal.db", owner="one")
    await store.draw("shop", 7, owner="one", need=Spend(1000), most=MOST)
    await store.close()
    looking = SQLiteStore.look(tmp_path / "journal.db")
    assert await looking.drawn("shop", 7) == Spend(1000)
    await looking.close()
