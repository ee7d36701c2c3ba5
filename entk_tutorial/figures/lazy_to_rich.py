"""Pictures of the chapter on lazy and rich training: numbers against the output scale, waits, learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entk_tutorial import plotting


def by_scale(table: Mapping[str, ArrayLike], name: str, scales: Sequence[float]) -> np.ndarray:
    """(S, A): one row a seed, one column a scale, of the metrics ``<name>_<scale>``.

    Example:
        >>> by_scale({"gap_0.3": [1.0, 2.0], "gap_10": [3.0, 4.0]}, "gap", [0.3, 10.0]).tolist()
        [[1.0, 3.0], [2.0, 4.0]]
    """
    return np.array([np.asarray(table[f"{name}_{scale:g}"], dtype=float) for scale in scales]).T


def against_scale(
    axis: Axes, scales: Sequence[float], runs: ArrayLike, label: str, *, index: int = 0, dashed: bool = False
) -> None:
    """Mean over seeds against the output scale, on a logarithmic axis, with the range over seeds as a bar.

    Args:
        axis: where to draw.
        scales: (A,) output scales.
        runs: (S, A) one row a seed.
        label: for the legend.
        index: which colour and marker.
        dashed: for a second optimiser, say.
    """
    values = np.asarray(runs, dtype=float)
    mean = values.mean(0)
    axis.errorbar(
        scales, mean, np.abs(np.stack([values.min(0), values.max(0)]) - mean), label=label,
        fmt=plotting.MARKERS[index] + ("--" if dashed else "-"), color=plotting.PALETTE[index], markersize=5,
        linewidth=1.4, capsize=2,
    )  # fmt: skip
    axis.set(xscale="log", xlabel="output scale α")


def waits(axis: Axes, scales: Sequence[float], gaps: ArrayLike, learned: ArrayLike) -> None:
    """Time to generalise over time to fit, one mark a seed; an arrow is a lower bound, where it never came.

    Args:
        axis: where to draw.
        scales: (A,) output scales.
        gaps: (S, A) ratios of the two times.
        learned: (S, A) 1 where the held-out pairs were learned, 0 where the run ended before.
    """
    ratio, came = np.asarray(gaps, dtype=float), np.asarray(learned, dtype=float) > 0.5
    x = np.broadcast_to(np.asarray(scales, dtype=float), ratio.shape)
    axis.plot(x[came], ratio[came], "o", color=plotting.PALETTE[0], label="generalised", markersize=5)
    axis.plot(x[~came], ratio[~came], "^", color=plotting.PALETTE[1], label="never did: at least", markersize=7)
    axis.set(xscale="log", yscale="log", xlabel="output scale α", ylabel="time to generalise / time to fit")
    axis.legend()


def learning_curves(
    scales: Sequence[float],
    times: Sequence[Sequence[ArrayLike]],
    train: Sequence[Sequence[ArrayLike]],
    held_out: Sequence[Sequence[ArrayLike]],
    *,
    shown: Sequence[float],
    chance: float,
) -> Figure:
    """Accuracy on training and held-out pairs against flow time, a panel a scale, a thin line a seed.

    Args:
        scales: (A,) all output scales of the run.
        times: seed -> scale -> times of the records.
        train: seed -> scale -> accuracy on training pairs.
        held_out: seed -> scale -> accuracy on held-out pairs.
        shown: the scales to draw.
        chance: chance level of the accuracy.
    """
    figure, axes = plotting.panels(len(shown), width=2.9, height=2.9, columns=4)
    for axis, scale in zip(axes, shown, strict=True):
        a = list(scales).index(scale)
        for seed, rows in enumerate(times):
            t = np.asarray(rows[a], dtype=float)[1:]
            for i, (curves, label) in enumerate(((train, "training pairs"), (held_out, "held-out pairs"))):
                axis.plot(
                    t, np.asarray(curves[seed][a], dtype=float)[1:], color=plotting.PALETTE[i], linewidth=1,
                    linestyle=("-", "--")[i], label=label if seed == 0 else None,
                )  # fmt: skip
        axis.axhline(chance, color=plt.rcParams["text.color"], linestyle=":", linewidth=1)
        axis.set(xscale="log", xlabel="time / τ", title=f"α = {scale:g}", ylim=(-0.03, 1.05))
    axes[0].set_ylabel("accuracy")
    axes[0].legend(fontsize=8)
    return figure
