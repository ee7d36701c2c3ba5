"""Pictures of lazy and rich training: what is drawn where."""

import numpy as np
import pytest

from entk_tutorial import plotting
from entk_tutorial.figures.lazy_to_rich import against_scale, by_scale, learning_curves, waits

SCALES = (0.3, 3.0, 1000.0)


def test_metrics_become_columns_in_the_order_of_the_scales():
    table = {"gap_1000": [5.0, 6.0], "gap_0.3": [1.0, 2.0], "gap_3": [3.0, 4.0]}
    assert by_scale(table, "gap", SCALES).tolist() == [[1.0, 3.0, 5.0], [2.0, 4.0, 6.0]]
    with pytest.raises(KeyError):
        by_scale(table, "gap", (10.0,))


def test_line_is_the_mean_and_the_bar_the_range():
    _, (axis,) = plotting.panels(1)
    against_scale(axis, SCALES, [[1.0, 2.0, 4.0], [3.0, 2.0, 0.0]], "a")
    container = axis.containers[0]
    assert container.lines[0].get_ydata().tolist() == [2.0, 2.0, 2.0]
    ends = np.array([segment[:, 1] for segment in container.lines[2][0].get_segments()])
    assert ends.tolist() == [[1.0, 3.0], [2.0, 2.0], [0.0, 4.0]]
    assert axis.get_xscale() == "log"


def test_runs_that_never_generalised_are_marked_apart():
    _, (axis,) = plotting.panels(1)
    waits(axis, SCALES, [[1.0, 4.0, 300.0], [1.5, 9.0, 310.0]], [[1, 1, 0], [1, 0, 0]])
    came, never = axis.get_lines()
    assert sorted(came.get_ydata()) == [1.0, 1.5, 4.0] and sorted(never.get_ydata()) == [9.0, 300.0, 310.0]


def test_a_panel_a_scale_and_a_line_a_seed():
    times = [[[0.0, 1.0, 2.0]] * 3] * 2
    train, held_out = [[[0.0, 0.9, 1.0]] * 3] * 2, [[[0.0, 0.1, 0.2]] * 3] * 2
    figure = learning_curves(SCALES, times, train, held_out, shown=(0.3, 1000.0), chance=0.03)
    drawn = [a for a in figure.axes if a.get_visible()]
    assert len(drawn) == 2
    assert [len(a.get_lines()) for a in drawn] == [5, 5]  # two seeds, two curves each, and the chance level
    assert drawn[1].get_lines()[1].get_ydata().tolist() == [0.1, 0.2]
