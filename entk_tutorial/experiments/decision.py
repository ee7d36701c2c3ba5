r"""From features to a decision: a document's logit in parts, and what happens to the decision without one of them.

At infinite width each family's logit is the sum of a part for the number of words, one for the words, one for bigrams
and longer strings; a second split leaves to the bigrams only what no word could have said. Texts: the generated corpus
with its negated documents, and movie reviews. Finite networks: what they say of single words, summed, and the rest,
beside the same of their kernel. Controls: parts dealt to other documents; random labels. Source: [Sun, Li & Lu 2023].
Chapter: book/text/decision.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from entk_tutorial.data.corpus import Corpus
from entk_tutorial.data.reviews import load_movie_reviews
from entk_tutorial.data.sentiment import SentimentConfig, SentimentCorpus, sentiment_corpus
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.decision_parts import (
    DEAL_OFFSET,
    Decided,
    correct,
    correlation,
    decide,
    flip_measures,
    flips,
    interaction,
    sum_measures,
    word_sum,
)
from entk_tutorial.infinite.blocks import LENGTH, TOKENS
from entk_tutorial.models.text import CNNText, MLPText, MVText

FAMILIES = ("linear", "mlp_relu", "mlp_tanh", "attention", "cnn_relu", "cnn_tanh", "hadamard", "mv", "rnn_gated")
COMPOSING = ("cnn_relu", "cnn_tanh", "hadamard", "mv", "rnn_gated")
"""Families with bigrams among their features."""
REVIEWED = ("mlp_relu", "cnn_relu", "mv")
CONTROLLED = ("cnn_relu", "mv")
NEGATIONS = ("not", "n't", "never", "no")
GROUPS = ("plain", "negated", "negated_held_out")
IMBALANCES = (1, 2, 4)

TWINS: dict[str, Callable[..., nn.Module]] = {
    "mlp_relu": MLPText,
    "mlp_tanh": partial(MLPText, activation="tanh"),
    "cnn_relu": CNNText,
    "mv": MVText,
}
"""Family -> its finite network."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        reviews: whether to measure the movie reviews too; they must have been fetched.
        steps: of gradient descent on the generated corpus.
        rate: learning rate there, as a share of the critical one.
        review_steps: of gradient descent on the reviews, at .9 of the critical rate.
        widths: n of the finite networks, growing.
        longer: numbers of words to which test documents are filled up with a word that training never saw.
    """

    reviews: bool = True
    steps: int = 100
    rate: float = 0.75
    review_steps: int = 400
    widths: tuple[int, ...] = (16, 64)
    longer: tuple[int, ...] = (8, 16, 32)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if min(self.steps, self.review_steps) < 1 or not 0 < self.rate < 1:
            raise ValueError(
                f"steps={self.steps}, review_steps={self.review_steps}, rate={self.rate}; expected 1 step or more, and "
                "a rate between 0 and 1."
            )
        if sorted(set(self.widths)) != list(self.widths) or any(n < 8 for n in self.longer):
            raise ValueError(f"widths={self.widths} must grow, and longer={self.longer} be 8 words or more.")


def generated(
    config: Config, seed: int, corpus: SentimentCorpus
) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, list[float]], dict[str, Decided]]:
    """All families on the generated corpus."""
    groups = {kind: np.isin(np.arange(len(corpus.test)), corpus.test_groups[kind]) for kind in GROUPS}
    order = torch.randperm(len(corpus.labels), generator=torch.Generator().manual_seed(seed + DEAL_OFFSET))
    metrics: dict[str, float] = {}
    controls: dict[str, dict[str, float]] = {"dealt_part": {}, "random_labels": {}}
    series: dict[str, list[float]] = {}
    found: dict[str, Decided] = {}
    for family in FAMILIES:
        found[family] = d = decide(corpus, family, steps=config.steps, rate=config.rate)
        size = np.sqrt(np.mean(d.logits**2))
        metrics[f"{family}_accuracy"] = correct(d.logits, corpus.test_labels)
        for name, parts in (("block", d.blocks), ("pure", d.pure)):
            metrics[f"{family}_{name}_error"] = float(np.abs(sum(parts.values()) - d.logits).max() / size)
            for part, values in parts.items():
                metrics[f"{family}_{name}_{part}_size"] = float(np.sqrt(np.mean(values**2)) / size)
            if family in COMPOSING:
                mine, dealt = flip_measures(d, interaction(parts), corpus.test_labels, groups, seed)
                metrics |= {f"{family}_{name}_{k}": v for k, v in mine.items()}
                controls["dealt_part"] |= {f"{family}_{name}_{k}": v for k, v in dealt.items()}
        metrics |= {f"{family}_{k}": v for k, v in sum_measures(d, corpus.test).items()}
        if family in CONTROLLED:
            blind = decide(corpus, family, steps=config.steps, rate=config.rate, labels=corpus.labels[order])
            mine, _ = flip_measures(blind, interaction(blind.pure), corpus.test_labels, groups, seed)
            controls["random_labels"] |= {f"{family}_pure_{k}": v for k, v in mine.items()}
            for name, parts in (("block", d.blocks), ("pure", d.pure)):
                series[f"{family}_{name}_words"] = (d.logits - interaction(parts)).tolist()
                series[f"{family}_{name}_pairs"] = interaction(parts).tolist()
    return metrics, controls, series, found


def length_measures(config: Config, seed: int) -> dict[str, float]:
    """The MLP per token under class imbalance: how much of a decision is the number of words; longer documents."""
    out: dict[str, float] = {}
    for ratio in IMBALANCES:
        corpus = sentiment_corpus(SentimentConfig(imbalance=float(ratio)), seed=seed)
        filler = corpus.unseen[0]
        for name in ("relu", "tanh"):
            d = decide(corpus, f"mlp_{name}", steps=config.steps, rate=config.rate)
            length = d.blocks.get(LENGTH, np.zeros(len(d.logits)))
            tag = f"{name}_{ratio}"
            words = np.abs(d.blocks[TOKENS]).mean()
            out[f"{tag}_length_share"] = float(np.abs(length).mean() / (np.abs(length).mean() + words))
            out[f"{tag}_length_flip"] = float(flips(d.logits, length).mean())
            out[f"{tag}_length_gain"] = correct(d.logits, corpus.test_labels) - correct(
                d.logits - length, corpus.test_labels
            )
            for words_now in config.longer:
                logits = d.logits + (words_now - len(corpus.test[0])) * d.words[filler]
                out[f"{tag}_positive_{words_now}"] = float((logits > 0).mean())
            out[f"{tag}_filler_score"] = float(d.words[filler])
    return out


def train_network(model: nn.Module, corpus: SentimentCorpus, probes: Tensor, lr: float, steps: int) -> np.ndarray:
    """(M,) outputs on probes after gradient descent on the summed logistic loss, all outputs less their start."""
    documents, target = torch.tensor(corpus.train), corpus.labels.float()
    with torch.no_grad():
        start, before = model(documents)[:, 0], model(probes)[:, 0]
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(steps):
        optimizer.zero_grad()
        binary_cross_entropy_with_logits(model(documents)[:, 0] - start, target, reduction="sum").backward()
        optimizer.step()
    with torch.no_grad():
        outputs: np.ndarray = (model(probes)[:, 0] - before).double().numpy()
    return outputs


def finite(config: Config, corpus: SentimentCorpus, seed: int, limits: dict[str, Decided]) -> dict[str, float]:
    """Finite networks: the logit, the sum of label scores, and the rest, against those of the kernel."""
    vocabulary, tests = len(corpus.words), len(corpus.test)
    longest = len(corpus.train[0])
    words = [[a] + [-1] * (longest - 1) for a in range(vocabulary)]
    probes = torch.tensor(corpus.test + words)
    out: dict[str, float] = {}
    for family, build in TWINS.items():
        limit = limits[family]
        for width in config.widths:
            options = {"padding": 1, "pad_token": vocabulary} if family.startswith("cnn") else {}
            model = build(vocab=vocabulary + 1, width=width, seed=seed, dtype=torch.float32, **options)
            outputs = train_network(model, corpus, probes, limit.lr, config.steps)
            logits, scores = outputs[:tests], outputs[tests:]
            total, expected = word_sum(corpus.test, scores), word_sum(corpus.test, limit.words)
            rest, limit_rest = logits - total, limit.logits - expected
            tag = f"finite_{family}_{width}"
            out |= {
                f"{tag}_accuracy": correct(logits, corpus.test_labels),
                f"{tag}_agree": float(((logits > 0) == (limit.logits > 0)).mean()),
                f"{tag}_logit_correlation": correlation(logits, limit.logits),
                f"{tag}_sum_correlation": correlation(total, expected),
                f"{tag}_sum_gap": float(np.abs(rest).max() / np.sqrt(np.mean(logits**2))),
            }
            if family in COMPOSING:
                out[f"{tag}_rest_correlation"] = correlation(rest, limit_rest)
                both = np.stack([flips(logits, rest), flips(limit.logits, limit_rest)])
                out[f"{tag}_same_flips"] = float(both.all(0).sum() / max(1, both.any(0).sum()))
    return out


def reviewed(config: Config, seed: int) -> tuple[dict[str, float], dict[str, dict[str, float]]]:
    """The same on movie reviews, where the documents with a negation take the place of the negated ones."""
    corpus = load_movie_reviews(seed=seed)
    ids = corpus.vocabulary
    marks = {ids[word] for word in NEGATIONS if word in ids}
    holds = np.array([bool(marks & set(d)) for d in corpus.test])
    groups = {"plain": ~holds, "negated": holds}
    settings = {"steps": config.review_steps, "rate": 0.9}
    metrics: dict[str, float] = {"reviews_negated_share": float(holds.mean())}
    controls: dict[str, float] = {}
    for family in REVIEWED:
        d = decide(corpus, family, **settings)  # type: ignore[arg-type]
        tag = f"reviews_{family}"
        metrics[f"{tag}_accuracy"] = correct(d.logits, corpus.test_labels)
        metrics |= {f"{tag}_{k}": v for k, v in sum_measures(d, corpus.test).items()}
        for name, parts in (("block", d.blocks), ("pure", d.pure)):
            if family in COMPOSING:
                mine, dealt = flip_measures(d, interaction(parts), corpus.test_labels, groups, seed)
                metrics |= {f"{tag}_{name}_{k}": v for k, v in mine.items()}
                controls |= {f"{tag}_{name}_{k}": v for k, v in dealt.items()}
        if family == "mlp_relu":
            metrics |= _length_of_reviews(d, corpus, "reviews_relu_1")
    positive = torch.nonzero(corpus.labels == 1)[:, 0]
    kept = set(torch.nonzero(corpus.labels == 0)[: len(positive) // 4, 0].tolist()) | set(positive.tolist())
    rows = sorted(kept)
    skewed = replace(corpus, train=[corpus.train[i] for i in rows], labels=corpus.labels[rows])
    metrics |= _length_of_reviews(decide(skewed, "mlp_relu", **settings), corpus, "reviews_relu_4")  # type: ignore[arg-type]
    return metrics, {"dealt_part": controls}


def _length_of_reviews(d: Decided, corpus: Corpus, tag: str) -> dict[str, float]:
    length, words = d.blocks[LENGTH], d.blocks[TOKENS]
    share = np.abs(length).mean() / (np.abs(length).mean() + np.abs(words).mean())
    return {
        f"{tag}_length_share": float(share),
        f"{tag}_length_flip": float(flips(d.logits, length).mean()),
        f"{tag}_length_gain": correct(d.logits, corpus.test_labels) - correct(d.logits - length, corpus.test_labels),
        f"{tag}_positive": float((d.logits > 0).mean()),
        f"{tag}_positive_without": float((d.logits - length > 0).mean()),
    }


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One corpus, one set of networks, one split of the reviews."""
    corpus = sentiment_corpus(SentimentConfig(), seed=seed)
    metrics, controls, series, limits = generated(config, seed, corpus)
    progress(0.15, "length")
    metrics |= length_measures(config, seed)
    progress(0.25, "finite networks")
    metrics |= finite(config, corpus, seed, limits)
    if config.reviews:
        progress(0.6, "reviews")
        found, dealt = reviewed(config, seed)
        metrics |= found
        controls["dealt_part"] |= dealt["dealt_part"]
    return SeedRecord(metrics, controls, series, {})


def chance(config: Config) -> dict[str, float]:
    """Half of the labels, and of the agreements of signs, come by chance."""
    names = [*FAMILIES, *(f"reviews_{f}" for f in REVIEWED if config.reviews)]
    out = {f"{name}_{what}": 0.5 for name in names for what in ("accuracy", "sum_agree")}
    for family in TWINS:
        for n in config.widths:
            out |= {f"finite_{family}_{n}_accuracy": 0.5, f"finite_{family}_{n}_agree": 0.5}
            out[f"finite_{family}_{n}_logit_correlation"] = 0.0
            if family in COMPOSING:
                out[f"finite_{family}_{n}_rest_correlation"] = 0.0
    return out


EXPERIMENT = Experiment(
    name="decision",
    title="A document's decision in parts: length, words, bigrams; and which documents flip without one of them",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), reviews=False, steps=40, widths=(16,)),
    seconds_per_seed=30.0,
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
        >>> result = run(Config(reviews=False, steps=20, widths=()), seeds=[0])
        >>> bool(result.metrics["mv_block_error"][0] < 1e-10)
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
