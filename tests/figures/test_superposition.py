"""Figures of the chapter on superposition: they show the numbers that they are given, and leave nothing open."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from entk_tutorial import plotting
from entk_tutorial.figures import superposition as figures


def test_plane_draws_one_arrow_a_feature():
    _, (axis,) = plotting.panels(1)
    figures.plane(axis, [[1.0, 0.0, 2.0], [0.0, 1.0, 0.0]])
    tips = [line.get_xydata()[-1].tolist() for line in axis.lines[::2]]
    assert tips == [[1.0, 0.0], [0.0, 1.0], [2.0, 0.0]]
    assert axis.get_xlim()[1] > 2
    with pytest.raises(ValueError, match="two hidden dimensions"):
        figures.plane(axis, np.ones((3, 5)))


@pytest.mark.filterwarnings("ignore:The set_bad function:PendingDeprecationWarning")  # seaborn's, not ours to mend
def test_written_shows_the_product():
    _, (axis,) = plotting.panels(1)
    w = np.array([[1.0, -1.0, 0.5]])
    figures.written(axis, w)
    np.testing.assert_allclose(axis.collections[0].get_array().reshape(3, 3), w.T @ w)


def test_counts_show_every_seed_and_the_mark():
    _, (axis,) = plotting.panels(1)
    figures.counts(axis, {"a": {"s": [1.0, 3.0]}, "b": {"s": [5.0]}}, y="n", marks={"s": 4.0}, marks_label="known")
    heights = [sorted(set(np.atleast_1d(line.get_ydata()).tolist())) for line in axis.lines]
    assert heights == [[1.0, 3.0], [2.0], [5.0], [5.0], [4.0]]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["a", "b", "known"]
    assert not plt.get_fignums()
