"""Figures of the chapter on the Transformer: spectra of embeddings, runs one by one, functions of two digits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entk_tutorial import plotting

INDIGO_TO_YELLOW = "cividis"
"""Runs from dark to light in any colour vision, and on both themes."""


def embedding_spectra(axis: Axes, power: ArrayLike, keys: Sequence[Sequence[int]], seeds: Sequence[int]) -> None:
    """Share of each embedding's variation in each frequency, one row a seed; key frequencies carry a dot.

    Args:
        axis: where to draw.
        power: (S, F) shares, frequency 1 first.
        keys: key frequencies of each seed.
        seeds: names of the rows.

    Raises:
        ValueError: if the three do not have one entry a seed.
    """
    values = np.asarray(power, dtype=float)
    if not len(values) == len(keys) == len(seeds):
        raise ValueError(f"{len(values)} spectra, {len(keys)} lists of keys, {len(seeds)} seeds: one a seed each.")
    image = axis.imshow(
        values, cmap=INDIGO_TO_YELLOW, vmin=0, aspect="auto", extent=(0.5, values.shape[1] + 0.5, len(values), 0)
    )
    for row, found in enumerate(keys):
        axis.plot(found, [row + 0.5] * len(found), "o", color="white", markeredgecolor="black", markersize=5)
    axis.set_yticks(np.arange(len(seeds)) + 0.5, [str(seed) for seed in seeds])
    axis.set_xticks(range(1, values.shape[1] + 1, 2))
    axis.set(xlabel="frequency k", ylabel="seed")
    axis.grid(False)
    axis.figure.colorbar(image, ax=axis, label="share of the embedding")


def runs(axis: Axes, x: ArrayLike, groups: Mapping[str, ArrayLike]) -> None:
    """One thin line a run, coloured and dashed by group; an empty group is left out.

    Args:
        axis: where to draw.
        x: (T,) positions.
        groups: label -> (n, T) curves.
    """
    dashes = ("-", "--", ":", "-.")
    for i, (label, curves) in enumerate(groups.items()):
        for j, curve in enumerate(np.asarray(curves, dtype=float)):
            style: dict[str, Any] = {
                "color": plotting.PALETTE[i],
                "linestyle": dashes[i % 4],
                "linewidth": 1.3,
                "alpha": 0.9,
            }
            count = len(np.asarray(curves))
            axis.plot(x, curve, label=f"{label} ({count})" if j == 0 else None, **style)
    axis.legend()


def digit_grids(
    grids: Mapping[str, ArrayLike],
    *,
    label: str,
    columns: int = 4,
    width: float = 2.6,
    limits: tuple[float, float] | None = None,
) -> Figure:
    """Functions of two digits as square pictures, all on one colour scale.

    Args:
        grids: title -> (p, p) values, or (p*p,) in the order of ``modular_pairs``; row n, column m.
        label: what the colour is.
        columns: pictures in a row.
        width: of one picture.
        limits: of the colours; None for the range of all.

    Raises:
        ValueError: no picture, or values that fill no square.
    """
    if not grids:
        raise ValueError("no picture was given.")
    squares = {title: np.asarray(values, dtype=float) for title, values in grids.items()}
    sides = {title: round(values.size**0.5) for title, values in squares.items()}
    wrong = [title for title, side in sides.items() if side * side != squares[title].size]
    if wrong:
        raise ValueError(f"{', '.join(wrong)}: {squares[wrong[0]].size} values fill no square of digits.")
    low, high = limits or (min(v.min() for v in squares.values()), max(v.max() for v in squares.values()))
    figure, axes = plotting.panels(len(squares), width=width, height=width + 0.15, columns=columns)
    for axis, (title, values) in zip(axes, squares.items(), strict=True):
        square = values.reshape(sides[title], sides[title])
        image = axis.imshow(square, cmap=INDIGO_TO_YELLOW, vmin=low, vmax=high)
        axis.set_title(title, fontsize=9.5)
        axis.grid(False)
        axis.set(xlabel="m", ylabel="n")
    figure.colorbar(image, ax=axes, label=label, shrink=0.8)
    return figure


def tensor_windows(axis: Axes, shares: Mapping[str, Mapping[str, float]], *, title: str) -> None:
    """A table as a heat map: weight tensors down, windows and families across, shares written in.

    Args:
        axis: where to draw.
        shares: tensor -> column -> share in [0, 1].
        title: above it.
    """
    rows, columns = list(shares), list(next(iter(shares.values())))
    values = np.array([[shares[row][column] for column in columns] for row in rows])
    axis.imshow(values, cmap=INDIGO_TO_YELLOW, vmin=0, vmax=1, aspect="auto")
    for i, j in np.ndindex(*values.shape):
        colour = "black" if values[i, j] > 0.55 else "white"
        axis.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", color=colour, fontsize=8.5)
    axis.set_xticks(range(len(columns)), columns, fontsize=8.5)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_title(title)
    axis.grid(False)
    for spine in axis.spines.values():
        spine.set_visible(False)


def first_eigenvalues(axis: Axes, spectra: Mapping[str, ArrayLike], edges: Sequence[int]) -> None:
    """Leading eigenvalues as shares of the first, with a dotted line behind each edge (counted from 1)."""
    for i, (label, values) in enumerate(spectra.items()):
        y = np.asarray(values, dtype=float)
        mark = plotting.MARKERS[i]
        axis.plot(np.arange(1, len(y) + 1), y / y[0], mark, color=plotting.PALETTE[i], markersize=4.5, label=label)
    for edge in edges:
        axis.axvline(edge + 0.5, color=plt.rcParams["text.color"], linestyle=":", linewidth=1)
    axis.set(yscale="log", xlabel="index i, from 1", ylabel="eigenvalue i / eigenvalue 1")
    axis.legend()
