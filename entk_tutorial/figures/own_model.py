"""Pictures of the chapter on a reader's own model: what each layer shows, by method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from entk_tutorial import plotting

METHODS = {
    "kernel": "kernel",
    "pca": "components of activations",
    "back": "components of gradients",
}


def shares_by_layer(
    metrics: Mapping[str, np.ndarray],
    random_weights: Mapping[str, np.ndarray],
    factors: Sequence[str],
    layers: Sequence[str],
    chance: float,
) -> Figure:
    """One panel a factor: its share in the leading directions of each layer, by method, with random weights beside.

    Args:
        metrics: ``"<method>_<factor>_<layer>"`` -> one value a seed.
        random_weights: the same for random weights; of these the kernel and the components of activations are drawn.
        factors: panels.
        layers: layers from input to output.
        chance: share of random directions.
    """
    figure, axes = plotting.panels(len(factors), width=3.0, height=3.3, columns=len(factors))
    x = range(len(layers))
    for axis, factor in zip(axes, factors, strict=True):
        for index, (method, label) in enumerate(METHODS.items()):
            runs = np.stack([metrics[f"{method}_{factor}_{layer}"] for layer in layers], 1)
            plotting.band(axis, x, runs, label, index=index, marker=True)
        for index, (method, label) in enumerate({"kernel": "kernel", "pca": "activations"}.items()):
            runs = np.stack([random_weights[f"{method}_{factor}_{layer}"] for layer in layers], 1)
            axis.plot(
                x, runs.mean(0), linestyle="--", color=plotting.PALETTE[index], linewidth=1.2,
                label=f"{label}, random weights",
            )  # fmt: skip
        plotting.chance_line(axis, chance)
        axis.set_xticks(list(x), [layer.removeprefix("block") for layer in layers])
        axis.set(ylim=(0, 1), xlabel="block", title=factor)
    axes[0].set_ylabel("share of the factor")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    return figure


def shares_by_dimension(
    series: Mapping[str, Sequence[Sequence[float]]],
    dimensions: Sequence[int],
    factors: Sequence[str],
    layers: Sequence[str],
    n: int,
) -> Figure:
    """One panel a layer: share against the number of directions, kernel solid, components of activations dashed.

    Args:
        series: ``"<method>_<factor>_<layer>"`` -> one curve a seed.
        dimensions: numbers of directions.
        factors: lines.
        layers: panels.
        n: number of inputs, for the chance level.
    """
    figure, axes = plotting.panels(len(layers), width=3.1, height=3.0, columns=len(layers))
    for axis, layer in zip(axes, layers, strict=True):
        for index, factor in enumerate(factors):
            for method, style in (("kernel", "-"), ("pca", "--")):
                mean = np.asarray(series[f"{method}_{factor}_{layer}"], dtype=float).mean(0)
                axis.plot(
                    dimensions, mean, style, color=plotting.PALETTE[index],
                    marker=plotting.MARKERS[index] if method == "kernel" else None, markersize=4,
                    label=factor if method == "kernel" else None,
                )  # fmt: skip
        axis.plot(dimensions, [d / (n - 1) for d in dimensions], ":", color="0.5", label="chance")
        axis.set_xscale("log", base=2)
        axis.set_xticks(list(dimensions), [str(d) for d in dimensions])
        axis.set(ylim=(0, 1), xlabel="number of directions", title=layer.replace("block", "block "))
    axes[0].set_ylabel("share of the factor")
    axes[0].legend(fontsize=9)
    return figure
