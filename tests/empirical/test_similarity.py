import pytest
import torch

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import LinearizedModel, empirical_ntk
from entk_tutorial.empirical.similarity import centered_cosine, kernel_regression


def gram(n, k, seed):
    a = torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return a @ a.T


def test_cosine_equals_the_definition_with_the_centring_matrix():
    a, b = gram(9, 4, 0), gram(9, 5, 1)
    h = torch.eye(9, dtype=torch.float64) - torch.full((9, 9), 1 / 9, dtype=torch.float64)
    ac, bc = h @ a @ h, h @ b @ h
    expected = torch.trace(ac @ bc) / (ac.norm() * bc.norm())
    assert centered_cosine(a, b) == pytest.approx(float(expected), rel=1e-12)


def test_cosine_knows_neither_scale_nor_offset_nor_order_of_the_two():
    a, b = gram(9, 4, 0), gram(9, 5, 1)
    assert centered_cosine(3 * a + 2, b) == pytest.approx(centered_cosine(b, a), rel=1e-12)
    assert 0 <= centered_cosine(a, b) < 1


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.ones(3, 3), torch.eye(3), "constant"),
        (torch.eye(3), torch.eye(4), "shapes"),
        (torch.eye(3), torch.full((3, 3), float("nan")), "NaN"),
    ],
)
def test_cosine_refuses_what_has_no_direction(a, b, message):
    with pytest.raises(ValueError, match=message):
        centered_cosine(a, b)


def test_regression_equals_the_linearised_model_where_outputs_share_a_kernel():
    """A linear network's flat kernel is its trace kernel over C, for every output: then the two must agree."""
    layer = torch.nn.Linear(4, 3, bias=False).double()
    x = torch.randn(8, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    y = torch.randn(8, 3, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    train = torch.tensor([0, 2, 3, 5])
    y = y - y[train].mean(0)  # no mean left: the linearised model has none
    kernel = empirical_ntk(layer, x, reduce="trace")
    ridge = 0.1 * float((kernel / 3)[train, train].mean())
    flat = LinearizedModel(layer, x[train], y[train], ridge=ridge, around="zero").predict(x)
    assert torch.allclose(kernel_regression(kernel, train, y, ridge=0.1), flat, rtol=1e-9)


def test_regression_reads_no_target_but_those_it_trains_on():
    task = modular_task(5, 0.6, seed=0)
    kernel = (task.inputs @ task.inputs.T).square()
    hidden = task.targets.clone()
    hidden[task.held_out] = float("nan")
    got = kernel_regression(kernel, task.train, hidden, ridge=1e-3)
    assert torch.equal(got, kernel_regression(kernel, task.train, task.targets, ridge=1e-3))
    assert torch.allclose(got, kernel_regression(7 * kernel, task.train, task.targets, ridge=1e-3))


@pytest.mark.parametrize("ridge", [0.0, -1.0, float("inf"), float("nan")])
def test_regression_wants_a_positive_ridge(ridge):
    with pytest.raises(ValueError, match="ridge="):
        kernel_regression(torch.eye(3), torch.tensor([0]), torch.ones(3, 1), ridge=ridge)


def test_regression_wants_shapes_that_fit():
    with pytest.raises(ValueError, match="expected"):
        kernel_regression(torch.eye(3), torch.tensor([], dtype=torch.long), torch.ones(3, 1), ridge=1.0)
