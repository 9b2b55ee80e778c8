"""The page: whole, self-contained, and safe against what agents and tools say."""

import re
from collections import Counter
from html.parser import HTMLParser

import pytest

from plimsoll.gate.report import render_html
from plimsoll.gate.report.html import STORIES_SHOWN
from plimsoll.gate.verdict import CLAIMS, Cell, Concession, Decision, Reach, StormFigures, Trial
from tests.gate.report.sample import ATTACK, KINDS, SAMPLES, block, huge, inconclusive, lenient, make_verdict, ship

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Collects what a browser would see; fails on tags that do not close."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str, str]] = []
        self.texts: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert not self.open, self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop() == tag, (tag, self.open)

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def values(self, name: str) -> list[str]:
        return [value for _, other, value in self.attributes if other == name]


@pytest.mark.parametrize("name", SAMPLES)
def test_every_sample_is_well_formed_and_fetches_nothing(name: str) -> None:
    text = render_html(SAMPLES[name]())
    page = Page(text)
    for tag, attribute, value in page.attributes:
        if attribute in ("src", "href"):
            assert value.startswith("#") or (tag, value) == ("link", "data:,"), (tag, attribute, value)
    assert not re.search(r"url\((?!#)|@import|https?://", text.split("<main", 1)[0])
    ids = page.values("id")
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in page.values("href") if value.startswith("#")} <= set(ids)


@pytest.mark.parametrize("name", SAMPLES)
def test_the_same_verdict_gives_the_same_page(name: str) -> None:
    assert render_html(SAMPLES[name]()) == render_html(SAMPLES[name]())


@pytest.mark.parametrize(
    ("decision", "mode"),
    [
        (Decision.SHIP, "simulated: harness proven, model not tried"),
        (Decision.BLOCK, "simulated: harness tried, model not tried"),
        (Decision.INCONCLUSIVE, "simulated: harness tried, model not tried"),
    ],
)
def test_the_head_says_what_was_decided_and_about_what(decision: Decision, mode: str) -> None:
    verdict = make_verdict(decision)
    head = Page(render_html(verdict)).text.split("Skip to the reasons")[1]
    assert re.search(rf"\b{decision.name}\b", head[:200])
    for fact in (mode, verdict.subject, verdict.fingerprint, "seed 7", "14 March 2026, 09:26 UTC", "1,098"):
        assert fact in head


def test_an_agent_without_protections_is_said_to_have_none() -> None:
    assert "not hardened: every protection was off" in Page(render_html(inconclusive())).text
    assert "not hardened" not in Page(render_html(ship())).text


def test_what_the_contract_accepts_is_told_at_the_top_and_explained() -> None:
    text = Page(render_html(lenient())).text
    assert "Every promise held but those it goes without. This agent may ship." in text
    assert "accepting parked writes, fewer claims, canned answers" in text.split("What it goes without")[0]
    assert "a write of which nobody knows whether it happened may wait for a person" in text
    strict = Page(render_html(ship())).text
    assert "accepting" not in strict and "What it goes without" not in strict


def test_reasons_come_in_their_order_and_many_are_folded() -> None:
    text = render_html(huge())
    places = [text.index(f"Reason {number}: ") for number in range(30)]
    assert places == sorted(places)
    assert "20 more" in text


def test_each_claim_has_a_card_with_its_figures() -> None:
    text = Page(render_html(block())).text
    for claim in block().claims:
        state = "holds" if claim.held else "broken"
        assert re.search(
            rf"{claim.name.replace('_', ' ')} {state} {re.escape(CLAIMS[claim.name])} {claim.passed} of", text
        )
    assert render_html(inconclusive()).count("<b>–</b>") == 7


@pytest.mark.parametrize("name", ["ship", "block", "huge"])
def test_every_cell_is_on_the_map(name: str) -> None:
    verdict = SAMPLES[name]()
    page = Page(render_html(verdict))
    tips = {value.split("\n")[0]: value.split("\n")[1] for value in page.values("data-tip")}
    assert len(tips) == len(verdict.cells)
    for cell in verdict.cells:
        figures = tips[f"{cell.kind.replace('_', ' ')} at {cell.group}"]
        assert figures == f"{cell.passed} of {cell.tried} passed, {cell.reached} reached the goal"


def test_squares_that_do_not_apply_are_empty() -> None:
    text = render_html(ship())
    groups = {group for groups in KINDS.values() for group in groups}
    assert text.count('<td class="empty">') == len(KINDS) * len(groups) - len(ship().cells)


def test_colour_is_never_alone_a_failing_square_is_also_marked() -> None:
    text = render_html(block())
    assert 's-few" data-tip="response lost at issue_refund' in text
    assert re.search(r'href="#failure-1" data-stories="1" data-label="response lost at issue_refund"', text)
    assert "fails in a way that another story tells" in text  # response_lost at send_email has no story of its own


def test_a_failing_cell_of_any_site_name_leads_to_its_story() -> None:
    """A kind with one square takes that kind's stories, whatever their site is called."""
    trial = block().failures[1]
    verdict = make_verdict(
        Decision.BLOCK,
        cells=(Cell(kind="hang", group="somewhere else", tried=2, passed=1, reached=1),),
        failures=(trial,),
    )
    assert 'data-label="hang at somewhere else"' in render_html(verdict)


def test_a_combination_belongs_to_no_square() -> None:
    verdict = make_verdict(Decision.BLOCK, failures=(block().failures[4],), failing_trials=1)
    text = render_html(verdict)
    assert 'id="failure-1"' in text
    assert 'data-label="crash at journal"' not in text


@pytest.mark.parametrize("name", ["block", "huge"])
def test_what_tools_say_never_becomes_markup(name: str) -> None:
    text = render_html(SAMPLES[name]())
    page = Page(text)
    assert page.tags["script"] == 1
    assert page.tags["img"] == 0
    assert not [attribute for _, attribute, _ in page.attributes if attribute.startswith("on")]
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", text)


def test_every_text_of_a_verdict_is_escaped() -> None:
    story = block().failures[2]
    verdict = make_verdict(
        Decision.BLOCK,
        subject=ATTACK,
        fingerprint=ATTACK,
        contract_digest=ATTACK,
        campaign_digest=ATTACK,
        made_at=ATTACK,
        plimsoll_version=ATTACK,
        mode=ATTACK,
        reasons=(ATTACK,),
        scenarios=(ATTACK, "\ud800"),
        accepts=(Concession(name=ATTACK, about=ATTACK),),
        cells=(Cell(kind=ATTACK, group='"><script>', tried=1, passed=0, reached=0),),
        reach={ATTACK: 4},
        failures=(story,),
        healthy=(
            Trial(scenario=ATTACK, injections=(), seed=1, fired=True, ending=None, reach=Reach.LOST, stuck=ATTACK),
        ),
    )
    page = Page(render_html(verdict))
    assert page.tags["script"] == 1 and page.tags["img"] == 0
    render_html(verdict).encode()  # lone surrogates are written out
    assert "\\u202e" in page.text and "\\x1b[2J" in page.text


def test_the_page_forbids_every_script_but_its_own() -> None:
    text = render_html(ship())
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy and "default-src 'none'" in policy[1]
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='", policy[1])


def test_a_story_tells_what_broke_and_how_to_reproduce_it() -> None:
    text = Page(render_html(block())).text
    story = text[text.index("The refund of €42.50 for order 1007 was paid twice") :]
    for part in (
        "response lost at issue_refund@3/c1 in refund after delivery",
        "exactly once the refund of €42.50 for order 1007 was paid twice effect-doubled",
        "monitoring no finding named issue_refund",
        "3.4 s run calls issue_refund(order_id=1007, amount=42.50) 5 s",
        "14.6 s gate the ledger holds this refund twice",
        "Your refund of €42.50 is on its way.",
        "plimsoll reproduce failures/001-refund-after-delivery-response-lost-issue-refund.json",
        "Seed 1041",
    ):
        assert part in story
        story = story[story.index(part) :]


def test_many_stories_are_cut_and_the_rest_counted() -> None:
    text = render_html(huge())
    assert text.count('<details class="story"') == STORIES_SHOWN
    assert "<b>450 more</b> are not shown here" in text
    assert 'id="failure-50"' in text and 'id="failure-51"' not in text
    assert "steps are left out here" in text
    assert len(text) < 2_000_000


def test_no_failures_is_said_in_words() -> None:
    assert "No trial failed." in Page(render_html(ship())).text
    kept_none = make_verdict(Decision.BLOCK, failing_trials=3)
    assert "3 trials failed; their stories were not kept." in Page(render_html(kept_none)).text


def test_an_empty_verdict_still_gives_a_page() -> None:
    verdict = make_verdict(
        Decision.INCONCLUSIVE,
        reasons=(),
        healthy=(),
        claims=(),
        cells=(),
        storms=None,
        reach={},
        trials=0,
        scenarios=(),
    )
    text = Page(render_html(verdict)).text
    for part in ("The gate gave no reasons.", "No single fault was tried.", "No healthy run was made."):
        assert part in text
    assert "Storms" not in text.split("How to read")[0]


@pytest.mark.parametrize(
    ("passed", "bound", "said"),
    [(300, 0.9901, "That is met."), (300, 0.96, "too few were tried"), (200, 0.6, "That is not met.")],
)
def test_storms_are_held_against_their_bound(passed: int, bound: float, said: str) -> None:
    storms = StormFigures(tried=300, passed=passed, lower_bound=bound, target=0.97, confidence=0.95)
    assert said in Page(render_html(make_verdict(storms=storms))).text


def test_healthy_runs_are_listed_with_what_is_wrong() -> None:
    text = Page(render_html(inconclusive())).text
    assert "refund after delivery complete reached 4.2 s 7 healthy" in text
    assert "where is my order never lost 5.2 s 8 opened a socket to api.example.com:443" in text
    assert "Without a healthy run: change_address, angry_customer." in text
