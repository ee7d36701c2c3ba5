"""The experiments of the book: one module each, found by name, imported only when asked for.

A chapter says ``from entk_tutorial.experiments import modular_mlp``; the command line says ``entk run modular-mlp``;
both call the same ``run``. To add an experiment, write its module and add one line to ``_MODULES``.
"""

from __future__ import annotations

import ast
import difflib
import importlib
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from entk_tutorial.experiments.base import Experiment

__all__ = ["Summary", "canonical", "get", "names", "summaries"]

_MODULES: dict[str, str] = {
    "tangent_kernel": "entk_tutorial.experiments.tangent_kernel",
    "finite_width": "entk_tutorial.experiments.finite_width",
    "token_kernel_error": "entk_tutorial.experiments.token_kernel_error",
    "word_order": "entk_tutorial.experiments.word_order",
    "label_scores": "entk_tutorial.experiments.label_scores",
    "activation_bias": "entk_tutorial.experiments.activation_bias",
    "negation": "entk_tutorial.experiments.negation",
    "negation_reviews": "entk_tutorial.experiments.negation_reviews",
    "small_weights": "entk_tutorial.experiments.small_weights",
    "decision": "entk_tutorial.experiments.decision",
    "language_model": "entk_tutorial.experiments.language_model",
    "language_bias": "entk_tutorial.experiments.language_bias",
    "modular_mlp": "entk_tutorial.experiments.modular_mlp",
    "superposition": "entk_tutorial.experiments.superposition",
    "modular_transformer": "entk_tutorial.experiments.modular_transformer",
    "modular_transformer_published": "entk_tutorial.experiments.modular_transformer_published",
    "layers": "entk_tutorial.experiments.layers",
    "ablation": "entk_tutorial.experiments.ablation",
    "grokking": "entk_tutorial.experiments.grokking",
    "modular_controls": "entk_tutorial.experiments.modular_controls",
    "analytic_weights": "entk_tutorial.experiments.analytic_weights",
    "blind_discovery": "entk_tutorial.experiments.blind_discovery",
    "lazy_to_rich": "entk_tutorial.experiments.lazy_to_rich",
    "text_eigenspaces": "entk_tutorial.experiments.text_eigenspaces",
    "sentence_encoder": "entk_tutorial.experiments.sentence_encoder",
    "scaling_training": "entk_tutorial.experiments.scaling_training",
    "scaling_training_narrow": "entk_tutorial.experiments.scaling_training_narrow",
    "scaling_training_wide": "entk_tutorial.experiments.scaling_training_wide",
    "scaling_kernel": "entk_tutorial.experiments.scaling_kernel",
    "scaling_kernel_wide": "entk_tutorial.experiments.scaling_kernel_wide",
    "scaling_epsilon": "entk_tutorial.experiments.scaling_epsilon",
    "scaling_up": "entk_tutorial.experiments.scaling_up",
    "scaling_transformer": "entk_tutorial.experiments.scaling_transformer",
}


class Summary(NamedTuple):
    """What ``entk list`` prints of one experiment; seconds are for two CPU cores."""

    name: str
    title: str
    seconds_per_seed: float
    cheap: bool


def names() -> list[str]:
    """Names of the registered experiments, in the order of the book.

    Example:
        >>> "modular_mlp" in names()
        True
    """
    return list(_MODULES)


def canonical(name: str) -> str:
    """The registered name behind ``modular-mlp`` or ``modular_mlp``.

    Raises:
        ValueError: if no experiment has that name; the message lists the nearest ones.

    Example:
        >>> canonical("modular-mlp")
        'modular_mlp'
    """
    key = name.replace("-", "_")
    if key in _MODULES:
        return key
    near = difflib.get_close_matches(key, _MODULES, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"choose one of: {', '.join(_MODULES)}."
    raise ValueError(f"no experiment is called {name!r}: {hint}")


def get(name: str) -> Experiment:
    """The experiment of that name; its module is imported now.

    Args:
        name: with hyphens or underscores.

    Raises:
        ValueError: if no experiment has that name, or its module registers another one.
    """
    from entk_tutorial.experiments.base import Experiment

    key = canonical(name)
    found = getattr(importlib.import_module(_MODULES[key]), "EXPERIMENT", None)
    if not isinstance(found, Experiment) or found.name != key:
        what = f"one called {found.name!r}" if isinstance(found, Experiment) else "none"
        raise ValueError(f"module {_MODULES[key]} must define EXPERIMENT, an Experiment called {key!r}; it has {what}.")
    return found


def summaries() -> list[Summary]:
    """Title and cost of every experiment, read from the source without importing it (nor torch).

    The keywords ``title``, ``seconds_per_seed`` and ``cheap`` of ``EXPERIMENT = Experiment(...)`` are literals;
    where one is not, the module is imported after all.
    """
    return [_literal_summary(name) or _imported_summary(name) for name in names()]


def _imported_summary(name: str) -> Summary:
    experiment = get(name)
    return Summary(name, experiment.title, experiment.seconds_per_seed, experiment.cheap)


def _literal_summary(name: str) -> Summary | None:
    spec = importlib.util.find_spec(_MODULES[name])
    if spec is None or spec.origin is None:
        raise ValueError(f"experiment {name!r} is registered, but its module {_MODULES[name]} does not exist.")
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        call = getattr(node, "value", None)
        if not (isinstance(call, ast.Call) and any(isinstance(t, ast.Name) and t.id == "EXPERIMENT" for t in targets)):
            continue
        given = {k.arg: k.value for k in call.keywords if k.arg}
        try:
            title, seconds, cheap = (ast.literal_eval(given[key]) for key in ("title", "seconds_per_seed", "cheap"))
        except (KeyError, ValueError):
            return None
        return Summary(name, str(title), float(seconds), bool(cheap))
    return None
