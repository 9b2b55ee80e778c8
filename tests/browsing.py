"""Pages in a real browser, for the tests of every page that we make."""

from pathlib import Path
from typing import Any


def opened(browser: Any, path: Path, **options: Any) -> tuple[Any, list[str]]:
    """A page on a file, and everything that it complained of or fetched."""
    page = browser.new_page(**options)
    troubles: list[str] = []
    page.on("console", lambda message: troubles.append(f"console: {message.text}"))
    page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
    page.on("dialog", lambda dialog: troubles.append("dialog"))
    page.on("request", lambda request: troubles.append(request.url) if request.url != path.as_uri() else None)
    page.goto(path.as_uri())
    return page, troubles
