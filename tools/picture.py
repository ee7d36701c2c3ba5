"""The picture in the README: the point of the course, drawn by the package from a stored result.

python -m tools.picture     into book/_static/point-light.png and point-dark.png

A picture says in its metadata which numbers it shows, so that a test notices when the stored result has others.
"""

import json
import sys
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from entk_tutorial import plotting
from entk_tutorial.results import load_result

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "book" / "_static"
THEMES = ("light", "dark")
SHOWN = 150


def numbers() -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]], float]:
    """Mean eigenvalue ratios trained and untrained, overlap with the sum of each run, and what chance gives."""
    stored = load_result("modular_mlp")
    ratios = {}
    for name, label in (("spectrum_total", "trained"), ("spectrum_untrained", "never trained")):
        values = np.asarray(stored.series[name], dtype=float)[:, : SHOWN + 1]
        ratios[label] = (values[:, :-1] / values[:, 1:]).mean(0)
    controls = stored.controls
    overlaps = {
        "trained": stored.metrics["window2_sum"],
        "never trained": controls["untrained"]["window2_sum"],
        "random labels": controls["random_labels"]["window2_sum"],
    }
    return ratios, {k: np.asarray(v, dtype=float) for k, v in overlaps.items()}, float(stored.chance["window2_sum"])


def headline() -> dict[str, float]:
    """The numbers that a reader takes from the picture: the height of each cliff, and the mean of each overlap."""
    ratios, overlaps, chance = numbers()
    cliffs = {f"{k}, cliff after {i}": float(v[i - 1]) for k, v in ratios.items() for i in (57, 113)}
    return cliffs | {f"{k}, overlap": float(v.mean()) for k, v in overlaps.items()} | {"chance": chance}


def draw(theme: str) -> Figure:
    """The picture in one theme."""
    plotting.use_style(theme)
    ratios, overlaps, chance = numbers()
    figure, (left, right) = plotting.panels(2, width=4.6, height=2.9)
    for i, (label, values) in enumerate(ratios.items()):
        left.plot(
            np.arange(2, SHOWN + 1), values[1:], label=label, color=plotting.PALETTE[i], linewidth=1.4, zorder=4 - i
        )
    left.text(61, 3, "made by the inputs,\ntrained or not", fontsize=10)
    left.text(113, 1.55, "learned", fontsize=10, ha="center")
    left.set(xlabel="index i of the eigenvalue, from 1", ylabel="eigenvalue i / eigenvalue i + 1", title="Two cliffs")
    left.legend(loc="upper left", fontsize=9)
    plotting.dots(right, overlaps, y="overlap with the sum, of 28", chance=chance)
    right.set(title="Eigenvectors between the cliffs", ylim=(0, 29))
    return figure


def main() -> int:
    """Draw and store both pictures."""
    for theme in THEMES:
        path = FOLDER / f"point-{theme}.png"
        draw(theme).savefig(path, dpi=110, metadata={"Description": json.dumps(headline()), "Software": None})
        print(f"{path.relative_to(ROOT)}: {path.stat().st_size / 1e3:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
