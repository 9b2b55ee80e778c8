"""Every Python snippet of the documentation runs, and every relative link leads somewhere."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.md")])
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?://|#)([^)#\s]+)")
ILLUSTRATIONS = {
    "README.md": "the reader's own agent",
    "docs/adapters/langgraph.md": "run by tests/adapters/test_adapter_docs.py",
    "docs/adapters/openai-agents.md": "run by tests/adapters/test_adapter_docs.py",
    "docs/adapters/plain.md": "run by tests/adapters/test_adapter_docs.py",
    "docs/adapters/pydantic-ai.md": "run by tests/adapters/test_adapter_docs.py",
    "docs/patterns/microservices.md": "run by tests/services/inference/test_inference_docs.py",
    "docs/patterns/explanations.md": "run by tests/learning/test_learning_docs.py",
    "docs/patterns/transfer-learning.md": "run by tests/learning/test_learning_docs.py",
    "docs/patterns/transformer-architectures.md": "run by tests/learning/test_learning_docs.py",
    "docs/registry.md": "run by tests/cli/test_learn_registry.py",
    "docs/gateway.md": "run by tests/services/gateway/test_gateway_docs.py",
    "examples/assistant/README.md": "run by tests/examples/assistant/test_agents.py",
}
"""Pages whose snippets need something around them: here they are compiled, not run."""


def snippets() -> list[tuple[str, int, str]]:
    return [
        (page.relative_to(ROOT).as_posix(), number, code)
        for page in PAGES
        for number, code in enumerate(SNIPPET.findall(page.read_text()), 1)
    ]


@pytest.mark.parametrize(("page", "number", "code"), snippets(), ids=lambda value: str(value)[:40].replace("\n", " "))
def test_a_snippet_runs(page: str, number: int, code: str, tmp_path: Path) -> None:
    compile(code, f"{page}#{number}", "exec")
    if page in ILLUSTRATIONS:
        return
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [link for link in LINK.findall(FENCED.sub("", page.read_text())) if not (page.parent / link).exists()]
    assert broken == []


PARTS = ("**Problem.**", "**Use", "**Do not use", "Settings", ("What goes wrong", "**Anti-patterns.**"))
DESCRIBED = sorted([*ROOT.glob("docs/policies/[a-z]*.md"), *ROOT.glob("docs/findings/[a-z]*.md")])


@pytest.mark.parametrize("page", DESCRIBED, ids=lambda page: page.name)
def test_a_page_of_a_protection_or_a_detector_has_all_its_parts(page: Path) -> None:
    """Problem, use, do not use, settings, anti-patterns, and a cost that was measured; and a snippet that runs."""
    text = page.read_text()
    missing = [part for part in PARTS if not any(each in text for each in ((part,) if isinstance(part, str) else part))]
    assert missing == []
    cost = text.partition("## Cost\n")[2].partition("\n## ")[0]
    assert "Measured on" in " ".join(cost.split())
    assert SNIPPET.search(text) is not None
