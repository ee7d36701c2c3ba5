"""Figures of the chapter on superposition: directions in a plane, W^T W, and counts beside their controls."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from entk_tutorial.plotting import MARKERS, PALETTE, heatmap


def plane(axis: Axes, weight: ArrayLike, *, title: str = "") -> None:
    """Columns of a weight with two rows as arrows from the origin, one a feature.

    Args:
        axis: where to draw.
        weight: (2, n).
        title: above the panel.

    Raises:
        ValueError: a weight that does not have two rows.
    """
    w = np.asarray(weight, dtype=float)
    if w.ndim != 2 or w.shape[0] != 2:
        raise ValueError(f"weight has shape {w.shape}; two hidden dimensions (2, n) are drawn in a plane.")
    for j, (a, b) in enumerate(w.T):
        axis.plot([0, a], [0, b], color=PALETTE[j % len(PALETTE)])
        axis.plot(a, b, MARKERS[j % len(MARKERS)], color=PALETTE[j % len(PALETTE)], markersize=6)
    reach = 1.15 * max(1.0, float(np.linalg.norm(w, axis=0).max()))
    axis.set(xlim=(-reach, reach), ylim=(-reach, reach), aspect="equal", title=title)
    axis.set(xlabel="hidden 1", ylabel="hidden 2")


def written(axis: Axes, weight: ArrayLike, *, title: str = "") -> None:
    """W^T W as a picture: what each feature (column) writes into each output (row)."""
    w = np.asarray(weight, dtype=float)
    heatmap(axis, w.T @ w, x="feature j", y="output i", label="entry of $W^T W$", limits=(-1.2, 1.2), diverging=True)
    ticks = np.arange(0, w.shape[1], 10)
    axis.set_xticks(ticks + 0.5, ticks, rotation=0)
    axis.set_yticks(ticks + 0.5, ticks, rotation=0)
    axis.set_title(title)


def counts(
    axis: Axes,
    groups: Mapping[str, Mapping[str, ArrayLike]],
    *,
    y: str,
    marks: Mapping[str, float] | None = None,
    marks_label: str = "",
    legend: bool = True,
) -> None:
    """Dots a seed for each setting and series, series side by side, the mean as a bar; a short line marks a reference.

    Args:
        axis: where to draw.
        groups: series name -> setting -> values over seeds.
        y: name of the vertical axis.
        marks: setting -> reference value, such as the number of represented features.
        marks_label: its name in the legend.
        legend: draw one.
    """
    settings: Sequence[str] = list(dict.fromkeys(s for values in groups.values() for s in values))
    ink = plt.rcParams["text.color"]
    width = 0.8 / max(1, len(groups))
    for i, (name, values) in enumerate(groups.items()):
        for k, setting in enumerate(settings):
            v = np.asarray(values[setting], dtype=float).ravel()
            centre = k + (i - (len(groups) - 1) / 2) * width
            x = centre + np.linspace(-0.3, 0.3, len(v)) * width
            label = name if k == 0 else None
            axis.plot(x, v, MARKERS[i], color=PALETTE[i], markersize=4.5, linestyle="none", label=label)
            axis.plot([centre - 0.4 * width, centre + 0.4 * width], [v.mean()] * 2, color=PALETTE[i], linewidth=1.5)
    for k, setting in enumerate(settings if marks else ()):
        label = marks_label if k == 0 else None
        axis.plot([k - 0.42, k + 0.42], [dict(marks or {})[setting]] * 2, ":", color=ink, linewidth=1.2, label=label)
    axis.set_xticks(range(len(settings)), settings)
    axis.set_ylabel(y)
    axis.grid(axis="x", visible=False)
    if legend:
        axis.legend(fontsize=8.5)
