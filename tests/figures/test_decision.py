"""Which documents lie in the shaded wedge, and what the curves are drawn from."""

import numpy as np

from entk_tutorial.experiments.decision_parts import flips
from entk_tutorial.figures.decision import called_positive, words_against_pairs


def test_the_shaded_wedge_holds_the_documents_that_flip():
    words, pairs = np.array([1.0, -1.0, 1.0, -0.5]), np.array([-2.0, 0.5, 0.5, 2.0])
    figure = words_against_pairs({"MV": (words, pairs)}, {"plain": [0, 1], "negated": [2, 3]})
    axis = figure.axes[0]
    shade = [path for area in axis.collections for path in area.get_paths()]
    inside = [any(path.contains_point(point) for path in shade) for point in zip(words, pairs, strict=True)]
    assert inside == flips(words + pairs, pairs).tolist() == [True, False, False, True]
    marked = {line.get_label(): np.asarray(line.get_xdata()).tolist() for line in axis.lines}
    assert marked["plain"] == [1.0, -1.0] and marked["negated"] == [1.0, -0.5]


def test_curves_show_the_mean_over_seeds():
    figure = called_positive([8, 16], {"relu": np.array([[0.5, 0.9], [0.7, 1.0]])})
    drawn = next(line for line in figure.axes[0].lines if line.get_label().startswith("relu"))
    assert np.allclose(drawn.get_ydata(), [0.6, 0.95])
    assert "2 seeds" in drawn.get_label()
