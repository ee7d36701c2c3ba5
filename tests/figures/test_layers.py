"""Figures of the chapter on layers: what they draw, and what they refuse."""

import numpy as np
import pytest

from entk_tutorial import plotting
from entk_tutorial.figures import layers as figures


def test_named_families_and_placebos_are_told_apart():
    _, (axis,) = plotting.panels(1)
    x, y = np.arange(8.0).reshape(2, 4), np.eye(2, 4)
    figures.use_against_move(axis, x, y, ["a", "b", "c", "d"], {"b": "used", "d": "not"})
    placebo, used, unused = axis.lines
    assert list(placebo.get_xdata()) == [0, 2, 4, 6]
    assert list(used.get_xdata()) == [1, 5] and list(used.get_ydata()) == [0, 1]
    assert list(unused.get_xdata()) == [3, 7]
    assert [t.get_text() for t in axis.get_legend().get_texts()] == ["2 placebos", "used", "not"]
    with pytest.raises(ValueError, match="one column a family"):
        figures.use_against_move(axis, x, y, ["a"], {})
    with pytest.raises(ValueError, match="among them"):
        figures.use_against_move(axis, x, y, ["a", "b", "c", "d"], {"e": "?"})


def test_shares_are_written_in_their_fields():
    _, (axis,) = plotting.panels(1)
    figures.shares_by_layer(axis, {"one": {"sum": 0.25, "axes": 0.75}, "two": {"axes": 0.5, "sum": 0.125}})
    written = {(int(t.get_position()[1]), int(t.get_position()[0])): t.get_text() for t in axis.texts}
    assert written == {(0, 0): "0.25", (0, 1): "0.75", (1, 0): "0.12", (1, 1): "0.50"}


def test_groups_stand_side_by_side_over_their_layer():
    _, (axis,) = plotting.panels(1)
    figures.beside_null(axis, {"kernel": {"A": [2, 3], "B": [1, 1]}, "PCA": {"B": [5, 6]}}, y="ratio")
    positions = [line.get_xdata()[0] for line in axis.lines[:3]]
    assert [round(v) for v in positions] == [0, 1, 1] and positions[1] < positions[2]
    assert axis.get_yscale() == "log"


def test_histograms_count_every_pair():
    _, (axis,) = plotting.panels(1)
    figures.logits_of_the_right_answer(axis, {"seen": np.ones(7), "unseen": -np.ones(3)}, x="logit")
    assert sum(patch.get_height() for patch in axis.patches) == 10
