"""Properties of the kernel on random small modules."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entk_tutorial.empirical import empirical_ntk

from .cases import assert_near, reduced, reference

FAST = settings(max_examples=15, derandomize=True, deadline=None, database=None)


@st.composite
def problems(draw):
    """A small MLP with random widths, biases and activation, and inputs of rank 2 or 3."""
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    widths = draw(st.lists(st.integers(1, 4), min_size=2, max_size=4))
    layers: list[nn.Module] = []
    for a, b in pairwise(widths):
        layers += [
            nn.Linear(a, b, bias=draw(st.booleans())),
            draw(st.sampled_from([nn.Tanh(), nn.SiLU(), nn.Softplus()])),
        ]
    model = nn.Sequential(*layers).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    x = torch.randn(draw(st.integers(1, 5)), widths[0], generator=generator, dtype=torch.float64)
    return model, x, generator


@FAST
@given(problems())
def test_the_definition(problem):
    model, x, _ = problem
    truth = sum(reference(model, x).values())
    for reduce in ("full", "trace", "mean_logit"):
        assert_near(empirical_ntk(model, x, reduce=reduce), reduced(truth, reduce), 1e-10)


@FAST
@given(problems())
def test_reductions_are_consistent(problem):
    model, x, _ = problem
    full, flat = (empirical_ntk(model, x, reduce=r) for r in ("full", "flat"))
    n, c = full.shape[0], full.shape[2]
    assert_near(flat.reshape(n, c, n, c).permute(0, 2, 1, 3), full, 1e-12)
    assert_near(empirical_ntk(model, x), full.diagonal(dim1=2, dim2=3).sum(-1), 1e-12)
    assert_near(empirical_ntk(model, x, reduce="mean_logit"), full.mean((2, 3)), 1e-12)
    assert_near(empirical_ntk(model, x, reduce=(0, c - 1)), full[:, :, 0, c - 1], 1e-12)


@FAST
@given(problems())
def test_symmetric_positive_semi_definite_and_equivariant(problem):
    model, x, generator = problem
    flat = empirical_ntk(model, x, reduce="flat")
    assert_near(flat.T, flat, 1e-12)
    assert float(torch.linalg.eigvalsh(flat).min()) >= -1e-10 * float(flat.trace())
    order = torch.randperm(len(x), generator=generator)
    assert_near(empirical_ntk(model, x[order]), empirical_ntk(model, x)[order][:, order], 1e-12)


@FAST
@given(problems())
def test_parts_add_up(problem):
    model, x, _ = problem
    total = empirical_ntk(model, x, reduce="full")
    for by in ("layer", "parameter"):
        assert_near(sum(empirical_ntk(model, x, reduce="full", by=by).values()), total, 1e-12)
