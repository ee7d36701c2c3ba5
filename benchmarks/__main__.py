"""Run benchmarks, one process after the other.

python -m benchmarks                     the engine's table, in under 15 minutes; options such as --store go to it
python -m benchmarks NAME [NAME ...]     these scripts of this folder
python -m benchmarks --all               all of them
"""

import pkgutil
import subprocess
import sys

import benchmarks


def main(words: list[str]) -> int:
    """Run what was asked for; the exit status is 0 if all of it succeeds."""
    there = sorted(info.name for info in pkgutil.iter_modules(benchmarks.__path__) if not info.name.startswith("_"))
    scripts = [name for name in there if not name.endswith("_peer")]
    if words in (["-h"], ["--help"]):
        print(__doc__, "\nThere are: ", ", ".join(scripts), ".", sep="")
        return 0
    chosen = scripts if words == ["--all"] else [word for word in words if not word.startswith("-")]
    rest: list[str] = []
    if words and words[0].startswith("-") and words != ["--all"]:
        chosen, rest = [], words
    if unknown := sorted(set(chosen) - set(there)):
        raise SystemExit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(scripts)}.")
    failed = 0
    for name in chosen or ["engine"]:
        print(f"== {name}", flush=True)
        failed += subprocess.run([sys.executable, "-m", f"benchmarks.{name}", *rest], check=False).returncode != 0
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
