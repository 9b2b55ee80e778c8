"""Without the extras of learning, tests of benchmarks that import them are not collected."""

import importlib.util

if importlib.util.find_spec("torch") is None:
    collect_ignore = ["test_inference.py"]
