r"""What a network says of words that it never saw, by activation, class imbalance, width and initial variance.

Per-token MLPs learn generated reviews by full-batch gradient descent on the logistic loss; the bias is the mean score
of tokens that no document holds, over the root mean square score of the sentiment words. It is laid beside gradient
descent with the kernel of infinite width. Controls: readout frozen; labels shuffled. Source: [Sun, Li & Lu 2023].
Chapter: book/text/activation-bias.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from entk_tutorial.data.sentiment import SentimentConfig, SentimentCorpus, sentiment_corpus
from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.infinite import critical_learning_rate, kernel_gradient_descent, mlp_kernel
from entk_tutorial.models.centred import Centred
from entk_tutorial.models.text import MLPText
from entk_tutorial.training import train

ACTIVATIONS = ("relu", "gelu", "silu", "tanh")
LABEL_OFFSET = 50_000
"""Seeds of the shuffled labels, kept apart from those of the corpus and of the weights."""


@dataclass(frozen=True)
class Scales:
    """Standard deviations of the initial weights, and how they are trained.

    Attributes:
        e: of the embedding.
        w: of the hidden layer.
        v: of the readout.
        raw: train the scaled weights themselves (each group's kernel is divided by its variance), not N(0, 1) weights
            that are scaled in the forward pass.
    """

    e: float = 1.0
    w: float = 1.0
    v: float = 1.0
    raw: bool = False

    def speed(self, group: str) -> float:
        """Factor on the kernel, and on the learning rate, of the group "E", "W" or "v"."""
        return {"E": self.e, "W": self.w, "v": self.v}[group] ** -2 if self.raw else 1.0


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        imbalances: positive for each negative training document, growing; the last one serves the other studies.
        widths: n, growing; the last one serves the other studies.
        variances: of the pre-activations, beside 1; the readout's scale is 1 over their root, so that outputs keep
            their size.
        paper_scale: standard deviation of all raw weights in the paper's code.
        readouts: standard deviations of a raw readout beside a raw embedding and hidden layer of ``paper_scale``.
        steps: of full-batch gradient descent; the rate is 2 over the largest eigenvalue of the closed-form kernel.
    """

    imbalances: tuple[float, ...] = (1.0, 2.0, 4.0)
    widths: tuple[int, ...] = (64, 256, 1024)
    variances: tuple[float, ...] = (1e-4, 25.0)
    paper_scale: float = 0.1
    readouts: tuple[float, ...] = (0.01, 0.1, 1.0)
    steps: int = 40

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for ratio in self.imbalances:
            SentimentConfig(imbalance=ratio)  # checks it, with its reasons
        for name in ("imbalances", "widths"):
            values = getattr(self, name)
            if not values or sorted(set(values)) != list(values) or values[0] <= 0:
                raise ValueError(f"{name}={values}; expected one or more growing positive numbers.")
        for name in ("variances", "readouts"):
            if not all(math.isfinite(x) and x > 0 for x in getattr(self, name)):
                raise ValueError(f"{name}={getattr(self, name)}; expected positive numbers.")
        if self.steps < 1 or not self.paper_scale > 0:
            raise ValueError(f"steps={self.steps}, paper_scale={self.paper_scale}; both must be positive.")


def training_set(corpus: SentimentCorpus) -> tuple[Tensor, Tensor]:
    """(N, V) counts of the tokens in each training document, and (N,) labels, float64."""
    vocab = len(corpus.words)
    counts = torch.stack([torch.bincount(torch.tensor(d), minlength=vocab) for d in corpus.train])
    return counts.double(), corpus.labels.double()


def limit_scores(
    corpus: SentimentCorpus,
    activation: str,
    scales: Scales | None = None,
    *,
    steps: int = 40,
    labels: Tensor | None = None,
    frozen: Collection[str] = (),
) -> tuple[Tensor, float]:
    """Scores of all tokens at infinite width after training, and the learning rate (of the summed loss).

    Args:
        corpus: its training documents are learned.
        activation: of the hidden layer.
        scales: of the initial weights; all 1 by default.
        steps: of gradient descent.
        labels: (N,) in place of the corpus's own.
        frozen: groups out of "E", "W", "v" that do not train.

    Example:
        >>> corpus = sentiment_corpus(SentimentConfig(imbalance=4))
        >>> relative_bias(limit_scores(corpus, "relu")[0], corpus) > 0.3
        True
        >>> abs(relative_bias(limit_scores(corpus, "tanh")[0], corpus)) < 1e-12
        True
    """
    s = scales or Scales()
    words = [[a] for a in range(len(corpus.words))]

    def theta(docs: list[list[int]]) -> Tensor:
        groups = mlp_kernel(docs, corpus.train, activation=activation, sigma_e=s.e, sigma_w=s.w, sigma_v=s.v).by_group
        return torch.stack([s.speed(name) * part for name, part in groups.items() if name not in frozen]).sum(0)

    kernel = theta(corpus.train)
    lr = critical_learning_rate(kernel, "logistic") / 4  # 2 / lambda_max; the critical rate has 1/4 for the curvature
    target = corpus.labels if labels is None else labels
    run = kernel_gradient_descent(kernel, target, "logistic", lr, steps)
    return run.predict(theta(words)), lr


def network_scores(
    corpus: SentimentCorpus,
    activation: str,
    width: int,
    seed: int,
    lr: float,
    scales: Scales | None = None,
    *,
    steps: int = 40,
    labels: Tensor | None = None,
    frozen: Collection[str] = (),
) -> Tensor:
    """The same for one network in float32: (V,) scores, less those before training.

    Documents are counts of tokens, since the output under sum pooling is the sum of the tokens' scores exactly, at
    every width: each step passes V tokens through the network, not N documents.
    """
    s = scales or Scales()
    counts, target = training_set(corpus)
    counts, target = counts.float(), (target if labels is None else labels).float()
    words = torch.arange(len(corpus.words))[:, None]
    net = Centred(
        MLPText(
            len(words), width, activation=activation, sigma_e=s.e, sigma_w=s.w, sigma_v=s.v, seed=seed,
            dtype=torch.float32,
        )
    )  # fmt: skip
    groups = [
        {"params": [p], "lr": lr * s.speed(name)}
        for name, p in net.model.named_parameters()
        if name not in frozen
    ]  # fmt: skip

    def loss(model: torch.nn.Module) -> Tensor:
        return binary_cross_entropy_with_logits(counts @ model(words)[:, 0], target, reduction="sum")

    train(net, loss, torch.optim.SGD(groups, lr=lr), steps)
    with torch.no_grad():
        scores: Tensor = net(words)[:, 0].double()
    return scores


def relative_bias(scores: Tensor, corpus: SentimentCorpus, tokens: Iterable[int] | None = None) -> float:
    """Mean score of the tokens in no document, over the root mean square score of the sentiment words.

    Args:
        scores: (V,) label scores.
        corpus: which tokens are which.
        tokens: look at these in place of the unseen ones, e.g. ``corpus.neutral``.
    """
    size = scores[corpus.polarity != 0].square().mean().sqrt()
    return float(scores[list(corpus.unseen if tokens is None else tokens)].mean() / size)


def kernel_ratio(activation: str, width: int, seed: int, scales: Scales, vocab: int = 33) -> float:
    """B / (A - B) read off the tangent kernel of one untrained network on its single tokens."""
    model = MLPText(
        vocab, width, activation=activation, sigma_e=scales.e, sigma_w=scales.w, sigma_v=scales.v, seed=seed,
        dtype=torch.float32,
    )  # fmt: skip
    parts = empirical_ntk(model, torch.arange(vocab)[:, None], by="parameter")
    assert isinstance(parts, dict)
    kernel = torch.stack([scales.speed(name) * part.double() for name, part in parts.items()]).sum(0)
    same = float(kernel.diagonal().mean())
    different = float((kernel.sum() - kernel.diagonal().sum()) / (vocab * (vocab - 1)))
    return different / (same - different)


def closed_ratio(activation: str, scales: Scales) -> float:
    """The same at infinite width, for raw or scaled weights.

    Example:
        >>> [round(closed_ratio("relu", Scales(0.1, 0.1, v, raw=True)), 4) for v in (0.01, 0.1, 1.0)]
        [0.4536, 0.1187, 0.0016]
    """
    k = mlp_kernel([[0], [1]], activation=activation, sigma_e=scales.e, sigma_w=scales.w, sigma_v=scales.v)
    theta = torch.stack([scales.speed(name) * part for name, part in k.by_group.items()]).sum(0)
    return float(theta[0, 1] / (theta[0, 0] - theta[0, 1]))


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One corpus for each imbalance and one draw of the weights for each width, shared by all activations."""
    out: dict[str, float] = {}
    gaps: dict[int, list[float]] = {}
    corpora = [sentiment_corpus(SentimentConfig(imbalance=r), seed=seed) for r in config.imbalances]
    for i, (ratio, corpus) in enumerate(zip(config.imbalances, corpora, strict=True)):
        progress(0.7 * i / len(corpora), f"imbalance {ratio:g}")
        for activation in ACTIVATIONS:
            name = f"{activation}_{ratio:g}"
            limit, lr = limit_scores(corpus, activation, steps=config.steps)
            out[f"{name}_limit"] = relative_bias(limit, corpus)
            out[f"{name}_neutral_limit"] = relative_bias(limit, corpus, corpus.neutral)
            for width in config.widths:
                scores = network_scores(corpus, activation, width, seed, lr, steps=config.steps)
                out[f"{name}_{width}"] = relative_bias(scores, corpus)
                out[f"{name}_{width}_gap"] = out[f"{name}_{width}"] - out[f"{name}_limit"]
                gaps.setdefault(width, []).append(out[f"{name}_{width}_gap"])
            out[f"{name}_neutral"] = relative_bias(scores, corpus, corpus.neutral)
    out |= {f"gap_rms_{w}": math.sqrt(sum(g * g for g in found) / len(found)) for w, found in gaps.items()}
    progress(0.7, "initial variances")
    corpus, width = corpora[-1], config.widths[-1]
    out |= _variances(config, corpus, seed)
    progress(0.9, "raw weights")
    out |= _raw(config, corpus, seed)
    controls = _controls(config, corpus, width, seed)
    return SeedRecord(out, controls, {"imbalance": list(config.imbalances)}, {})


def _both(
    config: Config, corpus: SentimentCorpus, activation: str, width: int, seed: int, scales: Scales
) -> tuple[float, float]:
    limit, lr = limit_scores(corpus, activation, scales, steps=config.steps)
    scores = network_scores(corpus, activation, width, seed, lr, scales, steps=config.steps)
    return relative_bias(limit, corpus), relative_bias(scores, corpus)


def _variances(config: Config, corpus: SentimentCorpus, seed: int) -> dict[str, float]:
    """Bias at other initial variances, outputs of the same size; in the limit also with the paper's scales.

    At those scales outputs are so small at the start that a network of these widths leaves its kernel at once.
    """
    out: dict[str, float] = {}
    for activation in ACTIVATIONS:
        for nu in config.variances:
            name, scales = f"{activation}_nu{nu:g}", Scales(w=nu**0.5, v=nu**-0.5)
            out[f"{name}_limit"], out[name] = _both(config, corpus, activation, config.widths[-1], seed, scales)
        own = Scales(config.paper_scale, config.paper_scale, config.paper_scale, raw=True)
        limit = limit_scores(corpus, activation, own, steps=config.steps)[0]
        out[f"{activation}_paper_limit"] = relative_bias(limit, corpus)
    return out


def _raw(config: Config, corpus: SentimentCorpus, seed: int) -> dict[str, float]:
    """ReLU with raw weights: the kernel's ratio at the start, and the bias in the limit, by the readout's scale."""
    out: dict[str, float] = {}
    for v in config.readouts:
        scales = Scales(config.paper_scale, config.paper_scale, v, raw=True)
        out[f"raw_{v:g}_ratio_limit"] = closed_ratio("relu", scales)
        out[f"raw_{v:g}_ratio"] = kernel_ratio("relu", config.widths[-1], seed, scales)
        out[f"raw_{v:g}_bias_limit"] = relative_bias(
            limit_scores(corpus, "relu", scales, steps=config.steps)[0], corpus
        )
    return out


def _controls(config: Config, corpus: SentimentCorpus, width: int, seed: int) -> dict[str, dict[str, float]]:
    """Readout frozen: no bias. Labels shuffled: unseen words keep their score, over the size of true-label scores."""
    ratio = config.imbalances[-1]
    frozen: dict[str, float] = {}
    shuffled: dict[str, float] = {}
    order = torch.randperm(len(corpus.labels), generator=torch.Generator().manual_seed(LABEL_OFFSET + seed))
    labels = corpus.labels[order]
    for activation in ("relu", "tanh"):
        name = f"{activation}_{ratio:g}"
        limit, lr = limit_scores(corpus, activation, steps=config.steps, frozen=("v",))
        scores = network_scores(corpus, activation, width, seed, lr, steps=config.steps, frozen=("v",))
        frozen |= {f"{name}_limit": relative_bias(limit, corpus), f"{name}_{width}": relative_bias(scores, corpus)}
        true, lr = limit_scores(corpus, activation, steps=config.steps)
        size = true[corpus.polarity != 0].square().mean().sqrt()
        limit, _ = limit_scores(corpus, activation, steps=config.steps, labels=labels)
        scores = network_scores(corpus, activation, width, seed, lr, steps=config.steps, labels=labels)
        unseen = list(corpus.unseen)
        shuffled |= {
            f"{name}_limit": float(limit[unseen].mean() / size),
            f"{name}_{width}": float(scores[unseen].mean() / size),
        }
    return {"frozen_readout": frozen, "shuffled_labels": shuffled}


def chance(config: Config) -> dict[str, float]:
    """A token that pulls no way has score 0."""
    return {f"{a}_{r:g}_{w}": 0.0 for a in ACTIVATIONS for r in config.imbalances for w in config.widths}


EXPERIMENT = Experiment(
    name="activation_bias",
    title="Words never seen: ReLU gives them the score of the larger class, tanh none, and GELU depends on the scale",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), widths=(64, 256), variances=(0.01,)),
    seconds_per_seed=35.0,
    tolerances={"*": 5e-3},
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
        >>> result = run(Config(imbalances=(4.0,), widths=(64,), variances=(), readouts=()), seeds=[0])
        >>> bool(result.metrics["relu_4_limit"][0] > result.metrics["gelu_4_limit"][0] > 0)
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
