"""The answers given last: no more of them than may be kept, and none that is too old."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from plimsoll.core.errors import Misuse
from plimsoll.policies.answer_cache import AnswerCache


def known(cache: AnswerCache, *requests: str) -> list[str]:
    return [request for request in requests if cache.get(request, now=0.0, max_age_s=1.0) is not None]


def test_an_answer_is_known_with_its_age_until_it_is_too_old() -> None:
    cache = AnswerCache()
    cache.put("a", b"1", at=100.0)
    assert cache.get("a", now=160.0, max_age_s=60.0) == (60.0, b"1")
    assert cache.get("a", now=160.1, max_age_s=60.0) is None
    assert cache.get("b", now=100.0, max_age_s=60.0) is None
    cache.put("a", b"2", at=160.0)
    assert cache.get("a", now=160.1, max_age_s=60.0) == (pytest.approx(0.1), b"2")


def test_the_one_that_was_given_or_asked_for_longest_ago_goes() -> None:
    cache = AnswerCache(max_entries=2)
    cache.put("a", b"1", at=0.0)
    cache.put("b", b"2", at=0.0)
    assert known(cache, "a") == ["a"]
    cache.put("c", b"3", at=0.0)
    assert known(cache, "a", "b", "c") == ["a", "c"]


def test_long_answers_take_no_more_than_their_share_of_the_memory() -> None:
    """A thousand answers were kept, however long: of a gateway's, that may be gigabytes."""
    cache = AnswerCache(max_bytes=10)
    cache.put("a", b"1234", at=0.0)
    cache.put("b", b"1234", at=0.0)
    cache.put("b", b"123456", at=0.0)
    assert known(cache, "a", "b") == ["a", "b"]
    cache.put("c", b"1", at=0.0)
    assert known(cache, "a", "b", "c") == ["b", "c"]
    cache.put("d", b"12345678901", at=0.0)  # longer than all that may be kept
    assert known(cache, "b", "c", "d") == ["b", "c"]


def test_the_smallest_cache_holds_one_answer_of_one_byte() -> None:
    cache = AnswerCache(max_entries=1, max_bytes=1)
    cache.put("a", b"1", at=0.0)
    cache.put("b", b"2", at=0.0)
    assert known(cache, "a", "b") == ["b"]
    cache.put("a", b"12", at=0.0)
    assert known(cache, "a", "b") == ["b"]


def test_what_is_given_anew_takes_no_more_room() -> None:
    cache = AnswerCache(max_bytes=10)
    for _ in range(5):
        cache.put("a", b"12345", at=0.0)
    cache.put("b", b"12345", at=0.0)
    assert known(cache, "a", "b") == ["a", "b"]


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.binary(max_size=8)), max_size=40))
def test_it_never_holds_more_than_it_may(puts: list[tuple[str, bytes]]) -> None:
    cache = AnswerCache(max_entries=3, max_bytes=12)
    for request, answer in puts:
        cache.put(request, answer, at=0.0)
        held = [found[1] for each in "abcdef" if (found := cache.get(each, now=0.0, max_age_s=1.0)) is not None]
        assert len(held) <= 3 and sum(map(len, held)) <= 12
        assert known(cache, request) == [request]  # the latest, which fits, is always among them


@pytest.mark.parametrize("size", [{"max_entries": 0}, {"max_bytes": 0}])
def test_one_that_remembers_nothing_is_refused(size: dict[str, int]) -> None:
    with pytest.raises(Misuse, match="remembers nothing"):
        AnswerCache(**size)
