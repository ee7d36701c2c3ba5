r"""Figures in one style: readable on paper, on a dark page and without colour.

Each function takes numbers (arrays or a ``Result``) and returns a matplotlib figure; none computes anything that is not
already in its arguments. The background is opaque in both themes, so that a figure stays readable wherever it is shown.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import seaborn as sns
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

PALETTE = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#999999")
"""Okabe and Ito's colours, told apart with any colour vision, and by lightness on grey paper."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_THEMES = {
    "light": {"face": "#ffffff", "ink": "#1f2328", "grid": "#d8dee4"},
    "dark": {"face": "#14181d", "ink": "#e6e8eb", "grid": "#3a424b"},
}


def use_style(theme: str = "light") -> None:
    """Set the style of all figures of this session.

    Args:
        theme: ``"light"`` or ``"dark"``.

    Raises:
        ValueError: for any other theme.
    """
    if theme not in _THEMES:
        raise ValueError(f"theme={theme!r} is unknown; expected 'light' or 'dark'.")
    colours = _THEMES[theme]
    plt.rcParams.update(
        {
            "figure.facecolor": colours["face"],
            "axes.facecolor": colours["face"],
            "savefig.facecolor": colours["face"],
            "text.color": colours["ink"],
            "axes.labelcolor": colours["ink"],
            "axes.edgecolor": colours["ink"],
            "xtick.color": colours["ink"],
            "ytick.color": colours["ink"],
            "grid.color": colours["grid"],
            "axes.grid": True,
            "grid.linewidth": 0.6,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.prop_cycle": cycler(color=PALETTE),
            "font.size": 10.5,
            "axes.titlesize": 11,
            "legend.frameon": False,
            "figure.constrained_layout.use": True,
            "figure.dpi": 96,
            "savefig.dpi": 96,
            "lines.linewidth": 1.8,
            "image.cmap": "cividis",
        }
    )


def panels(n: int, *, width: float = 4.2, height: float = 3.2, columns: int = 3) -> tuple[Figure, list[Axes]]:
    """A figure with ``n`` panels in rows of at most ``columns``.

    It is taken out of pyplot's hands: a notebook cell that ends in the figure shows it once, and nothing piles up.
    """
    if n < 1:
        raise ValueError(f"n={n}; a figure needs at least one panel.")
    across = min(n, columns)
    down = -(-n // across)
    figure, axes = plt.subplots(down, across, figsize=(width * across, height * down), squeeze=False)
    flat = list(axes.flat)
    for spare in flat[n:]:
        spare.set_visible(False)
    plt.close(figure)
    return figure, flat[:n]


def band(axis: Axes, x: ArrayLike, runs: ArrayLike, label: str, *, index: int = 0, marker: bool = False) -> None:
    """Mean over runs, with the range from the smallest to the largest run as a band.

    Args:
        axis: where to draw.
        x: (T,) positions.
        runs: (n, T) one row a seed.
        label: for the legend; the number of seeds is added.
        index: which colour and marker.
        marker: draw markers.
    """
    values = np.asarray(runs, dtype=float)
    colour = PALETTE[index % len(PALETTE)]
    style: dict[str, Any] = {"marker": MARKERS[index % len(MARKERS)], "markersize": 4} if marker else {}
    axis.plot(x, values.mean(0), color=colour, label=f"{label} ({len(values)} seeds)", **style)
    axis.fill_between(np.asarray(x, dtype=float), values.min(0), values.max(0), color=colour, alpha=0.18, linewidth=0)


def chance_line(axis: Axes, value: float, label: str = "chance") -> None:
    """A dotted line at the chance level, named."""
    axis.axhline(value, color=plt.rcParams["text.color"], linestyle=":", linewidth=1.2, label=label)


def spectrum(axis: Axes, values: ArrayLike, *, label: str, index: int = 0, edges: Sequence[int] = ()) -> None:
    """Eigenvalues against their index from 1, both logarithmic, with the expected edges marked."""
    y = np.asarray(values, dtype=float)
    axis.plot(np.arange(1, len(y) + 1), y, color=PALETTE[index % len(PALETTE)], label=label)
    for edge in edges:
        axis.axvline(edge + 0.5, color=plt.rcParams["text.color"], linestyle=":", linewidth=1)
    axis.set(xscale="log", yscale="log", xlabel="index i, from 1", ylabel="eigenvalue")


def heatmap(
    axis: Axes,
    values: ArrayLike,
    *,
    x: str,
    y: str,
    label: str,
    limits: tuple[float, float] | None = None,
    diverging: bool = False,
    annotate: bool = False,
    names: Sequence[str] | None = None,
) -> None:
    """A matrix as a picture with a named colour bar."""
    low, high = limits or (None, None)
    sns.heatmap(
        np.asarray(values, dtype=float),
        ax=axis,
        cmap="vlag" if diverging else "cividis",
        vmin=low,
        vmax=high,
        center=0 if diverging else None,
        cbar_kws={"label": label},
        annot=annotate,
        fmt=".2f",
        square=True,
        xticklabels=list(names) if names is not None else "auto",
        yticklabels=list(names) if names is not None else "auto",
    )
    axis.set(xlabel=x, ylabel=y)
    axis.grid(False)


def dots(axis: Axes, groups: Mapping[str, ArrayLike], *, y: str, chance: float | None = None) -> None:
    """One dot a seed for each named group, the mean as a bar through them."""
    for i, (_, values) in enumerate(groups.items()):
        v = np.asarray(values, dtype=float).ravel()
        spread = np.linspace(-0.12, 0.12, len(v)) if len(v) > 1 else np.zeros(1)
        axis.plot(i + spread, v, MARKERS[i % len(MARKERS)], color=PALETTE[i % len(PALETTE)], markersize=5)
        axis.plot([i - 0.25, i + 0.25], [v.mean()] * 2, color=plt.rcParams["text.color"], linewidth=1.5)
    axis.set_xticks(range(len(groups)), list(groups), rotation=25, ha="right")
    axis.set_ylabel(y)
    axis.grid(axis="x", visible=False)
    if chance is not None:
        chance_line(axis, chance)
        axis.legend()


def power_law(axis: Axes, x: ArrayLike, slope: float, anchor: tuple[float, float]) -> None:
    """A dashed guide of the given slope through ``anchor`` on logarithmic axes."""
    positions = np.asarray(x, dtype=float)
    y = anchor[1] * (positions / anchor[0]) ** slope
    axis.plot(positions, y, "--", color=plt.rcParams["text.color"], linewidth=1, label=f"slope {slope:g}")


def table(rows: Mapping[str, Mapping[str, ArrayLike]], *, digits: int = 2) -> Any:
    """A table whose cells are means over seeds and, behind ±, the sample standard deviation.

    Args:
        rows: row name -> column name -> values over seeds (or one value, or a text that is shown as it is).
        digits: decimals.

    Returns:
        An object that a notebook shows as an HTML table and that prints as text. A missing cell is a dash.

    Example:
        >>> print(table({"trained": {"sum": [26.0, 27.0]}, "chance": {"sum": 2.0}}, digits=1))
                 |          sum
        trained  |   26.5 ± 0.7
        chance   |          2.0
    """
    return _Table(rows, digits)


class _Table:
    """Rows of mean ± spread, for the eye and for nbval."""

    def __init__(self, rows: Mapping[str, Mapping[str, ArrayLike]], digits: int) -> None:
        self.columns = list(dict.fromkeys(c for row in rows.values() for c in row))
        self.cells = {name: [_cell(row.get(c), digits) for c in self.columns] for name, row in rows.items()}

    def __str__(self) -> str:
        width = max(len(name) for name in self.cells)
        widths = [max(12, len(c), *(len(r[i]) for r in self.cells.values())) for i, c in enumerate(self.columns)]
        lines = [" " * width + "  | " + "  ".join(c.rjust(w) for c, w in zip(self.columns, widths, strict=True))]
        for name, row in self.cells.items():
            lines.append(name.ljust(width) + "  | " + "  ".join(c.rjust(w) for c, w in zip(row, widths, strict=True)))
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        head = "".join(f'<th scope="col">{c}</th>' for c in ["", *self.columns])
        body = "".join(
            f'<tr><th scope="row">{name}</th>' + "".join(f"<td>{c}</td>" for c in row) + "</tr>"
            for name, row in self.cells.items()
        )
        return f'<table class="table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>'


def _cell(value: ArrayLike | None, digits: int) -> str:
    if value is None or isinstance(value, str):
        return value or "–"
    values = np.asarray(value, dtype=float).ravel()
    mean = f"{values.mean():.{digits}f}"
    return mean if len(values) == 1 else f"{mean} ± {values.std(ddof=1):.{digits}f}"
