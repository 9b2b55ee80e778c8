"""`python -m benchmarks`: what there is to measure. `python -m benchmarks retail --data DIR` runs one."""

import importlib
import pkgutil
import runpy
import sys

import benchmarks

if len(sys.argv) > 1:
    name = sys.argv.pop(1)
    sys.argv[0] = f"benchmarks.{name}"
    runpy.run_module(f"benchmarks.{name}", run_name="__main__")
else:
    for module in pkgutil.iter_modules(benchmarks.__path__):
        if module.name not in ("__main__", "common", "environments"):
            doc = importlib.import_module(f"benchmarks.{module.name}").__doc__ or ""
            print(f"python -m benchmarks.{module.name:10} {doc.splitlines()[0]}")
