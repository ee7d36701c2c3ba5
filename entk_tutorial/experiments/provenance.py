"""Where a result comes from: hashes of its config and code, the commit, versions, hardware.

The code hash covers the module of the experiment and every module of this package that it imports, however
indirectly. It is taken over the syntax tree without docstrings, so that comments, docstrings and layout can be
edited without making results stale. The runner, ledger, plots and command line are left out: they store and show
numbers, they do not make them.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import importlib.util
import inspect
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

__all__ = ["canonical_json", "code_hash", "commit", "config_hash", "provenance", "sha256"]

PACKAGE = "entk_tutorial"
ROOT = Path(__file__).resolve().parents[1]
_MACHINERY = (
    "experiments.base",
    "experiments.job",
    "experiments.sweep",
    "experiments.result",
    "experiments.storage",
    "experiments.provenance",
    "experiments.overrides",
)
_OUTSIDE = (
    *_MACHINERY,
    "plotting",
    "cli",
    "ledger",
    "verify",
    "renewal",
    "beside",
    "reproduce",
    "figures",
    "exercises",
    "results",
    "notebook",
    "distributed",
)
_LABELS = {
    "title",
    "seconds_per_seed",
    "tolerances",
    "cheap",
    "quick",
}  # keywords of Experiment(...) that cannot change a number


def sha256(text: str) -> str:
    """SHA-256 of a text, in hexadecimal.

    Example:
        >>> sha256("")[:8]
        'e3b0c442'
    """
    return hashlib.sha256(text.encode()).hexdigest()


def canonical_json(value: Any) -> str:
    """One spelling for equal values: sorted keys, no blanks, tuples as lists, NaN refused.

    Example:
        >>> canonical_json({"b": (1, 2), "a": 0.5})
        '{"a":0.5,"b":[1,2]}'
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def config_hash(name: str, config: dict[str, Any]) -> str:
    """Hash of an experiment's name and settings.

    Raises:
        ValueError: if a setting is not a number, string, bool, None or a list, tuple or dict of them.

    Example:
        >>> config_hash("modular_mlp", {"p": 29}) == config_hash("modular_mlp", {"p": 31})
        False
    """
    try:
        return sha256(canonical_json({"experiment": name, "config": config}))
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"the config of {name} cannot be stored as JSON ({error}): use numbers, strings, bools, None, tuples."
        ) from error


def code_hash(function: Callable[..., Any]) -> str:
    """Hash of the module that defines a function and of all modules of this package that it imports, directly or not.

    Raises:
        ValueError: if the source of the function's module cannot be found (it was typed into an interpreter, for
            instance).
    """
    module = function.__module__
    file = inspect.getsourcefile(inspect.unwrap(function))
    if file is None or not Path(file).is_file():
        raise ValueError(
            f"the source of {module} is not in a file, so its results cannot be dated: "
            "move the experiment into a module."
        )
    sources = {module: Path(file)}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        for needed in _imports(sources[name], name) - set(sources):
            path = _file(needed)
            if path is not None:
                sources[needed] = path
                waiting.append(needed)
    # The name of the first module may depend on how it was loaded; those of the package do not.
    parts = {("" if name == module else name): _dump(_stripped(_tree(path))) for name, path in sources.items()}
    return sha256(canonical_json(parts))


def _file(module: str) -> Path | None:
    """The file of a module of this package; None for a module elsewhere, or one that does not exist."""
    if module != PACKAGE and not module.startswith(PACKAGE + "."):
        return None
    base = ROOT.joinpath(*module.split(".")[1:])
    return next((p for p in (base / "__init__.py", base.with_suffix(".py")) if p.is_file()), None)


def _tree(path: Path) -> ast.Module:
    return _parse(path.read_text(encoding="utf-8"))


@lru_cache(maxsize=256)
def _parse(source: str) -> ast.Module:
    return ast.parse(source)


def _imports(path: Path, module: str) -> set[str]:
    """Modules of this package that one file needs; a name re-exported by a package counts as its defining module."""
    found: set[str] = set()
    for node in _live_nodes(_tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if _file(alias.name)}
        elif isinstance(node, ast.ImportFrom):
            origin = _absolute(node, module, path)
            if _file(origin):
                for alias in node.names:
                    found |= _defining(origin, alias.name, frozenset())
    return {name for name in found if not _is_outside(name)}


def _is_outside(module: str) -> bool:
    inner = module.removeprefix(PACKAGE).removeprefix(".")
    return inner == "experiments" or any(inner == name or inner.startswith(name + ".") for name in _OUTSIDE)


def _absolute(node: ast.ImportFrom, module: str, path: Path) -> str:
    if node.level == 0:
        return node.module or ""
    parts = module.split(".")
    keep = len(parts) - node.level + (1 if path.name == "__init__.py" else 0)
    return ".".join([*parts[:keep], *([node.module] if node.module else [])])


def _defining(module: str, name: str, seen: frozenset[str]) -> set[str]:
    """The module that ``from module import name`` gets its name from, following re-exports."""
    if _file(f"{module}.{name}"):
        return {f"{module}.{name}"}
    path = _file(module)
    if path is None or path.name != "__init__.py" or module in seen:
        return {module}
    for node in _live_nodes(_tree(path)):
        if isinstance(node, ast.ImportFrom) and any((alias.asname or alias.name) == name for alias in node.names):
            original = next(alias.name for alias in node.names if (alias.asname or alias.name) == name)
            return _defining(_absolute(node, module, path), original, seen | {module})
    return {module}  # defined in the __init__ itself, or by a star or lazy import: take the whole file


def _live_nodes(tree: ast.Module) -> list[ast.AST]:
    """All nodes, less what stands under ``if TYPE_CHECKING:``."""
    nodes: list[ast.AST] = []
    waiting: list[ast.AST] = [tree]
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            waiting.extend(node.orelse)
            continue
        nodes.append(node)
        waiting.extend(ast.iter_child_nodes(node))
    return nodes


def _stripped(tree: ast.Module) -> list[ast.stmt]:
    return [
        node for node in tree.body if not (isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__")
    ]


def _dump(node: Any) -> Any:
    """A syntax tree as plain lists, without positions, docstrings, labels, or fields that Python versions differ in."""
    if isinstance(node, list):
        return [_dump(item) for item in node if not _is_docstring(item)]
    if not isinstance(node, ast.AST):
        return node if node is None or isinstance(node, (bool, int, str)) else repr(node)
    fields: dict[str, Any] = {}
    for name, value in ast.iter_fields(node):
        if name == "keywords" and isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Experiment":
            value = [keyword for keyword in value if keyword.arg not in _LABELS]
        if name not in ("type_comment", "kind", "ctx") and value is not None and value != []:
            fields[name] = _dump(value)
    return [type(node).__name__, fields]


def _is_docstring(node: Any) -> bool:
    """Any bare string statement: a docstring, or the comment-like string after an attribute."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def commit() -> str | None:
    """The git commit of this checkout, with "+changes" if tracked files differ; None outside a checkout."""
    top = _git("rev-parse", "--show-toplevel")
    head = _git("rev-parse", "HEAD")
    if not top or not head or Path(top).resolve() != ROOT.parent:
        return None
    return head + ("+changes" if _git("status", "--porcelain", "--untracked-files=no") else "")


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=ROOT.parent, capture_output=True, text=True, timeout=20, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def provenance(device: str = "auto") -> dict[str, Any]:
    """What a stored result says about its making: commit, versions, hardware, threads, device, date.

    Args:
        device: "auto" is resolved as the experiments do: CUDA where there is any, else the CPU.
    """
    torch = sys.modules.get("torch")
    if device == "auto":
        device = "cuda" if torch is not None and torch.cuda.is_available() else "cpu"
    return {
        "commit": commit(),
        "versions": versions(),
        "hardware": f"{_processor()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}",
        "threads": torch.get_num_threads() if torch is not None else 1,
        "device": device,
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of what it computes with."""
    found = {"python": platform.python_version()}
    for name in ("entk-tutorial", "torch", "numpy", "scipy"):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
