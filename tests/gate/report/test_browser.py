"""The page in a real browser."""

from pathlib import Path
from typing import Any

import pytest

from plimsoll.gate.report import write_reports
from tests.browsing import opened
from tests.gate.report.sample import SAMPLES

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(180)]


def test_the_page_in_a_browser(browser: Any, tmp_path: Path) -> None:
    for name, make in SAMPLES.items():
        path = write_reports(make(), tmp_path / name).html
        for width, scheme in ((1280, "light"), (720, "dark"), (380, "light"), (380, "dark")):
            page, troubles = opened(browser, path, viewport={"width": width, "height": 800}, color_scheme=scheme)
            page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
            assert page.evaluate("document.documentElement.scrollWidth") <= width, (name, width)
            assert [one for one in troubles if not one.startswith("data:")] == []
            assert page.title().startswith(make().decision.name)
            page.close()


def test_a_square_leads_to_its_stories(browser: Any, tmp_path: Path) -> None:
    path = write_reports(SAMPLES["block"](), tmp_path).html
    page, troubles = opened(browser, path, viewport={"width": 1280, "height": 800})
    page.locator("td a[data-label='approver silent at approvals']").hover()
    assert "9 of 12 passed" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    page.locator("td a[data-label='approver silent at approvals']").press("Enter")
    assert page.locator(".story:visible").count() == 1
    assert page.locator("#failure-4").evaluate("story => story.open")
    assert "1 of 5: approver silent at approvals" in page.locator("#filter").inner_text()
    page.locator("#filter button").click()
    assert page.locator(".story:visible").count() == 5
    assert [one for one in troubles if not one.startswith("data:")] == []


def test_a_link_to_a_story_opens_it(browser: Any, tmp_path: Path) -> None:
    path = write_reports(SAMPLES["block"](), tmp_path).html
    page, _ = opened(browser, path)
    page.goto(f"{path.as_uri()}#failure-5")
    assert page.locator("#failure-5").evaluate("story => story.open")
