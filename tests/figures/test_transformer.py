"""Figures of the Transformer's chapter: what they show, and what they refuse."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from entk_tutorial import plotting
from entk_tutorial.figures import transformer as figures


def test_key_frequencies_carry_a_dot_in_their_row():
    _, (axis,) = plotting.panels(1)
    figures.embedding_spectra(axis, np.ones((2, 14)) / 14, [[1, 12], []], [0, 7])
    assert [list(line.get_xdata()) for line in axis.lines] == [[1, 12], []]
    assert list(axis.lines[0].get_ydata()) == [0.5, 0.5]
    assert [label.get_text() for label in axis.get_yticklabels()] == ["0", "7"]
    with pytest.raises(ValueError, match="one a seed"):
        figures.embedding_spectra(axis, np.ones((2, 14)), [[1]], [0, 7])


def test_runs_are_drawn_one_by_one():
    _, (axis,) = plotting.panels(1)
    figures.runs(axis, [0, 1, 2], {"a": np.eye(3), "none": np.empty((0, 3)), "b": [[1, 1, 1]]})
    assert len(axis.lines) == 4
    assert [text.get_text() for text in axis.get_legend().get_texts()] == ["a (3)", "b (1)"]


def test_grids_share_their_colours_and_keep_the_order_of_the_pairs():
    values = np.arange(9.0)
    figure = figures.digit_grids({"one": values, "two": values.reshape(3, 3) + 9}, label="value")
    images = [axis.images[0] for axis in figure.axes if axis.images]
    assert all(image.get_clim() == (0, 17) for image in images[:2])
    assert np.array_equal(np.asarray(images[0].get_array()), values.reshape(3, 3))
    with pytest.raises(ValueError, match="no square"):
        figures.digit_grids({"one": np.arange(10.0)}, label="value")
    with pytest.raises(ValueError, match="no picture"):
        figures.digit_grids({}, label="value")


def test_a_table_writes_its_numbers():
    _, (axis,) = plotting.panels(1)
    figures.tensor_windows(axis, {"W_U": {"a": 0.981, "b": 0.0}, "W_E": {"a": 0.2, "b": 0.5}}, title="t")
    assert [text.get_text() for text in axis.texts] == ["0.98", "0.00", "0.20", "0.50"]


def test_spectra_are_shares_of_the_first_eigenvalue():
    _, (axis,) = plotting.panels(1)
    figures.first_eigenvalues(axis, {"a": [4.0, 2.0, 1.0]}, [1])
    assert list(axis.lines[0].get_ydata()) == [1.0, 0.5, 0.25] and axis.get_yscale() == "log"
    plt.close("all")
