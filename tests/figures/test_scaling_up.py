"""What the pictures show is what they were given."""

from __future__ import annotations

import numpy as np

from entk_tutorial import plotting
from entk_tutorial.figures import scaling_up as figures


def test_spectra_are_scaled_by_the_second_eigenvalue_and_edges_marked() -> None:
    _, (axis,) = plotting.panels(1)
    figures.spectra(axis, {"a": [50.0, 2.0, 1.0, 0.1], "b": [9.0, 3.0, 1.0, 0.3]}, edges=(2, 3))
    lines = [line for line in axis.lines if len(line.get_xdata()) == 4]
    np.testing.assert_allclose(lines[0].get_ydata(), [25, 1, 0.5, 0.05])
    np.testing.assert_allclose(lines[1].get_ydata(), [3, 1, 1 / 3, 0.1])
    assert [line.get_xdata()[0] for line in axis.lines if len(line.get_xdata()) == 2] == [2.5, 3.5]


def test_every_seed_and_the_mean_are_drawn() -> None:
    _, (axis,) = plotting.panels(1)
    figures.against_modulus(axis, [29, 43], [[1.0, 3.0], [4.0]], "wide")
    np.testing.assert_allclose(axis.lines[0].get_ydata(), [2, 4])
    assert [list(line.get_ydata()) for line in axis.lines[1:]] == [[1, 3], [4]]
    assert axis.get_xlabel() == "modulus p"


def test_runs_of_different_length_and_one_label_a_group() -> None:
    _, (axis,) = plotting.panels(1)
    figures.learning(axis, {"mean": ([[1, 2], [1, 2, 3]], [[0, 1], [0, 0.5, 1]]), "sum": ([[1]], [[1]])})
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["mean (2 seeds)", "sum (1 seed)"]
    assert [len(line.get_xdata()) for line in axis.lines] == [2, 3, 1]


def test_costs_have_a_tick_a_modulus_and_guides_a_name() -> None:
    _, (axis,) = plotting.panels(1)
    figures.costs(axis, [29, 113], {"table": [1.0, 4.0]}, "operations")
    figures.guide(axis, 2.0, "8 GB")
    assert [text.get_text() for text in axis.get_xticklabels()] == ["29", "113"]
    assert axis.texts[0].get_text() == "8 GB"
