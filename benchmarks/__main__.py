"""Run benchmarks, one process after the other: ``python -m benchmarks [NAME ...]``, all of them by default."""

import pkgutil
import subprocess
import sys

import benchmarks


def main(chosen: list[str]) -> int:
    """Run each script of this folder; the exit status is 0 if all of them succeed."""
    there = sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__) if not info.name.startswith("_"))
    if unknown := sorted(set(chosen) - set(there)):
        raise SystemExit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(there)}.")
    failed = 0
    for name in chosen or there:
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}"], check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
