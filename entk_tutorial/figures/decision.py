"""Pictures of the chapter on decisions: what words say against what pairs say; the number of words."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entk_tutorial import plotting


def words_against_pairs(
    families: Mapping[str, tuple[Sequence[float], Sequence[float]]], kinds: Mapping[str, Sequence[int]]
) -> Figure:
    """One point a document: the part that words and length decide, and the part of the pairs; one panel a family.

    Above the slanted line the logit is positive, right of the upright one it is so without the pairs. Between the two
    lie the documents that flip, shaded.

    Args:
        families: name -> (logit without pairs, part of the pairs), one entry a document each.
        kinds: name of a kind of document -> which documents are of it.
    """
    figure, axes = plotting.panels(len(families), width=4.4, height=4.2)
    for axis, (name, (words, pairs)) in zip(axes, families.items(), strict=True):
        x, y = np.asarray(words), np.asarray(pairs)
        reach = 1.05 * max(np.abs(x).max(), np.abs(y).max())
        line = np.array([-reach, 0.0, reach])
        ink = axis.xaxis.label.get_color()
        for half in (line[:2], line[1:]):  # left of 0 above the line, right of 0 below it
            end = reach if half[0] < 0 else -reach
            axis.fill_between(half, -half, end, color="0.5", alpha=0.18, linewidth=0)
        axis.plot(line, -line, color=ink, linewidth=1, linestyle="--")
        axis.axvline(0, color=ink, linewidth=1, linestyle=":")
        for i, (kind, rows) in enumerate(kinds.items()):
            chosen = list(rows)
            axis.plot(
                x[chosen],
                y[chosen],
                plotting.MARKERS[i],
                color=plotting.PALETTE[i],
                label=kind,
                markersize=4,
                alpha=0.8,
            )
        axis.set(xlabel="logit without the pairs", ylabel="part of the pairs", title=name)
        axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal")
    axes[0].legend(fontsize=9, loc="lower left")
    return figure


def called_positive(numbers: Sequence[int], shares: Mapping[str, ArrayLike]) -> Figure:
    """Share of balanced test documents that are called positive, against the number of words they are filled up to.

    Args:
        numbers: of words.
        shares: label -> (seeds, numbers) shares.
    """
    figure, axes = plotting.panels(1, width=6.0, height=3.4)
    for i, (label, values) in enumerate(shares.items()):
        plotting.band(axes[0], list(numbers), values, label, index=i, marker=True)
    plotting.chance_line(axes[0], 0.5, "right share")
    axes[0].set(xlabel="words in each document", ylabel="share called positive", ylim=(-0.02, 1.02))
    axes[0].set_xticks(list(numbers))
    axes[0].legend(fontsize=9, loc="center left", bbox_to_anchor=(1.0, 0.5))
    return figure
