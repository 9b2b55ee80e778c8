"""`python -m benchmarks`: what there is to measure."""

import importlib
import pkgutil

import benchmarks

for module in pkgutil.iter_modules(benchmarks.__path__):
    if module.name not in ("__main__", "common"):
        doc = importlib.import_module(f"benchmarks.{module.name}").__doc__ or ""
        print(f"python -m benchmarks.{module.name:10} {doc.splitlines()[0]}")
