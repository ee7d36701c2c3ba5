"""How far label scores of a language model follow counts, with measures that a class prior cannot pass.

Scores (V, C) have a row for each word and a column for each target. A softmax does not see a constant that is added to
a row, so the mean of each row is always taken off. Chapter: book/text/language-model.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = [
    "TopBottom",
    "centre_rows",
    "matched_pairs",
    "own_correlation",
    "own_part",
    "score_correlation",
    "top_bottom",
    "top_bottom_gap",
]


def centre_rows(table: Tensor) -> Tensor:
    """The table less the mean of each row: of co-occurrence counts this is the centred co-occurrence.

    Example:
        >>> centre_rows(torch.tensor([[1.0, 3.0]])).tolist()
        [[-1.0, 1.0]]
    """
    return table - table.mean(1, keepdim=True)


def score_correlation(scores: Tensor, table: Tensor, *, centred: bool = True) -> float:
    """Pearson correlation over all pairs of word and target; the scores' rows are centred, the table's if asked.

    Args:
        scores: (V, C).
        table: (V, C), such as co-occurrence counts.
        centred: whether the table's rows are centred too.

    Raises:
        ValueError: for shapes that differ, or a table that is constant.

    Example:
        >>> s = torch.tensor([[0.0, 1.0], [5.0, 3.0]])
        >>> round(score_correlation(s, torch.tensor([[7.0, 8.0], [2.0, 0.0]])), 6)    # each row is off by a constant
        1.0

    Chapter: book/text/language-model.
    """
    if scores.shape != table.shape:
        raise ValueError(f"scores {tuple(scores.shape)}, table {tuple(table.shape)}; expected equal shapes.")
    x = centre_rows(scores.double()).flatten()
    y = (centre_rows(table.double()) if centred else table.double()).flatten()
    x, y = x - x.mean(), y - y.mean()
    size = x.norm() * y.norm()
    if not float(size) > 0:
        raise ValueError("scores or table are constant: no correlation. At step 0 there is nothing to compare.")
    return float(x @ y / size)


def own_part(table: Tensor, frequency: Tensor) -> Tensor:
    r"""What a word says of targets beyond how frequent they are: each row less its fit by 1, p_c and log p_c.

    Words that say nothing of the target have :math:`\operatorname{co}(a,c) = N_a p_c`, a multiple of the frequencies in
    each row; a score that starts from there is a multiple of :math:`p_c`, and a probability learned from there one of
    :math:`\log p_c`. What is left after both are fitted is the word's own.

    Args:
        table: (V, C) scores or counts.
        frequency: (C,) how often each target occurs; one is added before the logarithm.

    Raises:
        ValueError: if frequencies are not one a column.

    Example:
        >>> frequency = torch.tensor([8.0, 4.0, 2.0, 1.0, 1.0], dtype=torch.float64)
        >>> rows = torch.stack([3 * frequency - 1, (frequency + 1).log()])
        >>> bool((own_part(rows, frequency).abs() < 1e-12).all())
        True
    """
    if frequency.shape != table.shape[1:]:
        raise ValueError(f"frequency {tuple(frequency.shape)} for a table {tuple(table.shape)}; expected one a column.")
    share = frequency.double()
    span = torch.stack([torch.ones_like(share), share / share.sum(), (share + 1).log()], 1)
    basis, _ = torch.linalg.qr(span)  # (C, 3)
    rows = table.double()
    return rows - rows @ basis @ basis.T


def own_correlation(scores: Tensor, table: Tensor, frequency: Tensor, *, skip: int = 1) -> float:
    """Pearson correlation of the :func:`own_part` of scores and of a table; 0 is chance, whatever the class prior.

    Args:
        scores: (V, C).
        table: (V, C), such as co-occurrence counts.
        frequency: (C,) of the targets.
        skip: leave out that many first token ids (the token for rare words), as words and as targets.

    Raises:
        ValueError: if nothing is left of one of them.

    Chapter: book/text/language-model.
    """
    x, y = (own_part(part[skip:, skip:], frequency[skip:]).flatten() for part in (scores, table))
    size = x.norm() * y.norm()
    if not float(size) > 0:
        raise ValueError("scores or table are functions of the targets' frequency alone: nothing is left to compare.")
    return float(x @ y / size)


@dataclass(frozen=True)
class TopBottom:
    """The targets of the published figure.

    Attributes:
        words: (W,) the words looked at.
        top: (W, k) the targets that follow each most often.
        bottom: (W, k) those that follow least often; most of them never do, and which of those is drawn at random.
    """

    words: Tensor
    top: Tensor
    bottom: Tensor


def top_bottom(raw: Tensor, *, words: int = 20, targets: int = 10, skip: int = 1, seed: int = 0) -> TopBottom:
    """For the most frequent words the targets of highest and of lowest co-occurrence.

    Args:
        raw: (V, C) counts.
        words: how many words, the most frequent contexts first.
        targets: k.
        skip: leave out that many first token ids (the token for rare words), as words and as targets.
        seed: of the order of ties.

    Raises:
        ValueError: if there are not that many words, or fewer than 2 k targets.

    Example:
        >>> raw = torch.tensor([[9.0, 9.0, 9.0], [0.0, 5.0, 0.0], [0.0, 1.0, 2.0]])
        >>> found = top_bottom(raw, words=1, targets=1)
        >>> found.words.tolist(), found.top.tolist(), found.bottom.tolist()
        ([1], [[1]], [[2]])

    Chapter: book/text/language-model.
    """
    if not (1 <= words <= raw.shape[0] - skip and 1 <= 2 * targets <= raw.shape[1] - skip):
        raise ValueError(
            f"words={words}, targets={targets} from a table of {tuple(raw.shape)} less {skip}; ask for fewer."
        )
    chosen = raw[skip:].sum(1).argsort(descending=True)[:words] + skip
    ties = torch.rand(raw.shape[1] - skip, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) / 2
    order = (raw[chosen][:, skip:].double() + ties).argsort(dim=1) + skip  # counts are whole numbers
    return TopBottom(chosen, order[:, -targets:].flip(1), order[:, :targets])


def top_bottom_gap(scores: Tensor, pairs: TopBottom) -> Tensor:
    """(W,) mean score of the top targets less that of the bottom targets, for each word; positive is as published.

    Example:
        >>> pairs = TopBottom(torch.tensor([0]), torch.tensor([[1]]), torch.tensor([[0]]))
        >>> top_bottom_gap(torch.tensor([[1.0, 4.0]]), pairs).tolist()
        [3.0]
    """
    rows = scores[pairs.words]
    return rows.gather(1, pairs.top).mean(1) - rows.gather(1, pairs.bottom).mean(1)


def matched_pairs(scores: Tensor, raw: Tensor, frequency: Tensor, words: Tensor, *, skip: int = 1) -> float:
    """Share of pairs of equally frequent targets in which the one that follows a word more often scores higher.

    Targets are sorted by frequency and paired with their neighbours, so that a class prior has nothing to say on which
    of a pair is higher. Chance is 1/2, which is also what equal scores get.

    Args:
        scores: (V, C).
        raw: (V, C) counts.
        frequency: (C,) how often each target occurs.
        words: (W,) the words looked at.
        skip: leave out that many first token ids.

    Raises:
        ValueError: if no pair differs in its counts.

    Example:
        >>> raw = torch.tensor([[0.0, 5.0, 1.0]])
        >>> matched_pairs(torch.tensor([[0.0, 0.2, 0.1]]), raw, torch.tensor([9, 6, 6]), torch.tensor([0]))
        1.0

    Chapter: book/text/language-model.
    """
    order = frequency[skip:].argsort(descending=True, stable=True) + skip
    order = order[: len(order) // 2 * 2].reshape(-1, 2)
    count, score = raw[words][:, order], scores[words][:, order]  # (W, pairs, 2)
    more, higher = count[..., 0] - count[..., 1], score[..., 0] - score[..., 1]
    differ = more != 0
    if not bool(differ.any()):
        raise ValueError("no two neighbouring targets differ in their counts: give more text.")
    right = torch.where(higher == 0, 0.5, (torch.sign(higher) == torch.sign(more)).double())
    return float(right[differ].mean())
