"""Pictures of the chapter on language models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entk_tutorial import plotting
from entk_tutorial.experiments.result import Result


def published_figure(result: Result, model: str = "topics_transformer", steps: str = "transformer") -> Figure:
    """Three panels: top and bottom targets with true targets and with shuffled ones, and matched pairs of both.

    Args:
        result: of ``language_model``.
        model: prefix of its series.
        steps: name of the series that holds the recorded steps.
    """
    figure, (true, dealt, right) = plotting.panels(3, width=4.0, height=3.7)
    x = np.array(result.series[steps][0])
    curves = {
        key: np.array(result.series[f"{model}_{key}"])
        for kind in ("top", "bottom", "matched")
        for key in (kind, f"{kind}_shuffled")
    }
    for axis, suffix, title in ((true, "", "true targets"), (dealt, "_shuffled", "targets shuffled")):
        for i, kind in enumerate(("top", "bottom")):
            runs = curves[f"{kind}{suffix}"]  # the control may have stopped early
            plotting.band(axis, x[: runs.shape[1]], runs, f"{kind} 10", index=i, marker=True)
        axis.set(xscale="log", xlabel="step", title=title, xlim=(0.85 * x[0], 1.2 * x[-1]))
    low = min(float(curves[f"bottom{s}"].min()) for s in ("", "_shuffled"))
    high = max(float(curves[f"top{s}"].max()) for s in ("", "_shuffled"))
    for axis in (true, dealt):
        axis.set_ylim(low - 0.4, high + 0.4)
    for i, (key, label) in enumerate((("matched", "true"), ("matched_shuffled", "shuffled"))):
        plotting.band(right, x[: curves[key].shape[1]], curves[key], label, index=2 + i, marker=True)
    plotting.chance_line(right, 0.5)
    right.set(xscale="log", xlabel="step", ylabel="share in the right order", ylim=(0.35, 1.0), title="matched pairs")
    true.set_ylabel("label score, row mean taken off")
    for axis in (true, right):
        axis.legend(fontsize=8, loc="upper left")
    return figure


def by_width(result: Result, text: str = "topics") -> Figure:
    """First step of MLPs against width: correlation with the closed form, with counts, and with the word's own part."""
    names = ("relu", "gelu", "tanh")
    widths = result.config["widths"]
    figure, axes = plotting.panels(len(names), width=3.7, height=3.5)
    kinds = {"velocity": "closed form", "counts": "centred counts", "own": "counts, prior taken out"}
    for axis, name in zip(axes, names, strict=True):
        for i, (kind, label) in enumerate(kinds.items()):
            runs = np.array([result.values(f"{text}_{name}_{w}_{kind}") for w in widths]).T
            plotting.band(axis, widths, runs, label, index=i, marker=True)
        axis.set(xscale="log", xlabel="width n", title=name, ylim=(-0.02, 1.04))
        axis.set_xticks(widths, [str(w) for w in widths])
        axis.minorticks_off()
    axes[0].set_ylabel("correlation")
    axes[0].legend(fontsize=8, loc="center", bbox_to_anchor=(0.5, 0.7))
    return figure


def bias_along(result: Result, conditions: Mapping[str, str], activations: Sequence[str]) -> Figure:
    """A row for the prior known after unseen tokens, a row for the held-out loss less GELU's; a column a condition.

    Args:
        result: of ``language_bias``.
        conditions: name in the result -> title.
        activations: which to draw, where a condition has them.
    """
    figure, axes = plotting.panels(2 * len(conditions), width=4.6, height=3.0, columns=len(conditions))
    x = result.series["record"][0]
    above, below = axes[: len(conditions)], axes[len(conditions) :]
    for top, bottom, (condition, title) in zip(above, below, conditions.items(), strict=True):
        gelu = np.array(result.series[f"{condition}_gelu_loss"])
        for i, name in enumerate(activations):
            if f"{condition}_{name}_loss" in result.series:
                label = name.replace("_", ", ")
                plotting.band(top, x, result.series[f"{condition}_{name}_prior"], label, index=i, marker=True)
                if name != "gelu":
                    difference = np.array(result.series[f"{condition}_{name}_loss"]) - gelu
                    plotting.band(bottom, x, difference, label, index=i, marker=True)
        plotting.chance_line(top, 1.0, "the prior itself")
        plotting.chance_line(bottom, 0.0, "as GELU")
        top.set(xscale="log", title=title)
        bottom.set(xscale="log", xlabel="step")
        for axis in (top, bottom):
            _plain_steps(axis, x)
    above[0].set_ylabel("share of the prior known")
    below[0].set_ylabel("held-out loss − GELU's (nats)")
    above[-1].legend(fontsize=8, loc="lower right")
    return figure


def _plain_steps(axis: Axes, steps: Sequence[float]) -> None:
    axis.set_xticks(list(steps), [f"{s:g}" for s in steps])
    axis.minorticks_off()
