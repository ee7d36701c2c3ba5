"""Properties of the kernel on random small modules."""

from itertools import pairwise

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from entk_tutorial.empirical import empirical_ntk, plan

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


class Stack(nn.Module):
    """Random steps on (N, T, D): some with parameters, some tied to an earlier one, some that move axes about."""

    def __init__(self, steps: list[str], width: int) -> None:
        super().__init__()
        self.steps = steps
        make = {
            "linear": lambda: nn.Linear(width, width),
            "conv": lambda: nn.Conv1d(width, width, 3, padding=1),
            "norm": lambda: nn.LayerNorm(width),
            "attention": lambda: nn.MultiheadAttention(width, 1, batch_first=True),
            "scale": lambda: nn.ParameterDict({"w": nn.Parameter(torch.ones(width))}),
        }
        self.parts = nn.ModuleDict({kind: make[kind]() for kind in dict.fromkeys(steps) if kind in make})
        self.out = nn.Linear(width, 2)

    def forward(self, x):
        for step in self.steps:  # a kind that comes twice is the same layer: its cross terms count
            if step == "conv":
                x = x + self.parts["conv"](x.mT).mT.tanh()
            elif step == "attention":
                x = x + self.parts["attention"](x, x, x, need_weights=False)[0]
            elif step == "scale":
                x = x * self.parts["scale"]["w"] + self.parts["scale"]["w"].flip(0)
            elif step == "back":  # by the transposed weight, if there is one
                x = x @ self.parts["linear"].weight if "linear" in self.parts else x.sin()
            elif step == "time first":
                x = (x.transpose(0, 1) @ self.out.weight.T @ self.out.weight).transpose(0, 1).tanh()
            else:
                x = self.parts[step](x)
        return self.out(x.tanh()).mean(1)


@st.composite
def stacks(draw):
    """A stack of one to four steps, and sequences; batch, length and width are often equal."""
    kinds = ["linear", "conv", "norm", "attention", "scale", "back", "time first"]
    steps = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    width, length, n = draw(st.integers(2, 4)), draw(st.integers(1, 4)), draw(st.integers(1, 4))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 10**6)))
    model = Stack(steps, width).double()
    with torch.no_grad():
        for p in model.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=torch.float64))
    return model, torch.randn(n, length, width, generator=generator, dtype=torch.float64), generator


@FAST
@given(stacks())
def test_stacks_of_layers(problem):
    """The definition; all by rule; symmetric, positive semi-definite; parts add up; order and tiles do not matter."""
    model, x, generator = problem
    the_plan = plan(model, x)
    assert the_plan.general == ()
    truth = sum(reference(model, x).values())
    flat = empirical_ntk(model, x, reduce="flat")
    assert_near(flat, reduced(truth, "flat"), 1e-10)
    assert torch.equal(flat, flat.T)
    assert float(torch.linalg.eigvalsh(flat).min()) >= -1e-10 * float(flat.trace())
    trace = empirical_ntk(model, x)
    assert_near(sum(empirical_ntk(model, x, by="layer").values()), trace, 1e-12)
    order = torch.randperm(len(x), generator=generator)
    assert_near(empirical_ntk(model, x[order]), trace[order][:, order], 1e-12)
    small = the_plan.result_bytes + the_plan.tile_bytes // 2
    if len(x) > 1:
        assert_near(empirical_ntk(model, x, max_bytes=small), trace, 1e-12)
