r"""A language model is a classifier: scores of next words against counts, from the first step to the trained model.

Texts: the help texts of Python, and movie reviews. Models: the MLP on one word of context, at infinite width and at
several finite ones, by gradient descent and by Adam; a small causal Transformer, with a loss at every position. Each is
measured against counts in ways that a class prior passes (correlation over all cells; the published figure) and in ways
that it cannot. Controls: the same with targets shuffled over the text, and a class prior alone.
Source: [Sun, Li & Lu 2023]. Chapter: book/text/language-model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp

from entk_tutorial.data.language import LanguageData, cooccurrence, language_modelling, topics_text
from entk_tutorial.data.ngrams import Baselines, ngram_baselines
from entk_tutorial.data.reviews import movie_reviews
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features.language_scores import (
    TopBottom,
    centre_rows,
    matched_pairs,
    own_correlation,
    score_correlation,
    top_bottom,
    top_bottom_gap,
)
from entk_tutorial.infinite import mlp_constants
from entk_tutorial.infinite.language import bigram_flow, bigram_rate, prior_term, score_velocity
from entk_tutorial.models.language import MLPLanguage, TransformerLanguage
from entk_tutorial.models.language_training import (
    Sequences,
    Training,
    perplexity,
    sequences,
    train_bigrams,
    train_language,
)

ACTIVATIONS = ("relu", "gelu", "tanh")
TRAINED = ("relu", "tanh")
"""Activations of the MLPs of finite width that train; the others are looked at on their first step."""
MEASURES = ("counts", "log", "own", "own_log", "top", "bottom", "gap", "figure", "matched")
"""What :func:`measure` returns, for each model and recorded step."""
SHUFFLE_OFFSET = 70_000
"""Seeds of the shuffled targets, kept apart from those of split and weights."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        vocabulary: words that are told apart; one more token stands for all others.
        length: of the Transformer's windows.
        widths: n of the MLPs that are looked at on their first step, growing.
        width: of the MLPs that train.
        gd: steps at which gradient descent is looked at; the last ends it.
        adam: likewise for Adam.
        transformer: likewise for the Transformer.
        shuffled: step at which the Transformer on shuffled targets stops.
        d_model: its width.
        lr: learning rate of Adam, and the largest one of the Transformer.
        reviews: whether to look at the movie reviews too (first step and infinite width); they must have been fetched.
    """

    vocabulary: int = 300
    length: int = 16
    widths: tuple[int, ...] = (64, 256, 1024)
    width: int = 128
    gd: tuple[int, ...] = (1, 3, 10, 30)
    adam: tuple[int, ...] = (1, 3, 10, 30, 100)
    transformer: tuple[int, ...] = (10, 30, 100, 300, 700)
    shuffled: int = 300
    d_model: int = 48
    lr: float = 1e-2
    reviews: bool = True

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for name in ("widths", "gd", "adam", "transformer"):
            values = getattr(self, name)
            if not values or values[0] < 1 or sorted(set(values)) != list(values):
                raise ValueError(f"{name}={values}; expected growing whole numbers from 1 on.")
        if self.vocabulary < 40 or self.length < 2 or self.width < 1 or self.d_model % 4 or not self.lr > 0:
            raise ValueError(
                f"vocabulary={self.vocabulary}, length={self.length}, width={self.width}, d_model={self.d_model}, "
                f"lr={self.lr}; expected 40 words or more (the figure needs 20 words and 20 targets), a "
                "length of 2 or more, a positive width and rate, and a d_model that 4 heads divide."
            )
        if self.shuffled not in self.transformer:
            raise ValueError(f"shuffled={self.shuffled} is none of the steps {self.transformer} that are looked at.")


@dataclass(frozen=True)
class Text:
    """One text, counted.

    Attributes:
        pairs: contexts of one word.
        triples: contexts of three words, same split and vocabulary.
        windows: sequences for the Transformer, same split and vocabulary; None if there is no Transformer.
        held_out: (M,) words and (M,) next words, on which perplexities are taken.
        baselines: unigrams and bigrams on these.
        figure: the words and targets of the published figure.
    """

    pairs: LanguageData
    triples: LanguageData
    windows: Sequences | None
    held_out: tuple[Tensor, Tensor]
    baselines: Baselines
    figure: TopBottom

    @property
    def size(self) -> int:
        """V, with the token for rare words."""
        return len(self.pairs.words)

    @property
    def raw(self) -> Tensor:
        """How often each token follows each, (V, V) float64."""
        return self.baselines.table.raw

    @property
    def frequency(self) -> Tensor:
        """How often each token is a target, (V,)."""
        return self.raw.sum(0)


def load_text(name: str, config: Config, seed: int) -> Text:
    """Split, vocabulary and counts of "topics" or "reviews".

    Raises:
        NotFetchedError: if the movie reviews were never fetched; the message says how.
    """
    texts = topics_text() if name == "topics" else movie_reviews().texts

    def words_before(context: int) -> LanguageData:
        return language_modelling(texts, vocabulary=config.vocabulary, context=context, seed=seed)

    pairs = words_before(1)
    windows = sequences(words_before(config.length)) if name == "topics" else None
    held = (
        (pairs.test_contexts[:, 0], pairs.test_targets)
        if windows is None
        else (windows.test_inputs.flatten(), windows.test_targets.flatten())
    )
    baselines = ngram_baselines(pairs.contexts[:, 0], pairs.targets, *held, len(pairs.words))
    return Text(pairs, words_before(3), windows, held, baselines, top_bottom(baselines.table.raw, seed=seed))


def measure(scores: Tensor, text: Text) -> dict[str, float]:
    """Scores against counts, by the names of :data:`MEASURES`.

    ``counts`` and ``log``: correlation over all cells, with co-occurrence and with the logarithm of smoothed bigram
    probabilities. ``top`` and ``bottom``: the published figure, mean scores of the top and of the bottom targets;
    ``gap``: their difference in units of the scores' size; ``figure``: share of its words in which the top targets are
    above. A class prior alone passes all these.
    ``own`` and ``own_log``: the correlations after the class prior is taken out of each row of both. ``matched``: share
    of pairs of equally frequent targets in the right order. A prior has nothing to say on these three.

    Args:
        scores: (V, V), a row for each word, a column for each target; initial scores subtracted.
        text: the counts.
    """
    table = scores.double()
    logs = text.baselines.table.probabilities(text.baselines.strength).log()
    rows = centre_rows(table)
    gaps = top_bottom_gap(rows, text.figure)
    chosen = rows[text.figure.words]
    return {
        "counts": score_correlation(table, text.raw),
        "log": score_correlation(table, logs),
        "own": own_correlation(table, text.raw, text.frequency),
        "own_log": own_correlation(table, logs, text.frequency),
        "top": float(chosen.gather(1, text.figure.top).mean()),
        "bottom": float(chosen.gather(1, text.figure.bottom).mean()),
        "gap": float(gaps.mean() / chosen.square().mean().sqrt()),
        "figure": float((gaps > 0).double().mean()),
        "matched": matched_pairs(table, text.raw, text.frequency, text.figure.words),
    }


def first_velocity(model: MLPLanguage, pull: Tensor) -> Tensor:
    r"""(V, V) velocity of one network's scores under gradient descent, :math:`J J^\top` applied to ``pull``.

    Args:
        model: at its initial weights, float64.
        pull: (V, V) minus the derivative of the loss by each score: centred co-occurrence at equal probabilities.

    Example:
        >>> model = MLPLanguage(2, 4096, activation="tanh", seed=0, dtype=torch.float64)
        >>> pull = torch.tensor([[1.0, -1.0], [0.0, 0.0]], dtype=torch.float64)
        >>> a, b = mlp_constants("tanh")
        >>> bool(torch.allclose(first_velocity(model, pull), a * pull, rtol=0.15, atol=0.05))
        True
    """
    weights = {name: p.detach() for name, p in model.named_parameters()}

    def scores(values: dict[str, Tensor]) -> Tensor:
        out: Tensor = functional_call(_Scores(model), {f"net.{k}": v for k, v in values.items()}, ())
        return out

    gradients = torch.autograd.grad((model.scores() * pull).sum(), list(model.parameters()))
    tangents = dict(zip(weights, gradients, strict=True))
    velocity: Tensor = jvp(scores, (weights,), (tangents,))[1]
    return velocity


class _Scores(nn.Module):
    """Label scores as the output of a module, which is what ``functional_call`` calls."""

    def __init__(self, net: MLPLanguage) -> None:
        super().__init__()
        self.net = net

    def forward(self) -> Tensor:
        return self.net.scores()


def first_step(text: Text, widths: Sequence[int], seed: int) -> dict[str, float]:
    """Velocity at the start: network, closed form, counts; contexts of one word, and at one width of three."""
    out: dict[str, float] = {}
    for activation in ACTIVATIONS:
        a, b = mlp_constants(activation)
        for data, suffix, looked_at in ((text.pairs, "", widths), (text.triples, "_three", widths[:2][-1:])):
            counts = cooccurrence(data.contexts, data.targets, text.size)
            closed = score_velocity(data.contexts, data.targets, text.size, a, b)
            out[f"{activation}_closed_counts{suffix}"] = score_correlation(closed, counts.raw)
            out[f"{activation}_closed_raw{suffix}"] = score_correlation(closed, counts.raw, centred=False)
            for width in looked_at:
                net = MLPLanguage(text.size, width, activation=activation, seed=seed, dtype=torch.float64)
                # Under the sum each word of a context gets the whole pull of its target, as in the counts.
                velocity = first_velocity(net, counts.centred)
                tag = f"{activation}_{width}"
                out[f"{tag}_velocity{suffix}"] = score_correlation(velocity, closed)
                out[f"{tag}_counts{suffix}"] = score_correlation(velocity, counts.raw)
                out[f"{tag}_own{suffix}"] = own_correlation(velocity, counts.raw, text.frequency)
    return out


class _Book:
    """Metrics and series of one text, under one prefix, for the true and the shuffled targets."""

    def __init__(self, prefix: str, text: Text) -> None:
        self.prefix, self.text = prefix, text
        self.metrics: dict[str, float] = {}
        self.series: dict[str, list[float]] = {}

    def add(self, name: str, scores: Sequence[Tensor], test: Sequence[float] = ()) -> None:
        """Measures of the scores at the recorded steps; perplexity on held-out windows from ``test`` or the scores."""
        found = [measure(s, self.text) for s in scores]
        before, after = self.text.held_out
        held = test or [math.exp(-float(s.double().log_softmax(1)[before, after].mean())) for s in scores]
        curves = {what: [f[what] for f in found] for what in MEASURES} | {"perplexity": list(held)}
        for what, curve in curves.items():
            self.series[f"{self.prefix}_{name}_{what}"] = curve
            self.metrics[f"{self.prefix}_{name}_{what}"] = curve[-1]
            self.metrics[f"{self.prefix}_{name}_{what}_first"] = curve[0]


def train_mlps(book: _Book, raw: Tensor, config: Config, seed: int, *, finite: bool) -> None:
    """Infinite width, and networks, on the given counts; measured against the true counts of the book's text."""
    size = book.text.size
    for activation in ACTIVATIONS:
        a, b = mlp_constants(activation)
        lr = bigram_rate(raw, a, b)
        limit = bigram_flow(raw, a, b, lr, config.gd)
        book.add(f"{activation}_limit", list(limit))
        if finite and activation in TRAINED:
            trained = {
                how: train_bigrams(
                    MLPLanguage(size, config.width, activation=activation, seed=seed),
                    raw,
                    lr=lr if how == "gd" else config.lr,
                    record_at=config.gd if how == "gd" else config.adam,
                    optimiser=how,
                )
                for how in ("gd", "adam")
            }
            for how, scores in trained.items():
                book.add(f"{activation}_{how}", list(scores))
            book.metrics[f"{book.prefix}_{activation}_gd_limit"] = score_correlation(trained["gd"][-1], limit[-1])


def train_transformer(book: _Book, windows: Sequences, config: Config, seed: int, stop: int) -> None:
    """The Transformer on the given windows until a step; its label scores are the logits of a window of one word."""
    size = book.text.size
    model = TransformerLanguage(size, config.length, d_model=config.d_model, seed=seed)
    words = torch.arange(size)[:, None]
    start = model(words)[:, 0].detach()
    scores: list[Tensor] = []
    held: list[float] = []

    def look(net: nn.Module) -> dict[str, float]:
        scores.append(net(words)[:, 0] - start)
        held.append(perplexity(net, windows.test_inputs, windows.test_targets))
        return {}

    training = Training(steps=config.transformer[-1], lr=config.lr)
    record_at = [step for step in config.transformer if step <= stop]
    train_language(model, windows, training, seed=seed, evaluate=look, record_at=record_at, stop=stop)
    book.add("transformer", scores, held)


def shuffled(text: Text, seed: int) -> tuple[Tensor, Sequences | None]:
    """Counts and windows with the training targets dealt out at random over the whole text; held-out ones stay."""
    generator = torch.Generator().manual_seed(SHUFFLE_OFFSET + seed)

    def mix(targets: Tensor) -> Tensor:
        flat = targets.flatten()
        return flat[torch.randperm(len(flat), generator=generator)].reshape(targets.shape)

    dealt = cooccurrence(text.pairs.contexts, mix(text.pairs.targets), text.size).raw
    return dealt, None if text.windows is None else replace(text.windows, targets=mix(text.windows.targets))


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One split of each text, one draw of the weights, true and shuffled targets."""
    metrics: dict[str, float] = {}
    controls: dict[str, dict[str, float]] = {"shuffled_targets": {}, "prior_alone": {}}
    series: dict[str, list[float]] = {name: list(getattr(config, name)) for name in ("gd", "adam", "transformer")}
    names = ["topics", *(["reviews"] if config.reviews else [])]
    for i, name in enumerate(names):
        progress(0.8 * i, name)
        text = load_text(name, config, seed)
        metrics |= {
            f"{name}_unigram": text.baselines.unigram,
            f"{name}_bigram": text.baselines.bigram,
            f"{name}_vocabulary": float(text.size),
            f"{name}_pairs": float(len(text.pairs.targets)),
            f"{name}_unknown": text.pairs.unknown_share,
            f"{name}_fingerprint": float(int(text.pairs.fingerprint[:8], 16)),
        }
        metrics |= {f"{name}_{k}": v for k, v in first_step(text, config.widths, seed).items()}
        controls["prior_alone"] |= {f"{name}_{k}": v for k, v in measure_prior(text).items()}
        true, dealt = _Book(name, text), _Book(name, text)
        raw, windows = shuffled(text, seed)
        for book, counts, sequence, stop in (
            (true, text.raw, text.windows, config.transformer[-1]),
            (dealt, raw, windows, config.shuffled),
        ):
            progress(0.1 + 0.3 * (book is dealt) + 0.5 * i, f"{name}, {'true' if book is true else 'shuffled'} targets")
            train_mlps(book, counts, config, seed, finite=sequence is not None)
            if sequence is not None:
                train_transformer(book, sequence, config, seed, stop)
        metrics |= true.metrics
        if text.windows is not None:
            place = config.transformer.index(config.shuffled)
            metrics |= {
                f"{name}_transformer_{what}_{config.shuffled}": true.series[f"{name}_transformer_{what}"][place]
                for what in (*MEASURES, "perplexity")
            }
            dealt.metrics |= {
                f"{name}_transformer_{what}_{config.shuffled}": dealt.metrics[f"{name}_transformer_{what}"]
                for what in (*MEASURES, "perplexity")
            }
        series |= true.series | {f"{key}_shuffled": curve for key, curve in dealt.series.items()}
        controls["shuffled_targets"] |= dealt.metrics
    return SeedRecord(metrics, controls, series, {})


def measure_prior(text: Text) -> dict[str, float]:
    """The measures of scores that are the log-frequency of the target, the same for every word."""
    prior = (text.frequency + 1).log().expand(text.size, -1)
    rows = centre_rows(prior)
    gaps = top_bottom_gap(rows, text.figure)
    return {
        "counts": score_correlation(prior, text.raw),
        "gap": float(gaps.mean() / rows[text.figure.words].square().mean().sqrt()),
        "figure": float((gaps > 0).double().mean()),
        "matched": matched_pairs(prior, text.raw, text.frequency, text.figure.words),
        "prior_term": score_correlation(prior_term(text.pairs.targets, text.size).expand(text.size, -1), text.raw),
    }


def chance(config: Config) -> dict[str, float]:
    """Half of matched pairs, and no correlation once the prior is out."""
    out: dict[str, float] = {}
    for name in ["topics", *(["reviews"] if config.reviews else [])]:
        models = [f"{a}_limit" for a in ACTIVATIONS]
        if name == "topics":
            models += [*(f"{a}_{how}" for a in TRAINED for how in ("gd", "adam")), "transformer"]
        for model in models:
            out |= {f"{name}_{model}_matched": 0.5, f"{name}_{model}_own": 0.0, f"{name}_{model}_figure": 0.5}
        out |= {f"{name}_{a}_{n}_own": 0.0 for a in ACTIVATIONS for n in config.widths}
    return out


EXPERIMENT = Experiment(
    name="language_model",
    title="Next words: scores follow counts, but so does a class prior; measures that tell the two apart",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(
        Config(),
        widths=(64, 256),
        width=64,
        gd=(1, 10),
        adam=(10, 50),
        transformer=(20, 60),
        shuffled=20,
        reviews=False,
    ),
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
        >>> few = {"gd": (1,), "adam": (5,), "transformer": (5,), "shuffled": 5, "reviews": False}
        >>> result = run(Config(vocabulary=60, widths=(32,), width=32, **few), seeds=[0])
        >>> bool(result.metrics["topics_tanh_closed_counts"][0] > 1 - 1e-9)     # tanh has no prior term
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
