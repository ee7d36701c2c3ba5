"""Layers of torch.nn and small networks: exact in both precisions, by rule where there is one, whatever the tiles."""

import warnings

import pytest
import torch

from entk_tutorial.empirical import FallbackWarning, empirical_ntk, jacobian, plan

from .cases import assert_near, cast, reduced, reference
from .layers import DOUBLE, LAYERS, made

every_layer = pytest.mark.parametrize("name", LAYERS)


@pytest.fixture(autouse=True)
def quiet():
    """The general way may be slow here: recurrent layers are not vectorised."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        yield


@every_layer
def test_the_definition_by_rule_and_in_tiles(name):
    model, x, other = made(name), LAYERS[name][1](5, 0), LAYERS[name][1](3, 1)
    truth = reference(model, x)
    parts = empirical_ntk(model, x, reduce="full", by="parameter")
    total = sum(truth.values())
    for parameter, part in parts.items():
        assert_near(part + total, truth[parameter] + total, 1e-10)
    the_plan = plan(model, x)
    assert " ".join(the_plan.general) == LAYERS[name][2]
    small = the_plan.result_bytes + the_plan.tile_bytes // 3
    assert_near(empirical_ntk(model, x, max_bytes=small), reduced(total, "trace"), 1e-10)
    expected = reduced(sum(reference(model, other, x).values()), "mean_logit")
    assert_near(empirical_ntk(model, other, x, reduce="mean_logit"), expected, 1e-10)


@every_layer
def test_single_precision_against_the_jacobian(name):
    model, x = made(name), LAYERS[name][1](5, 0)
    j = jacobian(model, x)
    expected = torch.einsum("ncp,mdp->nmcd", j, j)
    found = empirical_ntk(model.float(), cast(x, torch.float32), reduce="full")
    assert found.dtype == torch.float32
    assert_near(found, expected, 1e-5)
    assert expected.dtype == DOUBLE
