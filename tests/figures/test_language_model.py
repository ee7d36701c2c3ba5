"""Pictures of the chapter on language models: what is drawn where."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from entk_tutorial.figures.language_model import bias_along, by_width, published_figure
from entk_tutorial.results import load_result


@pytest.fixture(scope="module")
def study():
    return load_result("language_model")


def test_true_and_shuffled_share_their_axis_and_the_control_may_stop_early(study):
    figure = published_figure(study)
    true, dealt, matched = figure.axes
    assert true.get_ylim() == dealt.get_ylim()
    assert len(dealt.lines[0].get_xdata()) < len(true.lines[0].get_xdata())
    drawn = np.asarray(true.lines[0].get_ydata())
    assert drawn == pytest.approx(np.mean(study.series["topics_transformer_top"], 0))
    assert matched.lines[-1].get_ydata()[0] == 0.5  # chance


def test_a_panel_an_activation_and_a_line_a_measure(study):
    figure = by_width(study)
    assert [axis.get_title() for axis in figure.axes] == ["relu", "gelu", "tanh"]
    line = figure.axes[0].lines[1]
    expected = [study.mean(f"topics_relu_{n}_counts") for n in study.config["widths"]]
    assert np.asarray(line.get_ydata()) == pytest.approx(expected)


def test_losses_are_drawn_less_those_of_gelu(study):
    curves = {"record": [[10, 25]]}
    for name, loss in (("relu", [3.0, 2.0]), ("gelu", [3.5, 2.0])):
        curves[f"standard_{name}_loss"], curves[f"standard_{name}_prior"] = [loss], [[0.1, 0.9]]
    figure = bias_along(dataclasses.replace(study, series=curves), {"standard": "all"}, ("relu", "gelu", "tanh"))
    above, below = figure.axes
    assert len(above.lines) == 3  # two activations and the prior itself
    assert np.asarray(below.lines[0].get_ydata()).tolist() == [-0.5, 0.0]
