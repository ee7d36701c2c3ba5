"""Figures of the chapter on text eigenspaces: what they draw, and what they refuse."""

import numpy as np
import pytest

from entk_tutorial import plotting
from entk_tutorial.figures import text_eigenspaces as figures


def test_every_seed_is_a_dot_beside_its_family():
    _, (axis,) = plotting.panels(1)
    figures.by_state(axis, {"before": {"a": [0.1, 0.2], "b": [0.3]}, "after": {"b": [0.9]}}, y="share", chance=0.05)
    before, after, chance = axis.lines
    assert list(before.get_ydata()) == [0.1, 0.2, 0.3] and list(after.get_ydata()) == [0.9]
    assert np.allclose(before.get_xdata(), np.array([0, 0, 1]) - 0.175) and np.allclose(after.get_xdata(), [1.175])
    assert list(chance.get_ydata()) == [0.05, 0.05]
    assert [t.get_text() for t in axis.get_xticklabels()] == ["a", "b"]


def test_shares_are_stacked():
    _, (axis,) = plotting.panels(1)
    figures.share_bars(axis, {"one": {"words": 0.25, "pairs": 0.75}, "two": {"words": 1.0, "pairs": 0.0}})
    assert [(b.get_x(), b.get_width()) for b in axis.patches] == [(0, 0.25), (0, 1.0), (0.25, 0.75), (1.0, 0.0)]
    with pytest.raises(ValueError, match="in that order"):
        figures.share_bars(axis, {"one": {"words": 1.0}, "two": {"pairs": 1.0}})
