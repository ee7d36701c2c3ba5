r"""The activation's bias in a causal language model: what it says after a word never seen, and what that costs.

Extra tokens have embeddings and occur nowhere in the text. How much of the class prior is predicted after one of them?
At infinite width that is a formula of the activation alone. In small causal Transformers the activation is varied, and
its mean is taken off or put on, at equal steps: so the bias itself is moved, and the rest stays. Conditions: with and
without position vectors (another way to say the prior), with the prior given as an output bias, at small initial
weights. Source: [Sun, Li & Lu 2023]. Chapter: book/text/language-model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from entk_tutorial.data.language import language_modelling, topics_text
from entk_tutorial.data.ngrams import ngram_baselines
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.infinite import mlp_constants
from entk_tutorial.infinite.language import bigram_flow, bigram_rate
from entk_tutorial.models.language import MLPLanguage, TransformerLanguage
from entk_tutorial.models.language_training import (
    Sequences,
    Training,
    perplexity,
    sequences,
    train_bigrams,
    train_language,
)

Activation = str | Callable[[Tensor], Tensor]
RELU_MEAN = 1 / math.sqrt(2 * math.pi)
ACTIVATIONS: dict[str, Activation] = {
    "relu": "relu",
    "gelu": "gelu",
    "tanh": "tanh",
    "relu_centred": lambda u: torch.relu(u) - RELU_MEAN,
    "tanh_raised": lambda u: torch.tanh(u) + RELU_MEAN,
}
"""Three activations, and the same with their mean at variance 1 taken off, or ReLU's put on."""
CONDITIONS: dict[str, tuple[str, ...]] = {
    "standard": ("relu", "gelu", "tanh", "relu_centred", "tanh_raised"),
    "no_positions": ("relu", "gelu", "tanh", "relu_centred"),
    "prior_given": ("relu", "relu_centred"),
    "small": ("relu", "gelu"),
}
"""Condition -> activations that are trained under it."""

HELD_OUT = 256
"""How many held-out windows losses are taken on; they are the same for all activations of a seed."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        vocabulary: words that are told apart; one more token stands for all others.
        unseen: further tokens that occur nowhere.
        length: of the Transformer's windows.
        d_model: its width.
        record: steps at which it is looked at, growing; the last one ends the training.
        batch: windows a step.
        lr: largest learning rate.
        small: scale of the initial weights under "small", 1 elsewhere.
        width: of the MLP that trains on single words.
        mlp: steps at which it and its limit are looked at.
        paper_scale: standard deviation of the raw weights in the paper's code, for the limit.
        conditions: which of :data:`CONDITIONS`.
    """

    vocabulary: int = 200
    unseen: int = 32
    length: int = 16
    d_model: int = 32
    record: tuple[int, ...] = (10, 25, 50, 120)
    batch: int = 16
    lr: float = 5e-3
    small: float = 0.1
    width: int = 128
    mlp: tuple[int, ...] = (1, 10, 30)
    paper_scale: float = 0.1
    conditions: tuple[str, ...] = tuple(CONDITIONS)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for name in ("record", "mlp"):
            values = getattr(self, name)
            if not values or values[0] < 1 or sorted(set(values)) != list(values):
                raise ValueError(f"{name}={values}; expected growing whole numbers from 1 on.")
        if min(self.vocabulary, self.unseen, self.length, self.width, self.batch) < 1 or self.d_model % 4:
            raise ValueError(
                f"vocabulary={self.vocabulary}, unseen={self.unseen}, length={self.length}, width={self.width}, "
                f"batch={self.batch}, "
                f"d_model={self.d_model}; expected 1 or more of each, and a d_model that 4 heads divide."
            )
        if min(self.lr, self.small, self.paper_scale) <= 0:
            raise ValueError(f"lr={self.lr}, small={self.small}, paper_scale={self.paper_scale}; must be positive.")
        unknown = sorted(set(self.conditions) - set(CONDITIONS))
        if unknown:
            raise ValueError(f"no condition is called {', '.join(unknown)}; there are {', '.join(CONDITIONS)}.")


@dataclass(frozen=True)
class Text:
    """The help texts of Python as windows, pairs and frequencies.

    Attributes:
        windows: sequences.
        raw: (V + unseen, V) counts of pairs, the last rows 0.
        unigram: (V,) how likely each target is.
        unigram_loss: cross-entropy of the held-out targets under these.
    """

    windows: Sequences
    raw: Tensor
    unigram: Tensor
    unigram_loss: float


def load_text(config: Config, seed: int) -> Text:
    """Split and count."""
    data, windows = (
        language_modelling(topics_text(), vocabulary=config.vocabulary, context=t, seed=seed)
        for t in (1, config.length)
    )
    parts = sequences(windows)
    parts = replace(parts, test_inputs=parts.test_inputs[:HELD_OUT], test_targets=parts.test_targets[:HELD_OUT])
    found = ngram_baselines(
        data.contexts[:, 0], data.targets, parts.test_inputs.flatten(), parts.test_targets.flatten(), len(data.words)
    )
    raw = found.table.raw
    padded = torch.cat([raw, raw.new_zeros(config.unseen, raw.shape[1])])
    return Text(parts, padded, found.table.unigram, math.log(found.unigram))


def known_prior(logits: Tensor, unigram: Tensor) -> float:
    r"""Share of the class prior that the predictions hold: 0 for equal probabilities, 1 for the prior itself.

    .. math:: 1 - \frac{\operatorname{KL}(p\,\|\,q)}{\operatorname{KL}(p\,\|\,1/V)}

    averaged over the rows q; below 0 if they are further from the prior p than equal probabilities are.

    Args:
        logits: (M, V), e.g. after each of M tokens never seen.
        unigram: (V,) p, positive.

    Example:
        >>> p = torch.tensor([0.7, 0.2, 0.1], dtype=torch.float64)
        >>> known_prior(torch.zeros(1, 3), p), round(known_prior(p.log()[None], p), 12)
        (0.0, 1.0)

    Chapter: book/text/language-model.
    """
    p = unigram.double()
    far = (p * (p * len(p)).log()).sum()
    away = (p * (p.log() - logits.double().log_softmax(1))).sum(1)
    return float((1 - away / far).mean())


def mlp_part(config: Config, text: Text, seed: int) -> dict[str, float]:
    """Contexts of one word: what is known of the prior after unseen tokens, limit and network, and at raw weights."""
    out: dict[str, float] = {}
    last = config.mlp[-1]
    for name in ("relu", "gelu", "tanh"):
        a, b = mlp_constants(name)
        lr = bigram_rate(text.raw, a, b)
        limit = bigram_flow(text.raw, a, b, lr, config.mlp)
        net = MLPLanguage(len(text.raw), config.width, targets=len(text.unigram), activation=name, seed=seed)
        finite = train_bigrams(net, text.raw, lr=lr, record_at=config.mlp)
        unseen = slice(len(text.raw) - config.unseen, None)
        for step, exact, found in zip(config.mlp, limit, finite, strict=True):
            suffix = "" if step == last else f"_{step}"
            out[f"mlp_{name}_limit{suffix}"] = known_prior(exact[unseen], text.unigram)
            out[f"mlp_{name}_{config.width}{suffix}"] = known_prior(found[unseen], text.unigram)
        # Raw weights of the paper's scale: each group's kernel is divided by its variance.
        s = config.paper_scale
        scaled_a, scaled_b = mlp_constants(name, sigma_e=s, sigma_w=s, sigma_v=s)
        small_a, small_b = scaled_a / s**2, scaled_b / s**2
        lr = bigram_rate(text.raw, small_a, small_b)
        flow = bigram_flow(text.raw, small_a, small_b, lr, config.mlp)
        out[f"mlp_{name}_paper_limit"] = known_prior(flow[-1][unseen], text.unigram)
        out[f"mlp_{name}_ratio"] = b / (a - b)
        out[f"mlp_{name}_paper_ratio"] = small_b / (small_a - small_b)
    return out


def train_one(config: Config, text: Text, condition: str, activation: str, seed: int) -> dict[str, list[float]]:
    """One Transformer: held-out loss, prior known after unseen tokens, and training loss, at the recorded steps.

    The weights at the start and the order of windows are the same for every activation and condition of a seed.
    """
    size = len(text.unigram)
    model = TransformerLanguage(
        size + config.unseen,
        config.length,
        d_model=config.d_model,
        activation=ACTIVATIONS[activation],
        scale=config.small if condition == "small" else 1.0,
        positions=condition != "no_positions",
        output_bias=text.unigram.log() if condition == "prior_given" else None,
        targets=size,
        seed=seed,
    )
    unseen = torch.arange(size, size + config.unseen)[:, None]
    windows = text.windows
    found: dict[str, list[float]] = {"loss": [], "prior": []}

    def look(net: nn.Module) -> dict[str, float]:
        found["loss"].append(math.log(perplexity(net, windows.test_inputs, windows.test_targets)))
        found["prior"].append(known_prior(net(unseen)[:, 0], text.unigram))
        return {}

    training = Training(steps=config.record[-1], batch=config.batch, lr=config.lr)
    _, losses = train_language(model, windows, training, seed=seed, evaluate=look, record_at=config.record)
    return found | {"train": [sum(losses[max(0, s - 10) : s]) / len(losses[max(0, s - 10) : s]) for s in config.record]}


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One split, one draw of the weights, all activations under all conditions."""
    text = load_text(config, seed)
    progress(0.0, "MLP")
    metrics = mlp_part(config, text, seed) | {"unigram_loss": text.unigram_loss}
    series: dict[str, list[float]] = {"record": list(config.record)}
    plan = [(c, a) for c in config.conditions for a in CONDITIONS[c]]
    for i, (condition, activation) in enumerate(plan):
        progress((i + 1) / (len(plan) + 1), f"{condition}, {activation}")
        curves = train_one(config, text, condition, activation, seed)
        for what, curve in curves.items():
            series[f"{condition}_{activation}_{what}"] = curve
            for step, value in zip(config.record, curve, strict=True):
                metrics[f"{condition}_{activation}_{what}_{step}"] = value
    for condition in config.conditions:
        for pair in (("relu", "gelu"), ("relu", "tanh"), ("relu", "relu_centred"), ("tanh", "tanh_raised")):
            if set(pair) <= set(CONDITIONS[condition]):
                for step in config.record:
                    one, other = (metrics[f"{condition}_{name}_loss_{step}"] for name in pair)
                    metrics[f"{condition}_{pair[0]}_minus_{pair[1]}_{step}"] = one - other
    return SeedRecord(metrics, {}, series, {})


def chance(config: Config) -> dict[str, float]:
    """Equal probabilities know nothing of the prior; two activations that do the same differ by 0."""
    out = {f"mlp_{a}_{config.width}": 0.0 for a in ("relu", "gelu", "tanh")}
    for condition in config.conditions:
        out |= {f"{condition}_{a}_prior_{config.record[1 % len(config.record)]}": 0.0 for a in CONDITIONS[condition]}
    return out


EXPERIMENT = Experiment(
    name="language_bias",
    title="ReLU's bias in causal language models: the class prior, early; what it costs later",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), record=(10, 25), width=64, mlp=(1, 5), conditions=("no_positions",)),
    seconds_per_seed=20.0,
    tolerances={"*": 0.02},
    cheap=False,
)


def run(
    config: Config | None = None,
    seeds: Iterable[int] = range(5),
    *,
    results_dir: Path | str | None = None,
    progress: bool = False,
) -> Result:
    """Run the experiment over seeds; see :func:`entk_tutorial.experiments.base.run_experiment`.

    Example:
        >>> result = run(Config(vocabulary=60, width=32, record=(2,), conditions=()), seeds=[0])
        >>> float(result.metrics["mlp_relu_limit"][0]) > 0.5 > float(result.metrics["mlp_tanh_limit"][0])
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
