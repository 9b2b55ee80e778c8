"""The gate's reports, made of a `Verdict` and of nothing else: a page, a terminal summary, JUnit and JSON."""

from plimsoll.gate.report.html import render_html
from plimsoll.gate.report.jsonfile import load_verdict, render_json
from plimsoll.gate.report.junit import render_junit
from plimsoll.gate.report.progress import GateProgress
from plimsoll.gate.report.terminal import print_summary
from plimsoll.gate.report.writing import ReportPaths, write_reports

__all__ = [
    "GateProgress",
    "ReportPaths",
    "load_verdict",
    "print_summary",
    "render_html",
    "render_json",
    "render_junit",
    "write_reports",
]
