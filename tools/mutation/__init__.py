"""Breaks the code in small ways, one at a time, and sees which of them no test notices. See docs/testing.md."""
