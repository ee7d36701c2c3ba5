"""Parameters that a model multiplies by hand: exact in every spelling, by rule where there is one."""

import math
import warnings

import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor, nn

from entk_tutorial.empirical import FallbackWarning, ModelError, empirical_ntk, functional, plan
from entk_tutorial.empirical.structured import certificate, operations, rules

from .cases import assert_near, cast, ids, reduced, reference, sequences, vectors
from .test_planning import PeakBytes

DOUBLE = torch.float64
REDUCTIONS = ("full", "mean_logit")  # test_kernel.py and test_layers.py have the others


class Bare(nn.Module):
    """Parameters of given shapes, and a function of them and the input."""

    def __init__(self, forward, **shapes) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(5)
        for name, shape in shapes.items():
            self.register_parameter(name, nn.Parameter(torch.randn(shape, generator=generator, dtype=DOUBLE) / 2))
        self.function = forward

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def _attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """(N, H, T, E) each, causal."""
    t = q.shape[2]
    scores = torch.einsum("nhqe,nhke->nhqk", q, k) / math.sqrt(q.shape[-1])
    mask = torch.ones(t, t, dtype=torch.bool).triu(1)
    return torch.einsum("nhqk,nhke->nhqe", scores.masked_fill(mask, -1e10).softmax(-1), v)


def _transformer(m, x):
    """One layer of attention and MLP, logits at the last position; heads apart, all by einsum."""
    h = torch.einsum("dnt->ntd", m.W_E[:, x]) + m.W_pos[: x.shape[1]]
    q, k, v = (torch.einsum("hed,ntd->nhte", w, h) for w in (m.W_Q, m.W_K, m.W_V))
    h = h + torch.einsum("df,ntf->ntd", m.W_O, _attend(q, k, v).transpose(1, 2).flatten(2))
    h = h + torch.einsum("dm,ntm->ntd", m.W_out, torch.einsum("md,ntd->ntm", m.W_in, h).relu())
    return torch.einsum("dc,ntd->ntc", m.W_U, h)[:, -1]


def _transformer_by_matmul(m, x):
    """The same with matrices that hold all heads, biases, products with @, and the last position taken first."""
    h = m.W_E[x] + m.W_pos
    q, k, v = (F.linear(h, w).unflatten(-1, (2, 2)).transpose(1, 2) for w in m.W_QKV.split(4))
    last = _attend(q, k, v)[:, :, -1]  # (N, H, E)
    h = h[:, -1] + (last[:, :, None] @ m.W_O).squeeze(2).sum(1)
    h = h + (h @ m.W_in.T + m.b_in).relu() @ m.W_out / math.sqrt(2)
    return h @ (m.W_U / math.sqrt(3)) - m.b_U


HEADS = {"W_E": (3, 6), "W_pos": (4, 3), "W_Q": (2, 2, 3), "W_K": (2, 2, 3), "W_V": (2, 2, 3)}
MATRICES = {"W_E": (6, 3), "W_pos": (4, 3), "W_QKV": (12, 3), "W_O": (2, 2, 3), "W_in": (5, 3), "b_in": (5,)}


def transformer():
    return Bare(_transformer, **HEADS, W_O=(3, 4), W_in=(5, 3), W_out=(3, 5), W_U=(3, 4))


def _add_in_place(m, x):
    h = x @ m.w
    h.add_(m.b)  # the result of the operation is not used: a leaf added to it would be lost
    return h.tanh()


def _augmented(m, x):
    h = x @ m.w
    h += m.b
    return h.tanh()


# name: (model, inputs, parameters by rule, parameters by Jacobian)
MODELS = {
    "transformer": (transformer, ids, "W_E W_pos W_Q W_K W_V W_O W_in W_out W_U", ""),
    "transformer, matmul": (
        lambda: Bare(_transformer_by_matmul, **MATRICES, W_out=(5, 3), W_U=(3, 2), b_U=(2,)),
        ids, "W_E W_pos W_QKV W_O W_in b_in W_out W_U b_U", "",
    ),
    "linear": (lambda: Bare(lambda m, x: F.linear(x, m.w, m.b).tanh(), w=(2, 3), b=(2,)), vectors, "w b", ""),
    "linear, bias only": (
        lambda: Bare(lambda m, x: F.linear(x, torch.ones(2, 3).to(x), bias=m.b).tanh(), b=(2,)), vectors, "b", "",
    ),
    "vector": (lambda: Bare(lambda m, x: torch.stack([x @ m.w, (x @ m.w).sin()], 1), w=(3,)), vectors, "w", ""),
    "heads, shared axis": (
        lambda: Bare(lambda m, x: torch.einsum("nte,tef->ntf", x.sin(), m.w).tanh().sum(1), w=(4, 3, 2)),
        sequences, "w", "",
    ),
    "heads, broadcast": (
        lambda: Bare(lambda m, x: (x[:, None] @ m.w).tanh().sum((1, 2)), w=(2, 3, 4)), sequences, "w", "",
    ),
    "heads, rows": (lambda: Bare(lambda m, x: (x @ m.w).tanh().sum(0), w=(2, 3, 4)), vectors, "w", ""),
    "leading axis of one": (lambda: Bare(lambda m, x: (x @ m.w).tanh().sum(1), w=(1, 3, 2)), sequences, "w", ""),
    "from the left": (
        lambda: Bare(lambda m, x: (m.w @ x.mT).tanh().sum(2), w=(2, 3)), sequences, "w", "",
    ),
    "twice": (lambda: Bare(lambda m, x: (x @ m.w).tanh() @ m.w, w=(3, 3)), vectors, "w", ""),
    "autoencoder": (lambda: Bare(lambda m, x: (x @ m.w.T @ m.w + m.b).relu(), w=(2, 3), b=(3,)), vectors, "w b", ""),
    "autoencoder, square": (lambda: Bare(lambda m, x: (x @ m.w.T).tanh() @ m.w, w=(3, 3)), vectors, "w", ""),
    "tied unembedding": (
        lambda: Bare(lambda m, x: (m.w[:, x].permute(1, 2, 0) @ m.u).tanh().mean(1) @ m.w, w=(3, 6), u=(3, 3)),
        ids, "w u", "",
    ),
    "added twice": (lambda: Bare(lambda m, x: ((x + m.b).sin() + m.b).tanh(), b=(3,)), vectors, "b", ""),
    "added and multiplied": (lambda: Bare(lambda m, x: ((x + m.b) * m.b).tanh(), b=(3,)), vectors, "b", ""),
    "added and contracted": (lambda: Bare(lambda m, x: (x @ m.w + m.w[0]).tanh(), w=(3, 3)), vectors, "w", ""),
    "slices apart": (
        lambda: Bare(lambda m, x: (x @ m.w[:2].T).tanh() @ m.w[2:, :2].T, w=(4, 3)), vectors, "w", "",
    ),
    "slices that overlap": (
        lambda: Bare(lambda m, x: (x @ m.w[:3].T).tanh() @ m.w[1:].T, w=(4, 3)), vectors, "w", "",
    ),
    "a row twice": (
        lambda: Bare(lambda m, x: (x @ m.w[torch.tensor([0, 0, 1])]).tanh(), w=(2, 3)), vectors, "w", "",
    ),
    "positions twice": (
        lambda: Bare(lambda m, x: (x + m.b[torch.tensor([0, 1, 1, 0])]).tanh().sum(1), b=(2, 3)), sequences, "b", "",
    ),
    "unbound": (
        lambda: Bare(lambda m, x: sum((x @ w).tanh() for w in m.w) * m.w.shape[0], w=(2, 3, 3)), vectors, "w", "",
    ),
    "selected": (
        lambda: Bare(lambda m, x: (x @ torch.index_select(m.w, 1, torch.tensor([2, 0]))).tanh(), w=(3, 3)),
        vectors, "w", "",
    ),
    "scaled": (lambda: Bare(lambda m, x: (x @ (-m.w / 3)).tanh() * (2 * m.s), w=(3, 2), s=(2,)), vectors, "w s", ""),
    "signs": (
        lambda: Bare(lambda m, x: ((x - m.a).sin() + (m.b - x).sin()).tanh(), a=(3,), b=(3,)), vectors, "a b", "",
    ),
    "a function of the weight": (
        lambda: Bare(lambda m, x: (x @ m.w.square()).tanh() @ m.u, w=(3, 3), u=(3, 2)), vectors, "u", "w",
    ),
    "a product of weights": (
        lambda: Bare(lambda m, x: (x @ (m.a @ m.b)).tanh() @ m.u, a=(3, 2), b=(2, 3), u=(3, 2)), vectors, "u", "a b",
    ),
    "partly detached": (lambda: Bare(lambda m, x: (x @ m.w.detach()).sin() @ m.w, w=(3, 3)), vectors, "w", ""),
    "in place": (lambda: Bare(_add_in_place, w=(3, 2), b=(2,)), vectors, "w b", ""),
    "augmented": (lambda: Bare(_augmented, w=(3, 2), b=(2,)), vectors, "w b", ""),
    "batch second": (
        lambda: Bare(lambda m, x: (x.transpose(0, 1) @ m.w).tanh().sum(0), w=(3, 2)), sequences, "w", "",
    ),
    "batch second inside": (
        lambda: Bare(lambda m, x: (m.w[:, x] + m.b[:, None, None]).tanh().sum(2).T, w=(3, 6), b=(3,)), ids, "w b", "",
    ),
    "ellipsis": (
        lambda: Bare(lambda m, x: torch.einsum("...d,hd->...h", x, m.w).tanh().sum(1), w=(2, 3)), sequences, "w", "",
    ),
    "implicit einsum": (lambda: Bare(lambda m, x: torch.einsum("ad,db", x, m.w).tanh(), w=(3, 2)), vectors, "", "w"),
    "an axis summed away": (
        lambda: Bare(lambda m, x: torch.einsum("nd,dhe->nh", x, m.w).tanh(), w=(3, 2, 2)), vectors, "", "w",
    ),
    "three operands": (
        lambda: Bare(lambda m, x: torch.einsum("nd,nd,dh->nh", x, x, m.w), w=(3, 2)), vectors, "", "w",
    ),
    "lookup": (lambda: Bare(lambda m, x: F.embedding(x, m.w).tanh().sum(1), w=(6, 2)), ids, "w", ""),
    "lookup, padding": (
        lambda: Bare(lambda m, x: F.embedding(x, m.w, padding_idx=0).tanh().sum(1), w=(6, 2)), ids, "w", "",
    ),
    "negative ids": (lambda: Bare(lambda m, x: m.w[x - 6].tanh().sum(1), w=(6, 2)), ids, "w", ""),
    "one id": (lambda: Bare(lambda m, x: m.w[..., x[:, 0]].T.tanh(), w=(2, 6)), ids, "w", ""),
    "ids flattened": (
        lambda: Bare(lambda m, x: m.w[x.reshape(-1)].unflatten(0, x.shape).tanh().sum(1), w=(6, 2)), ids, "w", "",
    ),
    "positions by index": (
        lambda: Bare(lambda m, x: (m.w[x] + m.b[torch.arange(x.shape[1])]).tanh().sum(1), w=(6, 2), b=(5, 2)),
        ids, "w b", "",
    ),
    "positions by index, a row": (
        lambda: Bare(lambda m, x: (m.w[x] + m.b[torch.arange(x.shape[1])[None]]).tanh().sum(1), w=(6, 2), b=(5, 2)),
        ids, "w b", "",
    ),
    "scale without axes": (lambda: Bare(lambda m, x: x.sin() * m.s, s=()), vectors, "s", ""),
}  # fmt: skip

every_model = pytest.mark.parametrize("name", MODELS)


def made(name, n, seed=0):
    build, inputs, _, _ = MODELS[name]
    return build(), inputs(n, seed)


@pytest.fixture(autouse=True)
def no_fallback():
    """A warning of a slower way is a failure here: what has no rule must be known beforehand."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", FallbackWarning)
        yield


@every_model
def test_every_reduction_agrees_with_the_definition(name):
    model, x = made(name, 5)
    truth = reference(model, cast(x, DOUBLE))
    for reduce in REDUCTIONS:
        expected = {p: reduced(k, reduce) for p, k in truth.items()}
        total = sum(expected.values())
        parts = empirical_ntk(model, x, reduce=reduce, by="parameter")
        assert list(parts) == list(expected)
        for p, part in parts.items():
            assert_near(part + total, expected[p] + total, 1e-10)


@every_model
def test_rules_are_used_where_they_hold_and_nowhere_else(name):
    the_plan = plan(*made(name, 5))
    assert (" ".join(the_plan.structured), " ".join(the_plan.general)) == MODELS[name][2:]


@every_model
def test_two_sets_of_inputs(name):
    (model, x1), (_, x2) = made(name, 6), made(name, 1, 1)
    expected = sum(reference(model, cast(x1, DOUBLE), cast(x2, DOUBLE)).values())
    with warnings.catch_warnings():  # one example does not show which axis is the batch: slower is allowed there
        warnings.simplefilter("ignore", FallbackWarning)
        assert_near(empirical_ntk(model, x1, x2, reduce="full"), expected, 1e-10)


@every_model
def test_tiles_down_to_one_example(name):
    model, x = made(name, 9)
    generous = plan(model, x, max_bytes=10**9)
    limit = generous.result_bytes + generous.tile_bytes // 8  # 9 = 3 + 3 + 3, or less
    assert plan(model, x, max_bytes=limit).tile < 9
    assert_near(empirical_ntk(model, x, max_bytes=limit), empirical_ntk(model, x), 1e-12)


@every_model
def test_single_precision(name):
    model, x = made(name, 9)
    expected = sum(reference(model, x).values())
    found = empirical_ntk(model.float(), cast(x, torch.float32), reduce="full")
    assert found.dtype == torch.float32
    assert_near(found, expected, 1e-5)


@pytest.mark.parametrize("cheaper", ["token", "row"])
@pytest.mark.parametrize("name", [n for n, case in MODELS.items() if case[2]])
def test_both_forms_of_a_rule_give_the_same_kernel(name, cheaper, monkeypatch):
    monkeypatch.setattr(rules, "rule_operations", lambda *a, **k: (0, 1) if cheaper == "token" else (1, 0))
    model, x = made(name, 5)
    truth = sum(reference(model, cast(x, DOUBLE)).values())
    for reduce in ("full", "trace"):
        assert_near(empirical_ntk(model, x, reduce=reduce), reduced(truth, reduce), 1e-10)


@pytest.mark.parametrize("length", [3, 8, 9])
def test_positions_as_many_as_examples(length):
    """A row of positions that is as long as the batch (or the probe, or a tile) is no batch of ids."""

    def forward(m, x):
        return (m.w[x] + m.b[torch.arange(x.shape[1])]).tanh()[:, -1]

    model, x = Bare(forward, w=(6, 2), b=(9, 2)), ids(9, 0, length)
    expected = reduced(sum(reference(model, x).values()), "trace")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FallbackWarning)
        generous = plan(model, x, max_bytes=10**9)
        for share in (1, 4, 8):
            limit = generous.result_bytes + generous.tile_bytes // share
            assert_near(empirical_ntk(model, x, max_bytes=limit), expected, 1e-10)


def test_functions_of_parameters_have_rules_too():
    w, b = torch.randn(3, 4, dtype=DOUBLE), torch.randn(4, dtype=DOUBLE)
    f = functional(lambda q, x: (x @ q["w"] + q["b"]).tanh(), {"w": w, "b": b})
    x = vectors(6, 0)
    assert tuple(plan(f, x).structured) == ("w", "b")
    assert_near(empirical_ntk(f, x), empirical_ntk(f, x, method="jacobian"), 1e-12)
    assert_near(empirical_ntk(f, x, method="structured"), empirical_ntk(f, x, method="jacobian"), 1e-12)


def test_the_plan_says_which_operation_a_rule_is_for():
    kinds = plan(*made("transformer, matmul", 5)).structured
    assert kinds["W_E"] == "index along axis 0 of 2"
    assert kinds["W_QKV"].count(" + ") == 2  # queries, keys and values: three slices of one parameter
    assert kinds["b_in"] == "add, 1 axes of 2"


def test_another_spelling_in_larger_batches_falls_back_and_says_so():
    def forward(m, x):
        return (x @ m.w if len(x) <= 8 else F.linear(x, m.w.T * 1.0).abs() * (x @ m.w).sign()).tanh()

    model, x = Bare(forward, w=(3, 2)), vectors(12, 0)
    with pytest.warns(FallbackWarning, match=r"w: .*does not apply"):
        found = empirical_ntk(model, x)
    assert_near(found, reduced(sum(reference(model, x).values()), "trace"), 1e-10)


def test_a_use_that_only_large_batches_have_is_refused_by_structured():
    model, x = Bare(lambda m, x: (x @ m.w.square()).tanh(), w=(3, 2)), vectors(4, 0)
    with pytest.raises(ModelError, match=r"no certified rule for w;.*einsum"):
        empirical_ntk(model, x, method="structured")


PLANTED = {
    "broadcast": lambda f: lambda view, *a: f(operations.View(view.name, view.positions, -1.0), *a),
    "contraction": lambda f: lambda view, *a, **k: f(operations.View(view.name, view.positions, 2.0), *a, **k),
    "index": lambda f: lambda view, axis, i, *a, **k: f(view, axis, i.roll(1, 0), *a, **k),
}


@pytest.mark.parametrize("rule", PLANTED)
def test_the_certificate_sees_a_wrong_rule(rule, monkeypatch):
    model, x = made("transformer", 6)
    monkeypatch.setattr(operations, rule, PLANTED[rule](getattr(operations, rule)))
    hit = {"broadcast": "W_pos", "contraction": "W_Q W_K W_V W_O W_in W_out W_U", "index": "W_E"}[rule]
    assert plan(model, x).general == tuple(hit.split())
    expected = reduced(sum(reference(model, x).values()), "trace")
    assert_near(empirical_ntk(model, x), expected, 1e-10)


def test_cross_terms_that_no_rule_gives_would_be_seen(monkeypatch):
    """Were overlapping uses taken as separate parts, the kernel would be wrong, and the table above would see it."""

    def apart(taps, size):
        return [[i] for i in range(len(taps))]

    model, x = made("autoencoder, square", 5)
    truth = reduced(sum(reference(model, x).values()), "trace")
    monkeypatch.setattr(certificate, "without_overlap", lambda taps, size: taps)
    monkeypatch.setattr(rules, "joint_groups", apart)
    with pytest.raises(AssertionError, match="ratio"):
        assert_near(empirical_ntk(model, x), truth, 1e-10)


@pytest.mark.parametrize("reduce", ["trace", "full"])
@pytest.mark.parametrize("shrink", [1, 8])
def test_a_transformer_takes_no_more_than_its_limit(shrink, reduce):
    model, x = transformer(), ids(40, 0)
    generous = plan(model, x, reduce=reduce, max_bytes=10**9)
    limit = generous.result_bytes * (2 if reduce == "full" else 1) + generous.tile_bytes // shrink
    with PeakBytes() as memory:
        empirical_ntk(model, x, reduce=reduce, max_bytes=limit)
    assert memory.peak <= limit + 10**5, f"{memory.peak} taken, {limit} allowed"


def test_tokens_that_the_outputs_do_not_see_are_left_out(monkeypatch):
    seen = {}
    products = rules.Factors.add_products

    def counted(self, other, target, buffers):
        seen.setdefault(self.kind, set()).add(self.g.shape[2])
        products(self, other, target, buffers)

    monkeypatch.setattr(rules.Factors, "add_products", counted)
    model, x = made("transformer", 6)
    empirical_ntk(model, x)
    assert seen == {"embedding": {4}, "bias": {1}, "linear": {1, 4}}  # keys and values 4, the last position's 1


def test_nothing_of_the_caller_is_touched():
    model, x = made("transformer, matmul", 6)
    before, kept = {k: v.clone() for k, v in model.state_dict().items()}, x.clone()
    random = torch.get_rng_state()
    empirical_ntk(model, x, by="parameter")
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items()) and torch.equal(x, kept)
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert torch.equal(random, torch.get_rng_state())
