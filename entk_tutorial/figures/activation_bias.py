"""Pictures of the chapter on the activation bias."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from entk_tutorial import plotting
from entk_tutorial.experiments.result import Result


def against_width(result: Result, activations: Sequence[str]) -> Figure:
    """A panel for each class imbalance: bias against width, mean and range over seeds; dashed, its closed form."""
    ratios, widths = result.config["imbalances"], result.config["widths"]
    figure, axes = plotting.panels(len(ratios), width=3.5, height=3.6)
    for axis, ratio in zip(axes, ratios, strict=True):
        for i, name in enumerate(activations):
            runs = np.array([result.values(f"{name}_{ratio:g}_{w}") for w in widths]).T
            x, mean = np.array(widths) * 1.07 ** (i - 1.5), runs.mean(0)
            axis.errorbar(
                x, mean, np.abs(np.stack([runs.min(0), runs.max(0)]) - mean), fmt=plotting.MARKERS[i],
                color=plotting.PALETTE[i], label=name, markersize=5, capsize=2, linewidth=1.2,
            )  # fmt: skip
            axis.axhline(result.mean(f"{name}_{ratio:g}_limit"), color=plotting.PALETTE[i], linestyle="--", linewidth=1)
        axis.set(xscale="log", xlabel="width n", title=f"{ratio:g} : 1", ylim=(-0.6, 1.3))
        axis.set_xticks(widths, [str(w) for w in widths])
        axis.minorticks_off()
    axes[0].set_ylabel("score of unseen words (relative)")
    axes[0].legend(fontsize=8, ncols=2)
    plt.close(figure)
    return figure
