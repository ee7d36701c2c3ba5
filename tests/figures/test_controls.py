"""Figures of the controls: they show the numbers that they are given, and leave nothing open."""

import matplotlib.pyplot as plt
import numpy as np
import torch

from entk_tutorial import plotting
from entk_tutorial.figures import controls as figures


def texts(axis):
    return [t.get_text() for t in axis.texts]


def test_table_shows_means():
    columns = ("n", "m", "sum", "diff", "concentration", "renamed")
    values = {f"a_{c}": np.array([i, i + 2.0]) / 10 for i, c in enumerate(columns)}
    figure = figures.what_finds_what({"a": "method a"}, values, values, full=28)
    assert [texts(a) for a in figure.axes[:2]] == [["0.1", "0.2", "0.3", "0.4"]] * 2
    assert texts(figure.axes[2]) == ["0.50", "0.60"]
    assert not plt.get_fignums()


def test_confusions_count_and_frame():
    answers = {"rule": [[0, 2], [0, 1]]}  # two seeds, two networks
    figure = figures.confusions(answers, ["x", "y"], ["x", "y", "none"], {"x": "x", "y": "y"})
    axis = figure.axes[0]
    assert texts(axis) == ["2", "", "", "", "1", "1"]
    frames = [p.get_xy() for p in axis.patches]
    assert frames == [(0, 0), (1, 1)]
    assert not plt.get_fignums()


def test_sweep_and_maps_and_places():
    figure = figures.scale_sweep(11, 45, [0.5, 1.0, 3.0], [[10, 10, 0]], {64: [[1, 2, 3]], 128: [[0.5, 1, 1.5]]})
    assert [len(line.get_xdata()) for line in figure.axes[0].lines[:3]] == [200] * 3
    maps = figures.eigenvector_maps({"one": torch.arange(25.0), "two": -torch.arange(25.0)}, 5)
    image = maps.axes[0].images[0]
    assert image.get_clim() == (-24, 24) and image.get_array().shape == (5, 5)
    _, (axis,) = plotting.panels(1)
    figures.places(axis, {"own": [0.1, 0.9], "partner": [0.9, 0.1]})
    assert axis.lines[0].get_xdata().tolist() == [1, 2]
