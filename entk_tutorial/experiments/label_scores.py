r"""Label scores: what a network says of one word alone, against how often that word occurs with each label.

At infinite width the score starts to move at a velocity that is co-occurrence, by algebra; that is checked, and so is
where it drifts later, for the families of the first part. Networks of finite width then train on the same sentences:
by gradient descent on all parameters or on the embedding alone, and by Adagrad. Initial scores are subtracted.
Texts: a generated corpus, and movie reviews. Source: [Sun, Li & Lu 2023]. Chapter: book/text/label-scores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse
from scipy.special import expit
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from entk_tutorial.data.corpus import UNKNOWN, Corpus, TokenGroups, token_groups
from entk_tutorial.data.reviews import load_movie_reviews
from entk_tutorial.data.sentiment import SentimentConfig, SentimentCorpus, sentiment_corpus
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.token_kernel_error import predicted_error
from entk_tutorial.infinite import mlp_constants, mlp_kernel
from entk_tutorial.infinite.feature_maps import (
    FeatureMap,
    attention_features,
    cnn_features,
    mlp_features,
    mv_features,
)
from entk_tutorial.infinite.gradient_flow import critical_learning_rate, kernel_gradient_descent, label_scores
from entk_tutorial.models.text import MLPText

Documents = Sequence[Sequence[int]]
GENERATED = SentimentConfig(train=1000, negated=0.1)
"""The generated corpus has few words, most of them telling, so that every network here is wider than its vocabulary."""
TRAININGS = ("gd", "embedding", "adagrad")
FAMILIES: dict[str, Callable[[Documents, Documents, int], FeatureMap]] = {
    "mlp_tanh": lambda a, b, pad: mlp_features(a, b, activation="tanh"),
    "mlp_relu": lambda a, b, pad: mlp_features(a, b, activation="relu"),
    "mlp_gelu": lambda a, b, pad: mlp_features(a, b, activation="gelu"),
    "cnn_linear": lambda a, b, pad: cnn_features(a, b, activation="linear", padding=1, pad_token=pad),
    "cnn_relu": lambda a, b, pad: cnn_features(a, b, activation="relu", padding=1, pad_token=pad),
    "attention": lambda a, b, pad: attention_features(a, b),
    "mv": lambda a, b, pad: mv_features(a, b),
}
"""Families with explicit features; the linear model is "mlp_tanh" up to a factor, and here lr removes factors."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        reviews: whether to measure the movie reviews too; they must have been fetched.
        widths: n of the finite networks, growing.
        gd_only: widths above this one train by gradient descent on all parameters alone, which saves time.
        steps: full-batch steps of the finite networks.
        record: steps at which infinitely wide networks are looked at; the last ends their training.
        rate: learning rate of gradient descent, as a share of the critical one of the infinitely wide network.
        adagrad_lr: learning rate of Adagrad.
    """

    reviews: bool = True
    widths: tuple[int, ...] = (64, 256, 1024)
    gd_only: int = 256
    steps: int = 50
    record: tuple[int, ...] = (1, 3, 10, 30, 100, 300, 1000, 3000)
    rate: float = 0.5
    adagrad_lr: float = 0.03

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for name in ("widths", "record"):
            values = getattr(self, name)
            if not values or values[0] < 1 or sorted(set(values)) != list(values):
                raise ValueError(f"{name}={values}; expected growing whole numbers from 1 on.")
        if self.steps < 2 or not 0 < self.rate < 1 or not self.adagrad_lr > 0:
            raise ValueError(
                f"steps={self.steps}, rate={self.rate}, adagrad_lr={self.adagrad_lr}; expected 2 steps or more, a rate "
                "between 0 and 1, and a positive adagrad_lr."
            )


@dataclass(frozen=True)
class Words:
    """What the counts of a corpus say of its words.

    Attributes:
        groups: the three groups of the paper.
        kept: (V',) ids of the words that correlations are taken over; not the token for rare words.
        difference: (V',) occurrences in positive minus in negative training documents.
        rate: (V',) that difference over the sum.
    """

    groups: TokenGroups
    kept: np.ndarray
    difference: np.ndarray
    rate: np.ndarray


def words_of_corpus(corpus: Corpus) -> Words:
    """Groups, differences and rates of the words that occur in training.

    In a generated corpus the groups are known: positive, negative and neutral words as they were made.
    """
    table = corpus.counts().double()
    groups = token_groups(corpus)
    if isinstance(corpus, SentimentCorpus):
        positive, negative = (tuple(torch.nonzero(corpus.polarity == s)[:, 0].tolist()) for s in (1, -1))
        groups = TokenGroups(positive, negative, corpus.neutral, groups.rates)
    named = torch.tensor([word != UNKNOWN for word in corpus.words])
    kept = torch.nonzero((table.sum(1) > 0) & named)[:, 0]
    difference = (table[:, 1] - table[:, 0])[kept].numpy()
    return Words(groups, kept.numpy(), difference, groups.rates[kept].numpy())


def cooccurrence_velocity(corpus: Corpus, activation: str) -> Tensor:
    r"""(V,) velocity of each word's score at f = 0, from counts alone, for the MLP on each token under the sum.

    .. math:: \dot s_a = \tfrac12\big[(A-B)(N_a^+-N_a^-)+B(L^+-L^-)\big]

    with the word's counts N and the total tokens L of each class.

    Chapter: book/text/label-scores.
    """
    a, b = mlp_constants(activation)
    table = corpus.counts().double()
    difference = table[:, 1] - table[:, 0]
    return 0.5 * ((a - b) * difference + b * difference.sum())


def sign_accuracy(scores: Tensor | np.ndarray, groups: TokenGroups) -> float:
    """Share of positive words with a positive score and of negative words with a negative one, averaged.

    Example:
        >>> sign_accuracy(np.array([1.0, -1.0, 2.0]), TokenGroups((0, 1), (2,), (), torch.zeros(3)))
        0.25
    """
    s = np.asarray(scores)
    return float(((s[list(groups.positive)] > 0).mean() + (s[list(groups.negative)] < 0).mean()) / 2)


def ranking_accuracy(scores: Tensor | np.ndarray, groups: TokenGroups) -> float:
    """Share of pairs of a positive and a negative word in which the positive one scores higher: no offset changes it.

    Example:
        >>> ranking_accuracy(np.array([3.0, 1.0, 2.0]), TokenGroups((0, 1), (2,), (), torch.zeros(3)))
        0.5
    """
    s = np.asarray(scores)
    up, down = s[list(groups.positive)], s[list(groups.negative)]
    return float((up[:, None] > down[None, :]).mean())


def count_matrix(documents: Documents, vocabulary: int) -> sparse.csr_array:
    """(N, V) float32: how often each word occurs in each document."""
    columns = np.concatenate([np.asarray(d, dtype=np.int64) for d in documents])
    rows = np.repeat(np.arange(len(documents)), [len(d) for d in documents])
    ones = np.ones(len(columns), dtype=np.float32)
    return sparse.csr_array(sparse.coo_array((ones, (rows, columns)), shape=(len(documents), vocabulary)))


def finite_scores(
    corpus: Corpus, width: int, training: str, *, lr: float, steps: int, seed: int, activation: str = "tanh"
) -> tuple[np.ndarray, np.ndarray]:
    """Train an MLP on each token (sum pooling, summed logistic loss of f - f_0), and follow all scores.

    A document's output is the sum of its tokens' scores, at every width: one pass over the V words and a sparse product
    replace a pass over all documents.

    Args:
        corpus: its training documents are used.
        width: n.
        training: "gd", "embedding" (gradient descent, W and v frozen) or "adagrad".
        lr: learning rate.
        steps: full-batch steps.
        seed: of the weights.
        activation: of the hidden layer.

    Returns:
        (steps + 1, V) scores minus the initial ones, and (V,) the initial ones.

    Raises:
        ValueError: for an unknown training, or scores that stop being finite.
    """
    if training not in TRAININGS:
        raise ValueError(f"unknown training {training!r}; expected one of {', '.join(TRAININGS)}.")
    vocabulary = len(corpus.words)
    model = MLPText(vocabulary, width, activation=activation, seed=seed, dtype=torch.float32)
    if training == "embedding":
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name == "E")
    trained = [p for p in model.parameters() if p.requires_grad]
    optimizer: torch.optim.Optimizer = (
        torch.optim.Adagrad(trained, lr=lr) if training == "adagrad" else torch.optim.SGD(trained, lr=lr)
    )
    matrix, words = count_matrix(corpus.train, vocabulary), torch.arange(vocabulary)[:, None]
    target = corpus.labels.numpy().astype(np.float32)
    scores: list[np.ndarray] = []
    start = model(words)[:, 0].detach().numpy()
    for step in range(steps + 1):
        out = model(words)[:, 0]
        scores.append(out.detach().numpy() - start)
        if not np.isfinite(scores[-1]).all():
            raise ValueError(f"{training} at width {width}: scores are not finite after {step} steps; lower lr={lr}.")
        if step < steps:
            pull = matrix.T @ (expit(matrix @ scores[-1]) - target)  # (V,) derivative of the loss by each word's score
            optimizer.zero_grad(set_to_none=True)
            out.backward(torch.from_numpy(np.ascontiguousarray(pull, dtype=np.float32)))
            optimizer.step()
    return np.stack(scores), start


def _pearson(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.corrcoef(x, y)[0, 1])


def _group_series(tag: str, scores: np.ndarray, groups: TokenGroups) -> dict[str, list[float]]:
    """Mean score of each group, and the sign accuracy, a list over the rows of ``scores`` (S, V)."""
    members = {"positive": groups.positive, "negative": groups.negative, "neutral": groups.neutral}
    out = {f"{tag}_{name}": scores[:, list(ids)].mean(1).tolist() for name, ids in members.items()}
    return out | {f"{tag}_sign": [sign_accuracy(row, groups) for row in scores]}


class _Infinite(NamedTuple):
    """Scores (S, V) at the recorded steps, outputs (M,) on test documents at the end, and the learning rate."""

    scores: np.ndarray
    test: np.ndarray
    lr: float


def infinite_scores(corpus: Corpus, family: str, labels: Tensor, record: Sequence[int], rate: float) -> _Infinite:
    """Kernel gradient descent of a family on the training documents: scores at the steps of ``record``, the last ends.

    ``labels`` are (N,) of 0 and 1, e.g. ``corpus.labels``; ``rate`` is the learning rate over the critical one.
    """
    vocabulary = len(corpus.words)
    others = [[a] for a in range(vocabulary)] + corpus.test
    features = FAMILIES[family](others, corpus.train, vocabulary)
    kernel = features.first  # (V + M, F); its first rows are the words
    train = FeatureMap(features.second, features.second)
    lr = rate * critical_learning_rate(train, "logistic")
    words = FeatureMap(sparse.csr_array(kernel[:vocabulary]), features.second)
    seen: list[np.ndarray] = []

    def look(step: int, _: Tensor, coefficients: Tensor) -> None:
        if step in record:
            seen.append((words @ coefficients).numpy())

    run = kernel_gradient_descent(train, labels, "logistic", lr, record[-1], callback=look)
    test = run.predict(FeatureMap(sparse.csr_array(kernel[vocabulary:]), features.second))
    return _Infinite(np.stack(seen), test.numpy(), lr)


def measure_corpus(
    corpus: Corpus, config: Config, seed: int, progress: ProgressFn
) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, list[float]]]:
    """Metrics, controls and series of one corpus."""
    words, vocabulary = words_of_corpus(corpus), len(corpus.words)
    kept, groups = words.kept, words.groups
    metrics = {"vocabulary": float(vocabulary)}
    series: dict[str, list[float]] = {}
    probes = [[a] for a in range(vocabulary)]
    for name in ("tanh", "relu"):
        velocity = label_scores(mlp_features(probes, corpus.train, activation=name), corpus.labels)
        formula = cooccurrence_velocity(corpus, name)
        metrics[f"velocity_{name}"] = _pearson(velocity.numpy(), formula.numpy())
        metrics[f"velocity_{name}_error"] = float((velocity - formula).abs().max() / formula.abs().max())

    record = tuple(sorted({*config.record, config.steps}))
    runs: dict[str, _Infinite] = {}
    test_labels = corpus.test_labels.numpy()
    for i, family in enumerate(FAMILIES):
        progress(0.4 * i / len(FAMILIES), f"{family}, infinite width")
        runs[family] = run = infinite_scores(corpus, family, corpus.labels, record, config.rate)
        pearson = [_pearson(s[kept], words.difference) for s in run.scores]
        spearman = [float(spearmanr(s[kept], words.rate).statistic) for s in run.scores]
        series |= {f"{family}_pearson": pearson, f"{family}_spearman": spearman}
        series |= _group_series(family, run.scores, groups)
        metrics |= {
            f"{family}_pearson_first": pearson[0],
            f"{family}_pearson_last": pearson[-1],
            f"{family}_spearman_last": spearman[-1],
            f"{family}_sign_last": series[f"{family}_sign"][-1],
            f"{family}_ranking_last": ranking_accuracy(run.scores[-1], groups),
            f"{family}_accuracy": float(((run.test > 0) == (test_labels == 1)).mean()),
        }
    series["record"] = [float(s) for s in record]

    counts, test_counts = count_matrix(corpus.train, vocabulary), count_matrix(corpus.test, vocabulary)
    fit = LogisticRegression(max_iter=2000).fit(counts, corpus.labels.numpy())
    metrics["logistic_accuracy"] = float(fit.score(test_counts, test_labels))
    order = torch.randperm(len(corpus.train), generator=torch.Generator().manual_seed(seed))
    blind = infinite_scores(corpus, "mlp_tanh", corpus.labels[order], record, config.rate)
    controls = {
        "shuffled_labels": {
            "mlp_tanh_spearman_last": float(spearmanr(blind.scores[-1][kept], words.rate).statistic),
            "mlp_tanh_sign_last": sign_accuracy(blind.scores[-1], groups),
            "mlp_tanh_accuracy": float(((blind.test > 0) == (test_labels == 1)).mean()),
        },
        "not_subtracted": {},
    }

    limit = runs["mlp_tanh"]
    ahead = limit.scores[record.index(config.steps)]
    step_one = (limit.lr * cooccurrence_velocity(corpus, "tanh")).numpy()
    entry = mlp_kernel([[0]], activation="tanh")
    share = float(
        entry.by_group["E"] / entry.ntk
    )  # of a word's own kernel entry: the embedding alone is as fast as all
    rates = {"gd": limit.lr, "embedding": limit.lr / share, "adagrad": config.adagrad_lr}
    plan = [(n, t) for n in config.widths for t in TRAININGS if t == "gd" or n <= config.gd_only]
    for i, (width, training) in enumerate(plan):
        progress(0.4 + 0.6 * i / len(plan), f"{training}, width {width}")
        draw = (seed * len(config.widths) + config.widths.index(width)) * len(TRAININGS) + TRAININGS.index(training)
        scores, start = finite_scores(corpus, width, training, lr=rates[training], steps=config.steps, seed=draw)
        tag, last = f"{training}_{width}", scores[-1]
        series |= _group_series(tag, scores, groups)
        outputs = test_counts @ last
        metrics |= {
            f"{tag}_sign": sign_accuracy(last, groups),
            f"{tag}_sign_first": sign_accuracy(scores[1], groups),
            f"{tag}_ranking": ranking_accuracy(last, groups),
            f"{tag}_pearson": _pearson(last[kept], words.difference),
            f"{tag}_spearman": float(spearmanr(last[kept], words.rate).statistic),
            f"{tag}_accuracy": float(((outputs > 0) == (test_labels == 1)).mean()),
        }
        controls["not_subtracted"][f"{tag}_sign"] = sign_accuracy(last + start, groups)
        if training != "adagrad":
            metrics[f"{tag}_limit"] = _pearson(last[kept], ahead[kept])
            metrics[f"{tag}_limit_outputs"] = _pearson(outputs, test_counts @ ahead)
        if training == "gd":
            error = float(np.linalg.norm(scores[1] - step_one) / np.linalg.norm(step_one))
            metrics[f"{tag}_first_error"] = error
            metrics[f"{tag}_first_error_ratio"] = error / predicted_error("tanh", vocabulary, width)
    return metrics, controls, series


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One generated corpus, one split of the reviews, and networks of their own for each."""
    corpora: dict[str, Callable[[], Corpus]] = {"generated": lambda: sentiment_corpus(GENERATED, seed=seed)}
    if config.reviews:
        corpora["reviews"] = lambda: load_movie_reviews(seed=seed)
    metrics: dict[str, float] = {}
    controls: dict[str, dict[str, float]] = {}
    series: dict[str, list[float]] = {}
    for name, make in corpora.items():
        found = measure_corpus(make(), config, seed, progress)
        metrics |= {f"{name}_{k}": v for k, v in found[0].items()}
        series |= {f"{name}_{k}": v for k, v in found[2].items()}
        for control, values in found[1].items():
            controls.setdefault(control, {}).update({f"{name}_{k}": v for k, v in values.items()})
    return SeedRecord(metrics, controls, series, {})


def chance(config: Config) -> dict[str, float]:
    """Half of all signs are right by chance; a test document's label too, as classes are (almost) balanced."""
    names = ["generated", *(["reviews"] if config.reviews else [])]
    plan = [f"{t}_{n}" for n in config.widths for t in TRAININGS if t == "gd" or n <= config.gd_only]
    signs = [f"{tag}_{what}" for tag in plan for what in ("sign", "sign_first", "ranking", "accuracy")]
    signs += [f"{family}_{what}" for family in FAMILIES for what in ("sign_last", "ranking_last", "accuracy")]
    return {f"{name}_{sign}": 0.5 for name in names for sign in [*signs, "logistic_accuracy"]}


EXPERIMENT = Experiment(
    name="label_scores",
    title="A word's score starts as its co-occurrence with the labels; in finite networks only if they are wide",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), reviews=False, widths=(64, 256), record=(1, 10, 100, 1000)),
    seconds_per_seed=70.0,
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
        >>> result = run(Config(reviews=False, widths=(32,), steps=5, record=(1, 10)), seeds=[0])
        >>> bool(result.metrics["generated_velocity_relu"][0] > 1 - 1e-9)
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
