"""Pictures of the chapter on controls: what finds what, levels against scale, maps of eigenvectors, confusions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.gridspec import GridSpec
from numpy.typing import ArrayLike

from entk_tutorial import plotting
from entk_tutorial.features.analytic_kernel import analytic_levels, flip_ratio


def _grid(axis: Axes, values: ArrayLike, columns: Sequence[str], *, top: float, fmt: str, size: float = 8.5) -> None:
    table = np.asarray(values, dtype=float)
    sns.heatmap(
        table, ax=axis, cmap="cividis", vmin=0, vmax=top, annot=True, fmt=fmt, cbar=False,
        xticklabels=list(columns), yticklabels=False, annot_kws={"fontsize": size},
    )  # fmt: skip
    axis.grid(False)
    axis.tick_params(axis="x", rotation=0, labelsize=9)


def what_finds_what(
    labels: Mapping[str, str],
    trained: Mapping[str, np.ndarray],
    untrained: Mapping[str, np.ndarray],
    *,
    full: int,
) -> Figure:
    """Mean overlap of each method with each family, trained and untrained, and the purity of its waves.

    Args:
        labels: method -> how the row is named.
        trained: ``<method>_<column>`` -> one value a seed.
        untrained: the same of the untrained networks.
        full: dimension of a family.
    """
    figure = plt.figure(figsize=(9.2, 0.36 * len(labels) + 1.3))
    plt.close(figure)  # out of pyplot's hands: a cell that ends in the figure shows it once
    widths = GridSpec(1, 3, figure=figure, width_ratios=[4, 4, 2], wspace=0.08)
    families = ("n", "m", "sum", "diff")
    blocks = (
        ("trained: overlap", trained, families, families, full, ".1f"),
        ("untrained: overlap", untrained, families, families, full, ".1f"),
        ("trained: purity", trained, ("concentration", "renamed"), ("as is", "renamed"), 1, ".2f"),
    )
    for i, (title, source, keys, names, top, fmt) in enumerate(blocks):
        axis = figure.add_subplot(widths[0, i])
        values = [[float(source[f"{method}_{k}"].mean()) + 0.0 for k in keys] for method in labels]
        _grid(axis, np.maximum(values, 0), names, top=top, fmt=fmt)
        axis.set_title(title, fontsize=10)
        if i == 0:
            axis.set_yticks(np.arange(len(labels)) + 0.5, list(labels.values()), rotation=0, fontsize=9)
    return figure


def scale_sweep(
    p: int, hidden: int, ratios: Sequence[float], lattice: ArrayLike, lost: Mapping[int, ArrayLike]
) -> Figure:
    """Left: eigenvalue levels against s_1/s_2 in closed form. Right: overlap of window 2 with functions of the sum.

    Args:
        p: modulus.
        hidden: H of the lattice, which sets the unit.
        ratios: (R,) scale ratios measured.
        lattice: (S, R) overlap of window 2 with the sum, on complete lattices.
        lost: width -> (S, R) overlap lost by random phases, in the window that holds the diagonals.
    """
    figure, (left, right) = plotting.panels(2, width=5.2, height=3.4)
    fine = np.geomspace(min(ratios), max(ratios), 200)
    flip = flip_ratio(p)
    names = (("digits", "functions of n, of m"), ("diagonals", "of n + m, of n − m"), ("rest", "the rest"))
    for i, (name, label) in enumerate(names):
        levels = [analytic_levels(p, hidden, (r, 1.0))["total"] for r in fine]
        curve = [getattr(v, name) / v.rest for v in levels]
        left.plot(fine, curve, color=plotting.PALETTE[i], label=label, linestyle=("-", "--", ":")[i])
    left.set(xscale="log", yscale="log", xlabel="scale ratio $s_1/s_2$", ylabel="eigenvalue / that of the rest")
    step = np.where(fine < flip, p - 1, 0.0)
    right.plot(fine, step, color=plt.rcParams["text.color"], linewidth=1, label="closed form")
    right.plot(ratios, np.mean(np.asarray(lattice), 0), "o", color=plotting.PALETTE[0], label="complete lattice")
    below = np.asarray(ratios) < flip
    for i, (width, values) in enumerate(lost.items()):
        kept = p - 1 - np.asarray(values, dtype=float)[:, below]
        right.errorbar(
            np.asarray(ratios)[below], kept.mean(0), np.abs(np.stack([kept.min(0), kept.max(0)]) - kept.mean(0)),
            fmt=plotting.MARKERS[i + 1] + "-", color=plotting.PALETTE[i + 1], markersize=4, linewidth=1,
            label=f"random phases, H = {width}",
        )  # fmt: skip
    right.set(xscale="log", xlabel="scale ratio $s_1/s_2$", ylabel=f"window 2 with the sum, of {p - 1}")
    ticks = [r for r in (0.25, 0.5, 1, 2, 4, 8) if min(ratios) <= r <= max(ratios)]
    for axis in (left, right):
        axis.set_xticks(ticks, [f"{r:g}" for r in ticks])
        axis.set_xticks([], minor=True)
        axis.axvline(flip, color=plt.rcParams["text.color"], linestyle=":", linewidth=1)
        axis.legend(fontsize=8)
    return figure


def eigenvector_maps(
    vectors: Mapping[str, ArrayLike], p: int, *, columns: int = 3, width: float = 2.9, height: float = 2.7
) -> Figure:
    """Directions over the pairs as maps: n downwards, m to the right, colours symmetric around zero.

    Args:
        vectors: title -> (p*p,) values.
        p: modulus.
        columns: maps in a row.
        width: of a map, in inches.
        height: of a map, in inches.
    """
    figure, axes = plotting.panels(len(vectors), width=width, height=height, columns=columns)
    for axis, (title, values) in zip(axes, vectors.items(), strict=False):
        picture = np.asarray(values, dtype=float).reshape(p, p)
        limit = float(np.abs(picture).max())
        axis.imshow(picture, cmap="PuOr", vmin=-limit, vmax=limit, interpolation="nearest")
        axis.set(title=title, xlabel="m", ylabel="n", xticks=range(0, p, 7), yticks=range(0, p, 7))
        axis.grid(False)
    return figure


def confusions(
    answers: Mapping[str, ArrayLike], networks: Sequence[str], names: Sequence[str], right: Mapping[str, str]
) -> Figure:
    """For each rule, how often (over seeds) each network got each name; a frame marks the right answer.

    Args:
        answers: rule -> (S, R) index into ``names`` for every seed and network.
        networks: (R,) rows.
        names: columns.
        right: network -> right name.
    """
    figure, axes = plotting.panels(len(answers), width=4.3, height=3.7, columns=2)
    for i, (axis, (rule, table)) in enumerate(zip(axes, answers.items(), strict=False)):
        given = np.asarray(table, dtype=int)
        counts = np.array([[(given[:, r] == c).sum() for c in range(len(names))] for r in range(len(networks))])
        labels = np.where(counts > 0, counts.astype(str), "")
        sns.heatmap(
            counts, ax=axis, cmap="cividis", vmin=0, vmax=len(given), annot=labels, fmt="", cbar=False,
            xticklabels=list(names), yticklabels=list(networks) if i % 2 == 0 else False, linewidths=0.5,
            linecolor="#888888",
        )  # fmt: skip
        for row, network in enumerate(networks):
            box = (names.index(right[network]), row)
            axis.add_patch(plt.Rectangle(box, 1, 1, fill=False, edgecolor=plotting.PALETTE[3], linewidth=2.5))
        axis.tick_params(axis="x", rotation=90, labelsize=9)
        axis.set(title=rule, xlabel="answer")
        axis.grid(False)
    return figure


def places(axis: Axes, shares: Mapping[str, ArrayLike]) -> None:
    """Share of each eigenvector in each family, in the order of the eigenvalues."""
    for i, (label, values) in enumerate(shares.items()):
        y = np.asarray(values, dtype=float)
        axis.plot(
            np.arange(1, len(y) + 1), y, plotting.MARKERS[i] + "-", color=plotting.PALETTE[i], markersize=3.5,
            linewidth=1, label=label,
        )  # fmt: skip
    axis.set(xlabel="eigenvector, largest eigenvalue first", ylabel="share of its energy", ylim=(0, 1.02))
    axis.legend()
