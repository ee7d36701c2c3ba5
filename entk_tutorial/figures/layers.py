"""Figures of the chapter on layers and ablation: what moves against what is used, shares by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from entk_tutorial import plotting


def use_against_move(
    axis: Axes, mobility: ArrayLike, moved: ArrayLike, names: Sequence[str], shown: Mapping[str, str]
) -> None:
    """Families as points: how easily the kernel moves them, and how many answers follow when they are moved.

    Args:
        axis: where to draw.
        mobility: (S, F) of each seed and family, relative to the placebos.
        moved: (S, F) shares of answers.
        names: of the F families.
        shown: family -> label; all others are drawn alike, as placebos.

    Raises:
        ValueError: if the shapes differ, or a family to be shown is not there.
    """
    x, y = np.asarray(mobility, dtype=float), np.asarray(moved, dtype=float)
    if x.shape != y.shape or x.ndim != 2 or x.shape[1] != len(names) or not set(shown) <= set(names):
        raise ValueError(f"{x.shape}, {y.shape}, {len(names)} names: one column a family, {list(shown)} among them.")
    rest = [i for i, name in enumerate(names) if name not in shown]
    axis.plot(x[:, rest].ravel(), y[:, rest].ravel(), "x", color=plotting.PALETTE[6], label=f"{len(rest)} placebos")
    for i, (name, label) in enumerate(shown.items()):
        column = list(names).index(name)
        axis.plot(
            x[:, column], y[:, column], plotting.MARKERS[i], color=plotting.PALETTE[i], markersize=8, label=label,
            fillstyle="none" if i % 2 else "full", markeredgewidth=1.6,
        )  # fmt: skip
    axis.set(
        xlabel="how easily the kernel moves the family", ylabel="share of answers that follow it", ylim=(-0.08, 1.08)
    )
    axis.legend(loc="center right")


def shares_by_layer(axis: Axes, shares: Mapping[str, Mapping[str, float]], label: str = "share of the kernel") -> None:
    """Layers as rows, families as columns, the share written in each field.

    Args:
        axis: where to draw.
        shares: layer -> family -> share in [0, 1]; every layer has the same families.
        label: of the colour bar.
    """
    rows, columns = list(shares), list(next(iter(shares.values())))
    values = np.array([[shares[r][c] for c in columns] for r in rows])
    image = axis.imshow(values, cmap="cividis", vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(*values.shape):
        ink = "black" if values[i, j] > 0.5 else "white"
        axis.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color=ink, fontsize=9)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_yticks(range(len(rows)), rows)
    axis.grid(False)
    axis.figure.colorbar(image, ax=axis, label=label)


def beside_null(axis: Axes, groups: Mapping[str, Mapping[str, ArrayLike]], *, y: str) -> None:
    """One dot a seed for each layer and group, side by side, on a logarithmic axis with a line at 1.

    Args:
        axis: where to draw.
        groups: group -> layer -> (S,) ratios to the null; a layer that a group lacks is left out.
        y: label of the axis.
    """
    layers = list(dict.fromkeys(name for group in groups.values() for name in group))
    for i, (label, values) in enumerate(groups.items()):
        at = [layers.index(name) + 0.22 * (i - (len(groups) - 1) / 2) for name in values]
        for j, (position, v) in enumerate(zip(at, values.values(), strict=True)):
            points = np.asarray(v, dtype=float).ravel()
            axis.plot(
                [position] * len(points), points, plotting.MARKERS[i], color=plotting.PALETTE[i], markersize=4.5,
                label=label if j == 0 else None, fillstyle="none" if i % 2 else "full",
            )  # fmt: skip
    axis.axhline(1, color=plt.rcParams["text.color"], linestyle=":", linewidth=1.2, label="digits renamed (mean)")
    axis.set_xticks(range(len(layers)), layers)
    axis.set(yscale="log", ylabel=y)
    axis.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axis.set_ylim(top=70)  # room for the legend
    axis.grid(axis="x", visible=False)
    axis.legend(loc="upper left", ncols=3)


def logits_of_the_right_answer(axis: Axes, sides: Mapping[str, ArrayLike], *, x: str) -> None:
    """Histograms of the right answer's logit on either side of the split, with a line at 0.

    Args:
        axis: where to draw.
        sides: side -> values.
        x: label of the axis.
    """
    pooled = np.concatenate([np.asarray(v, dtype=float).ravel() for v in sides.values()])
    edges = np.linspace(min(pooled.min(), 0), pooled.max(), 40).tolist()
    for i, (label, values) in enumerate(sides.items()):
        axis.hist(
            np.asarray(values, dtype=float).ravel(), bins=edges, color=plotting.PALETTE[i], label=label,
            hatch=("", "//")[i % 2], alpha=0.85,
        )  # fmt: skip
    axis.axvline(0, color=plt.rcParams["text.color"], linewidth=1, linestyle=":")
    axis.set(xlabel=x, ylabel="pairs")
    axis.legend()
