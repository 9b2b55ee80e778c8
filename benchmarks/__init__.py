"""Benchmarks: every figure in the documentation comes from one of these, and each prints what it measured beside.

`python -m benchmarks` lists them. With `--json` the last line printed is one JSON object; `--quick` takes under a
minute; `--save` writes the full result, with date and machine, under `benchmarks/results/`.
"""
