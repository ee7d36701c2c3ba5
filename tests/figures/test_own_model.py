from __future__ import annotations

import numpy as np

from entk_tutorial.figures.own_model import METHODS, shares_by_dimension, shares_by_layer

LAYERS = ("words", "block1", "block2")


def test_a_panel_a_factor_with_random_weights_and_chance():
    rng = np.random.default_rng(0)
    table = {f"{m}_{f}_{layer}": rng.random(5) for m in METHODS for f in ("topic", "tense") for layer in LAYERS}
    figure = shares_by_layer(table, table, ("topic", "tense"), LAYERS, 0.08)
    assert [a.get_title() for a in figure.axes] == ["topic", "tense"]
    line = figure.axes[0].lines[0]
    np.testing.assert_allclose(line.get_ydata(), [table[f"kernel_topic_{layer}"].mean() for layer in LAYERS])
    assert len(figure.axes[0].lines) == 3 + 2 + 1


def test_a_panel_a_layer_with_both_methods():
    series = {f"{m}_topic_{layer}": [[0.1, 0.2], [0.3, 0.4]] for m in ("kernel", "pca") for layer in LAYERS}
    figure = shares_by_dimension(series, (1, 2), ("topic",), LAYERS, 11)
    assert len(figure.axes) == 3
    np.testing.assert_allclose(figure.axes[1].lines[0].get_ydata(), [0.2, 0.3])
    np.testing.assert_allclose(figure.axes[1].lines[2].get_ydata(), [0.1, 0.2])
