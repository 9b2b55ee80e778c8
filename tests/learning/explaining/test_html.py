"""The pages: whole, self-contained, and safe against what people write."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from plimsoll.learning.calibration import Bin
from plimsoll.learning.explaining.deletion import Deleted, DeletionTest, Mean
from plimsoll.learning.explaining.html import explanations_html, report_html
from plimsoll.learning.explaining.plots import deletion_svg, reliability_svg
from plimsoll.learning.explaining.reading import Read, read, strength
from plimsoll.learning.explaining.report import Confusion, ModelReport
from plimsoll.learning.explaining.slices import Share, Slice
from plimsoll.learning.leave_one_out import Explanation, Word
from plimsoll.learning.manifest import Scores
from tests.browsing import opened

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]

ATTACK = (
    "</style></svg><script>alert(1)</script><img src=x onerror=alert(2)> \"' {{ 7*7 }} \u202egnp.exe\x1b[2J & \x00 &lt;"
)


def explanation(text: str, *, cut: bool = False, **chosen: Any) -> Explanation:
    """Each word of the text, speaking for and against by turns, the later the more."""
    words = tuple(
        Word(
            text=found.group(),
            start=found.start(),
            end=found.end(),
            attribution=0.5 * number * (1 if number % 2 else -1),
        )
        for number, found in enumerate(re.finditer(r"\S+", text))
    )
    told = {"label": "refund", "probability": 0.9, "out_of_scope": False, "energy": 1.0, "words": words, "cut": cut}
    return Explanation(**(told | chosen))


def mean(value: float) -> Mean:
    return Mean(value=value, low=value - 0.1, high=value + 0.1)


def sample(word: str = "refund") -> ModelReport:
    share = Share(count=9, of=10, value=0.9, low=0.7, high=0.95)
    deleted = (Deleted(words=1, texts=10, top=mean(0.6), random=mean(0.2)),)
    return ModelReport(
        kind="export",
        method=word,
        labels=3,
        rows_from=word,
        scores=Scores(rows=10, accuracy=0.9, calibration_error=0.1, rejected=0.1, oos_rows=2, oos_recall=0.5),
        reliability=(Bin(rows=4, confidence=0.5, right=2), Bin(rows=6, confidence=0.99, right=6)),
        confusions=(Confusion(label=word, answered=word, rows=1, examples=(word, word)),),
        slices=(
            Slice(
                by=word,
                value=word,
                rows=10,
                accuracy=share,
                rejected=share,
                calibration_error=0.1,
                marked=("accuracy",),
            ),
        ),
        deletion=DeletionTest(method=word, texts=10, draws=10, curve=deleted, difference=mean(0.4)),
    )


def figures(report: ModelReport) -> dict[str, str]:
    assert report.deletion is not None
    return {"reliability": reliability_svg(report.reliability), "deletion": deletion_svg(report.deletion.curve)}


def explained_page(text: str = "please refund me") -> str:
    return explanations_html([read(text, explanation(text, label=text))], model=text)


def report_page(word: str = "refund") -> str:
    return report_html(sample(word), model=word, figures=figures(sample(word)))


class Page(HTMLParser):
    """What a browser would see."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.mark.parametrize("make", [explained_page, report_page])
def test_a_page_fetches_nothing_and_runs_nothing(make: Any) -> None:
    page = Page(make())
    assert "script" not in page.tags
    for tag, name, value in page.attributes:
        assert not name.startswith("on")
        if name in {"src", "href", "xlink:href"}:
            assert value.startswith("#") or value == "data:,", (tag, name, value)
    assert not re.search(r"url\((?!#)|@import", make())
    assert ("meta", "http-equiv", "Content-Security-Policy") in page.attributes


@pytest.mark.parametrize("make", [explained_page, report_page])
def test_what_people_write_is_text_and_nothing_else(make: Any) -> None:
    attacked, calm = make(ATTACK), make("refund")
    page = Page(attacked)
    assert page.tags == Page(calm).tags
    assert "alert(1)" in "".join(page.texts) and "{{ 7*7 }}" in "".join(page.texts)
    for hidden in ("\u202e", "\x1b", "\x00"):
        assert hidden not in attacked
    assert "\\u202e" in attacked and "\\x1b" in attacked


def test_the_same_report_gives_the_same_page() -> None:
    assert report_page() == report_page()


def test_a_page_tells_what_was_not_read_and_how_far_the_sum_is_off() -> None:
    text = "please refund me now and for ever"
    found = explanation("please refund me", cut=True, out_of_scope=True, method="integrated-gradients", delta=0.0123)
    page = "".join(Page(explanations_html([read(text, found)], model="m")).texts)
    assert "The model reads no further: now and for ever" in page
    assert "out of scope: rather no label fits" in page
    assert "the sum is off by 0.012" in page


def test_a_report_says_where_explanations_are_not_shown_to_hold() -> None:
    import msgspec

    report = sample()
    assert "The explanations hold" in report_page()
    unsure = msgspec.structs.replace(report, deletion=msgspec.structs.replace(report.deletion, difference=mean(0.05)))
    assert "are not shown to hold" in report_html(unsure, model="m", figures=figures(report))
    untested = msgspec.structs.replace(report, deletion=None, confusions=())
    page = report_html(untested, model="m", figures={"reliability": ""})
    assert "The deletion test was not made" in page and "No row was answered with another label" in page


def shades(found: Read) -> list[int]:
    return [strength(word, found.strongest) for word in found.explanation.words]


def test_a_text_is_read_in_pieces() -> None:
    text = "  please refund me!  "
    found = read(text, explanation(text))
    assert "".join(piece.text for piece in found.pieces) == text and found.unread == ""
    assert [piece.text for piece in found.pieces if piece.word] == ["please", "refund", "me!"]
    assert shades(found) == [0, 2, -4]
    assert [word.text for word in found.ranked] == ["me!", "refund", "please"]
    cut = read(text + "more", explanation(text, cut=True))
    assert cut.unread == "more" and "".join(piece.text for piece in cut.pieces) == text.rstrip()


def test_words_that_do_nothing_have_no_colour() -> None:
    words = (Word(text="a", start=0, end=1, attribution=0.0),)
    assert shades(read("a", explanation("a", words=words))) == [0]
    nothing = read("", explanation("", words=()))
    assert nothing.strongest == 0 and nothing.pieces == ()


@pytest.mark.parametrize("make", [explained_page, report_page])
def test_a_page_in_a_browser(browser: Any, tmp_path: Path, make: Any) -> None:
    for name, word in (("calm", "please refund me"), ("attacked", ATTACK * 5), ("long", "w" * 500)):
        path = tmp_path / f"{name}.html"
        path.write_text(make(word), "utf-8")
        for width, scheme in ((1280, "light"), (380, "dark")):
            page, troubles = opened(browser, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            assert [one for one in troubles if not one.startswith("data:")] == []
            assert page.locator("script").count() == 0
            page.close()
