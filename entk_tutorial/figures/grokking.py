"""Pictures of the chapter on grokking: lead times beside false alarms, stills of the film, curves and their range."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from entk_tutorial import plotting


def lead_chart(
    leads: Mapping[str, ArrayLike],
    alarms: Mapping[str, Sequence[str]],
    columns: Sequence[str],
    *,
    kernel: Mapping[str, bool],
    limits: tuple[float, float] = (-75, 90),
) -> Figure:
    """Lead time of each measure over accuracy, a dot a seed, with its false alarms written beside it.

    Args:
        leads: label -> one lead in epochs a seed; rows are sorted by the median. A lead outside ``limits`` is drawn
            as an arrow at the edge.
        alarms: label -> one text a column, e.g. "2/20".
        columns: what the texts count.
        kernel: label -> whether the measure is read off the kernel; decides colour and marker.
        limits: of the axis.
    """
    order = sorted(leads, key=lambda name: float(np.median(np.asarray(leads[name], dtype=float))))
    figure, (axis,) = plotting.panels(1, width=10.5, height=0.32 * len(order) + 1.3)
    for row, name in enumerate(order):
        values = np.asarray(leads[name], dtype=float)
        i = 0 if kernel[name] else 1
        inside = (values > limits[0]) & (values < limits[1])
        spread = np.linspace(-0.22, 0.22, len(values))
        axis.plot(
            values[inside],
            row + spread[inside],
            plotting.MARKERS[i],
            color=plotting.PALETTE[i],
            markersize=3,
            alpha=0.75,
        )
        if not inside.all():
            edge = limits[0] + 2 if values[~inside].max() <= limits[0] else limits[1] - 2
            axis.text(edge, row, f"← {int((~inside).sum())}", ha="left", va="center", fontsize=8.5)
        middle = float(np.median(values))
        if limits[0] < middle < limits[1]:
            axis.plot([middle] * 2, [row - 0.36, row + 0.36], color=axis.xaxis.label.get_color(), linewidth=2)
        for column, text in enumerate(alarms[name]):
            axis.text(
                1.06 + 0.125 * column, row, text, transform=axis.get_yaxis_transform(), ha="center", va="center",
                fontsize=8.5,
            )  # fmt: skip
    for column, text in enumerate(columns):
        axis.text(
            1.06 + 0.125 * column, len(order) - 0.2, text, transform=axis.get_yaxis_transform(), ha="center",
            va="bottom", fontsize=8.5,
        )  # fmt: skip
    axis.axvline(0, color=axis.xaxis.label.get_color(), linewidth=1, linestyle=":")
    axis.set_yticks(range(len(order)), order, fontsize=9)
    axis.set(xlim=limits, ylim=(-0.7, len(order) - 0.3), xlabel="lead over held-out accuracy passing one half, epochs")
    axis.grid(axis="y", visible=False)
    for i, label in enumerate(("read off the kernel", "no kernel needed")):
        axis.plot([], [], plotting.MARKERS[i], color=plotting.PALETTE[i], markersize=4, label=label)
    axis.legend(loc="lower left", bbox_to_anchor=(-0.02, 1.0), ncols=2, fontsize=9, borderaxespad=0)
    return figure


def stills(
    epochs: Sequence[int],
    spectrum: ArrayLike,
    shares: ArrayLike,
    at: Sequence[int],
    *,
    edges: Sequence[int],
) -> Figure:
    """Frames of the moving figure side by side: spectrum above, shares of the families below.

    Args:
        epochs: (T,) of the frames.
        spectrum: (T, L) eigenvalues.
        shares: (T, 4, L) bytes.
        at: the epochs to show.
        edges: indices, from 1, after which a cliff is expected.

    Raises:
        ValueError: an epoch that was not recorded.
    """
    missing = [e for e in at if e not in list(epochs)]
    if missing:
        raise ValueError(f"epochs {missing} were not recorded; there are {list(epochs)}.")
    values, parts = np.asarray(spectrum, dtype=float), np.asarray(shares)
    figure, axes = plotting.panels(2 * len(at), width=2.9, height=2.1, columns=len(at))
    lowest = float((values[:, -1] / values[:, 1]).min())
    for column, epoch in enumerate(at):
        i = list(epochs).index(epoch)
        top, bottom = axes[column], axes[column + len(at)]
        index = np.arange(2, values.shape[1] + 1)
        top.plot(index, values[i, 1:] / values[i, 1], ".", markersize=3, color=plotting.PALETTE[0])
        top.set(yscale="log", ylim=(0.8 * lowest, 1.3), title=f"epoch {epoch}", xlim=(0.5, values.shape[1] + 0.5))
        for edge in edges:
            for axis in (top, bottom):
                axis.axvline(edge + 0.5, color=axis.xaxis.label.get_color(), linestyle=":", linewidth=0.8)
        cells = parts[i] / 255
        cells[:, 0] = 0
        image = bottom.imshow(
            cells, aspect="auto", vmin=0, vmax=1, cmap="cividis", extent=(0.5, values.shape[1] + 0.5, 4, 0),
            interpolation="nearest",
        )  # fmt: skip
        bottom.grid(False)
        bottom.set_yticks([0.5, 1.5, 2.5, 3.5], ["n", "m", "n + m", "n − m"] if column == 0 else [""] * 4)
        bottom.set_xlabel("index, from 1")
    axes[0].set_ylabel("eigenvalue over the second")
    figure.colorbar(image, ax=axes[len(at) :], label="share", shrink=0.9)
    return figure


def against_controls(
    axis: Axes,
    epochs: ArrayLike,
    task: ArrayLike,
    controls: ArrayLike,
    level: tuple[float, float],
    *,
    label: str,
    near: ArrayLike | None = None,
) -> None:
    """One measure on the runs that generalise and on those that do not, with the calibrated range shaded.

    Args:
        axis: where to draw.
        epochs: (T,).
        task: (S, T) the runs that generalise.
        controls: (R, T) those that do not.
        level: the calibrated range.
        label: of the measure.
        near: (S, T) the near misses.
    """
    axis.axhspan(*level, color=plotting.PALETTE[6], alpha=0.2, linewidth=0, label="calibrated range")
    groups = [("generalises", task, 0), ("does not", controls, 1)] + (
        [("near miss", near, 2)] if near is not None else []
    )
    for name, runs, i in groups:
        lines = axis.plot(
            epochs, np.asarray(runs, dtype=float).T, color=plotting.PALETTE[i], linewidth=0.7, alpha=0.7,
            linestyle=("-", "--", ":")[i],
        )  # fmt: skip
        lines[0].set_label(name)
    axis.set(title=label, xlabel="epoch")


def lead_table(
    leads: Mapping[str, ArrayLike], alarmed: Mapping[str, ArrayLike], false: Mapping[str, Mapping[str, ArrayLike]]
) -> Any:
    """Lead times and false alarms in words: median, range, how often there was an alarm at all, and where it was false.

    Args:
        leads: label -> one lead a seed; rows come in the order of the medians, longest first.
        alarmed: label -> one 0 or 1 a seed. Where it is 0 there is no lead: median and range are of the others.
        false: name of a kind of control -> label -> one 0 or 1 a seed.

    Example:
        >>> print(lead_table({"x": [40, 38, -9]}, {"x": [1, 1, 0]}, {"30 %": {"x": [0, 0, 1]}}))
           |  median lead         range  alarmed, of 3          30 %
        x  |           39      38 to 40              2             1
    """
    order = sorted(leads, key=lambda name: -float(np.median(np.asarray(leads[name], dtype=float))))
    rows: dict[str, dict[str, str]] = {}
    for name in order:
        on = np.asarray(alarmed[name], dtype=float) > 0
        real = np.asarray(leads[name], dtype=float)[on]
        rows[name] = {
            "median lead": f"{np.median(real):.0f}" if on.any() else "–",
            "range": f"{real.min():.0f} to {real.max():.0f}" if on.any() else "–",
            f"alarmed, of {len(on)}": f"{on.sum()}",
        }
        rows[name] |= {kind: f"{int(np.asarray(values[name]).sum())}" for kind, values in false.items()}
    return plotting.table(rows)
