"""One text, counted, and the measures that hold a language model's scores against its counts."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from entk_tutorial.data.language import LanguageData
from entk_tutorial.data.ngrams import Baselines
from entk_tutorial.features.language_scores import (
    TopBottom,
    centre_rows,
    matched_pairs,
    own_correlation,
    score_correlation,
    top_bottom_gap,
)
from entk_tutorial.infinite.language import prior_term
from entk_tutorial.models.language_training import Sequences

MEASURES = ("counts", "log", "own", "own_log", "top", "bottom", "gap", "figure", "matched")
"""What :func:`measure` returns, for each model and recorded step."""


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
