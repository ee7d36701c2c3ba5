"""Pictures of the chapter on negation: what "not" does to each word's score, family by family."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from entk_tutorial import plotting


def turned_words(
    scores: Mapping[str, tuple[Sequence[float], Sequence[float]]], words: Sequence[str], held_out: Sequence[str]
) -> Figure:
    """For each word an arrow from its score after an unseen token to its score after "not"; one panel a family.

    Args:
        scores: family -> (scores of "z w", scores of "not w"), in the order of ``words``.
        words: names of the rows.
        held_out: words that training never negates; their names get a star.
    """
    figure, axes = plotting.panels(len(scores), width=3.6, height=0.25 * len(words) + 1.1, columns=len(scores))
    for axis, (name, (plain, negated)) in zip(axes, scores.items(), strict=True):
        for row, (start, end) in enumerate(zip(plain, negated, strict=True)):
            axis.plot([start, end], [row, row], color="0.55", linewidth=1.2, zorder=1)
        rows = range(len(words))
        axis.plot(plain, rows, plotting.MARKERS[0], color=plotting.PALETTE[0], label="z w", markersize=5)
        axis.plot(negated, rows, plotting.MARKERS[1], color=plotting.PALETTE[1], label="not w", markersize=5)
        axis.axvline(0, color=axis.xaxis.label.get_color(), linewidth=1, linestyle=":")
        axis.set_yticks(list(rows), [f"{w} *" if w in held_out else w for w in words], fontsize=9)
        axis.set_ylim(len(words) - 0.4, -0.6)
        axis.set(xlabel="output", title=name)
        axis.grid(axis="y", visible=False)
    axes[0].legend(loc="upper left", fontsize=9)
    for axis in axes[1:]:
        axis.set_yticklabels([])
    return figure
