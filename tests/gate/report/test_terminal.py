"""The summary and the progress in a terminal, in a log, and without colour."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from plimsoll.gate.report import GateProgress, print_summary
from plimsoll.gate.verdict import Decision, Verdict
from tests.gate.report.sample import SAMPLES, block, huge, inconclusive, lenient, make_verdict, ship

BLOCK_BEGINS = """\
┏━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━━┓
┃ ✗ BLOCK  A promise broke. This agent may not ship.                           ┃
┃ support-assistant · seed 7 · 14 March 2026, 09:26 UTC                        ┃
┃ simulated: harness tried, model not tried                                    ┃
┃ 1,098 trials in 38.4 s, 31 failing; 17 not counted, their fault never struck ┃
"""

BLOCK_FAILURE = """\
Failures
  1. The refund of €42.50 for order 1007 was paid twice
     refund after delivery: response lost at issue_refund@3/c1
     plimsoll reproduce out/failures/001-refund-after-delivery-response-lost-issue-refund.json
  2. The run ended 41 s after its deadline of 60 s
"""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE", "COLUMNS", "LINES"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def printed(verdict: Verdict, *, file: io.StringIO | None = None, width: int = 80) -> str:
    stream = file or io.StringIO()
    console = Console(file=stream, width=width)
    print_summary(verdict, console, report_path=Path("out/report.html"), failures_dir=Path("out/failures"))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def test_a_blocked_agent_at_80_columns() -> None:
    text = printed(block())
    assert text.startswith(BLOCK_BEGINS)
    assert BLOCK_FAILURE in text
    assert "   ✗ exactly once 503 of 508 effects happen exactly once" in text
    assert "   ✓ fallbacks      96 of 96 when a model fails" in text
    assert "  1. Effects do not happen exactly once: 5 of 508 trials" in text
    assert "   ✗ storms       283 of 300 survived; at least 91.23 % do, with 95 %" in text
    assert "█\u00a0reached\u00a0402" in text and "×\u00a0lost\u00a09" in text
    assert text.endswith("Report: out/report.html\n")


def test_an_agent_that_ships() -> None:
    text = printed(ship())
    assert "✓ SHIP  Every promise held under every fault tried. This agent may ship." in text
    assert "harness proven, model not tried" in text
    assert "Failures" not in text and "✗" not in text


def test_an_agent_that_ships_on_what_its_contract_accepts() -> None:
    text = printed(lenient())
    assert "✓ SHIP  Every promise held but those it goes without. This agent may ship." in text
    assert "┃ accepting parked writes, fewer claims, canned answers " in text
    assert "Accepted by the contract, and not shown\n   – parked writes  a write of which nobody knows" in text
    assert "ccept" not in printed(ship())


def test_an_undecided_verdict() -> None:
    text = printed(inconclusive())
    assert "? INCONCLUSIVE  Too little is known to say. This is not a pass." in text
    assert "not hardened, protections off" in text
    assert text.count("– ") == 8 and "too few to show it" in " ".join(text.split())
    assert "How far trials came" not in text


def test_an_empty_verdict() -> None:
    text = printed(make_verdict(Decision.INCONCLUSIVE, reasons=(), claims=(), cells=(), storms=None, reach={}))
    assert "Why" not in text and "Report: out/report.html" in text


def test_a_huge_verdict_is_cut() -> None:
    text = printed(huge())
    assert "and 25 more in the report" in text
    assert "and 495 more in out/failures" in text
    assert text.count("plimsoll reproduce") == 5
    assert len(text.splitlines()) < 80


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("width", [60, 80, 120])
def test_only_what_is_to_be_copied_runs_beyond_the_width(name: str, width: int) -> None:
    for line in printed(SAMPLES[name](), width=width).splitlines():
        assert len(line) <= width or line.lstrip().startswith(("plimsoll reproduce", "Report: ")), line


def test_no_colour_in_a_file() -> None:
    assert "\x1b" not in printed(block())


def test_colour_in_a_terminal_and_none_with_no_color(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "\x1b[1;31m✗ BLOCK" in printed(block(), file=Terminal())
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(block(), file=Terminal())
    assert "\x1b[1m✗ BLOCK" in text and "31m" not in text


def test_what_tools_say_moves_no_cursor_and_is_no_markup() -> None:
    text = printed(make_verdict(Decision.BLOCK, subject="[red]x[/]\x1b[2J", reasons=("[bold]\x1b]0;owned\x07",)))
    assert "\x1b" not in text
    assert "[red]x[/]\\x1b[2J" in text and "[bold]\\x1b]0;owned\\x07" in text


def test_an_ascii_terminal_gets_ascii() -> None:
    raw = io.BytesIO()
    stream = io.TextIOWrapper(raw, encoding="ascii")
    print_summary(block(), Console(file=stream, width=80), report_path=Path("r"), failures_dir=Path("f"))
    stream.flush()
    text = raw.getvalue().decode("ascii")
    assert "NO BLOCK" in text and "The refund of ?42.50" in text and "# reached 402" in text


def test_paths_that_need_quotes_are_quoted() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80)
    print_summary(block(), console, report_path=Path("my report.html"), failures_dir=Path("my failures"))
    assert "plimsoll reproduce 'my failures/001-" in stream.getvalue()


def test_progress_in_a_log_is_a_line_for_each_tenth() -> None:
    stream = io.StringIO()
    with GateProgress(Console(file=stream, width=80)) as progress:
        for done in range(1, 2001):
            progress(done, 2000, f"[bold]trial {done}\x1b[2J")
    lines = stream.getvalue().splitlines()
    assert lines[0] == "gate   0 %  1 of 2,000  [bold]trial 1\\x1b[2J"
    assert lines[1] == "gate  10 %  200 of 2,000  [bold]trial 200\\x1b[2J"
    assert lines[-1] == "gate 100 %  2,000 of 2,000  [bold]trial 2000\\x1b[2J"
    assert len(lines) == 11


def test_progress_begins_again_with_a_new_phase() -> None:
    stream = io.StringIO()
    with GateProgress(Console(file=stream, width=80), title="gate") as progress:
        progress(0, 0, "nothing is known yet")
        for phase in ("healthy", "faults"):
            for done in range(5):
                progress(done + 1, 5, phase)
    lines = stream.getvalue().splitlines()
    assert [line for line in lines if "20 %" in line] == ["gate  20 %  1 of 5  healthy", "gate  20 %  1 of 5  faults"]
    assert len(lines) == 10


def test_progress_in_a_terminal_draws_one_bar_and_few_times() -> None:
    stream = Terminal()
    with GateProgress(Console(file=stream, width=80)) as progress:
        for done in range(100_001):
            progress(done, 100_000, f"[bold]trial {done}")
    text = stream.getvalue()
    assert "100000/100000" in text and "[bold]trial 100000" in text
    assert text.count("/100000") < 500


def test_progress_stops_when_the_gate_raises() -> None:
    stream = Terminal()
    console = Console(file=stream, width=80)
    with pytest.raises(ZeroDivisionError), GateProgress(console) as progress:
        progress(1, 2, "x")
        raise ZeroDivisionError
    with GateProgress(console):  # a second live display would be refused if the first still ran
        pass
