"""Figures of the chapter on eigenspaces of text models: one function by state of training, shares, and spectra."""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from entk_tutorial import plotting


def by_state(axis: Axes, values: Mapping[str, Mapping[str, ArrayLike]], *, y: str, chance: float) -> None:
    """One dot a seed for each family (along the axis) and state of training (colour and marker), with chance.

    Args:
        axis: where to draw.
        values: state -> family -> one value a seed; a family may be missing from a state.
        y: name of the axis.
        chance: level of the dotted line.
    """
    families = list(dict.fromkeys(family for found in values.values() for family in found))
    step = 0.7 / max(len(values), 1)
    for i, (state, found) in enumerate(values.items()):
        points = [(families.index(f), v) for f, seeds in found.items() for v in np.asarray(seeds, dtype=float).ravel()]
        x = np.array([p[0] for p in points]) + (i - (len(values) - 1) / 2) * step
        axis.plot(
            x, [p[1] for p in points], plotting.MARKERS[i], color=plotting.PALETTE[i], label=state, markersize=5,
            fillstyle="none" if i % 2 else "full",
        )  # fmt: skip
    plotting.chance_line(axis, chance)
    axis.set_xticks(range(len(families)), families, rotation=20, ha="right")
    axis.set(ylabel=y, ylim=(-0.04, 1.04))
    axis.grid(axis="x", visible=False)
    axis.legend(ncols=2, fontsize=9, loc="upper left", bbox_to_anchor=(0, 1.22))


def share_bars(axis: Axes, shares: Mapping[str, Mapping[str, float]], *, x: str = "share of the kernel") -> None:
    """One bar a row, stacked from the shares of its blocks, which add up to 1.

    Args:
        axis: where to draw.
        shares: row -> block -> share; every row has the same blocks.
        x: name of the axis.

    Raises:
        ValueError: if the blocks differ between rows.
    """
    rows, blocks = list(shares), list(next(iter(shares.values())))
    if any(list(found) != blocks for found in shares.values()):
        raise ValueError(f"every row needs the blocks {blocks}, in that order.")
    hatches = ("", "..", "//", "xx", "--")
    left = np.zeros(len(rows))
    for i, block in enumerate(blocks):
        width = np.array([shares[row][block] for row in rows]).clip(min=0)
        axis.barh(
            rows, width, left=left, color=plotting.PALETTE[i], hatch=hatches[i % len(hatches)], label=block,
            edgecolor=plt.rcParams["axes.facecolor"], linewidth=0.5,
        )  # fmt: skip
        left += width
    axis.invert_yaxis()
    axis.set(xlabel=x, xlim=(0, 1))
    axis.grid(axis="y", visible=False)
    axis.legend(ncols=len(blocks), fontsize=9, loc="lower left", bbox_to_anchor=(0, 1.0))
