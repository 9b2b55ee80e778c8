"""The page about the service: its snippet is answered by a real one, and its commands exist."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from plimsoll.cli import main
from plimsoll.services.inference.asking import ENDPOINTS
from tests.services.inference.serving import serving

pytestmark = [pytest.mark.heavy, pytest.mark.timeout(300)]  # libraries that take long to import

PAGE = (Path(__file__).parents[3] / "docs/patterns/microservices.md").read_text()


def test_its_snippet_says_what_is_so(exported: Path) -> None:
    (snippet,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    with serving(exported) as client:
        exec(compile(snippet, "microservices.md", "exec"), {"service": str(client.base_url)})


def test_it_names_every_endpoint_and_option_as_it_is() -> None:
    assert set(re.findall(r"`POST (/\S+)`", PAGE)) == set(ENDPOINTS)
    helped = CliRunner().invoke(main, ["inference", "--help"]).output
    for option in re.findall(r"`(--[a-z-]+)`", PAGE):
        assert option in helped, option
    commands = [line.split("#")[0] for line in re.findall(r"^plimsoll .*$", PAGE, re.MULTILINE)]
    for command in commands:
        words = shlex.split(command)[1:]
        group = words[:2] if words[0] == "learn" else words[:1]
        assert CliRunner().invoke(main, [*group, "--help"]).exit_code == 0
