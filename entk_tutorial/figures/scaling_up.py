"""Pictures of the chapter on scaling up: spectra with their cliffs, cliffs against p, grokking, costs, subsets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from entk_tutorial import plotting


def spectra(axis: Axes, rows: Mapping[str, ArrayLike], edges: Sequence[int]) -> None:
    """Eigenvalues over the first one behind the constant mode, against the index, with the expected cliffs.

    Args:
        axis: where to draw.
        rows: name -> eigenvalues, leading first.
        edges: indices, counted from 1, behind which a cliff is expected.
    """
    for i, (name, values) in enumerate(rows.items()):
        y = np.asarray(values, dtype=float)
        plotting.spectrum(axis, y / y[1], label=name, index=i, edges=edges if i == 0 else ())
    axis.set(xscale="linear", ylabel="eigenvalue / second eigenvalue", ylim=(None, 1.6))
    axis.legend()


def against_modulus(
    axis: Axes, moduli: Sequence[int], runs: Sequence[ArrayLike], label: str, *, index: int = 0
) -> None:
    """A number against p: one small marker a seed, a line through the means; seeds may differ from p to p.

    Args:
        axis: where to draw.
        moduli: the values of p.
        runs: for each of them the values over seeds.
        label: for the legend.
        index: which colour and marker.
    """
    colour, marker = plotting.PALETTE[index], plotting.MARKERS[index]
    means = [float(np.mean(np.asarray(v, dtype=float))) for v in runs]
    axis.plot(moduli, means, marker=marker, markersize=6, color=colour, label=label)
    for p, values in zip(moduli, runs, strict=True):
        seeds = np.asarray(values, dtype=float).ravel()
        axis.plot([p] * len(seeds), seeds, marker, markersize=3, color=colour, alpha=0.5, linestyle="none")
    axis.set(xlabel="modulus p")


def learning(axis: Axes, runs: Mapping[str, tuple[Sequence[Sequence[float]], Sequence[Sequence[float]]]]) -> None:
    """Held-out accuracy against the epoch: a thin line a seed, runs of different length.

    Args:
        axis: where to draw.
        runs: name -> (epochs of each seed, accuracies of each seed).
    """
    for i, (name, (epochs, values)) in enumerate(runs.items()):
        for j, (x, y) in enumerate(zip(epochs, values, strict=True)):
            axis.plot(
                x,
                y,
                color=plotting.PALETTE[i],
                linestyle=("-", "--", ":")[i % 3],
                linewidth=1.4,
                label=f"{name} ({len(epochs)} {'seed' if len(epochs) == 1 else 'seeds'})" if j == 0 else None,
            )
    axis.set(xlabel="epoch", ylabel="held-out accuracy")
    axis.legend(loc="center right")


def costs(axis: Axes, sizes: Sequence[int], counted: Mapping[str, Sequence[float]], unit: str) -> None:
    """Counted costs against p on logarithmic axes, one line a way."""
    for i, (name, values) in enumerate(counted.items()):
        axis.plot(sizes, values, marker=plotting.MARKERS[i], markersize=4, color=plotting.PALETTE[i], label=name)
    axis.set(xscale="log", yscale="log", xlabel="modulus p", ylabel=unit)
    axis.set_xticks(list(sizes), [str(s) for s in sizes])
    axis.minorticks_off()


def guide(axis: Axes, value: float, label: str) -> None:
    """A dotted horizontal line with a name at its right end."""
    ink = plt.rcParams["text.color"]
    axis.axhline(value, color=ink, linestyle=":", linewidth=1)
    axis.annotate(label, (0.99, value), xycoords=("axes fraction", "data"), ha="right", va="bottom", fontsize=8.5)
