"""Shares of a kernel's trace: against dense projectors, their nulls, and planted kernels."""

import pytest
import torch

from entk_tutorial.features.ablation import line_families, line_residues
from entk_tutorial.features.localisation import centred, family_shares, partition_share, share_null

P = 7
FAMILIES = line_families(P)
A = torch.randn(P * P, 12, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
KERNEL = A @ A.T


def test_shares_agree_with_dense_projectors_and_add_up():
    shares = family_shares(KERNEL, P)
    k = centred(KERNEL)
    for name, q in FAMILIES.items():
        assert shares[name] == pytest.approx(float(torch.trace(q @ q.T @ k) / torch.trace(k)), rel=1e-10)
    assert sum(shares.values()) == pytest.approx(1)


def test_centring_takes_out_the_constant_mode_and_nothing_else():
    assert family_shares(KERNEL + 100, P) == pytest.approx(family_shares(KERNEL, P), rel=1e-8)
    assert float(centred(KERNEL).sum(0).abs().max()) < 1e-10


@pytest.mark.parametrize("family", ["n", "sum", "n + 3m"])
def test_a_planted_family_has_the_whole_trace(family):
    q = FAMILIES[family]
    shares = family_shares(q @ q.T + 5, P)
    assert shares[family] == pytest.approx(1)
    assert partition_share(q @ q.T, line_residues(P)[family]) == pytest.approx(1)


def test_nulls_of_a_planted_sum_lie_far_below_it():
    kernel = FAMILIES["sum"] @ FAMILIES["sum"].T
    for group in ("digits", "rows"):
        null = share_null(kernel, P, "sum", group=group, draws=50)
        assert float(null.quantile(0.9)) < 0.9 and float(null.min()) >= 0
        assert torch.equal(null, share_null(kernel, P, "sum", group=group, draws=50))


def test_renaming_keeps_symmetry_and_functions_of_a_digit():
    kernel = FAMILIES["n"] @ FAMILIES["n"].T
    assert torch.allclose(share_null(kernel, P, "n", draws=3), torch.ones(3).double())
    assert float(share_null(kernel, P, "sum", draws=5).abs().max()) < 1e-12
    # A random kernel that is symmetric under exchange of the digits holds the sum twice as strongly as a placebo, and
    # so do the renamed digits: the null knows of the symmetry.
    swap = torch.arange(P * P).reshape(P, P).T.flatten()
    wide = torch.randn(P * P, 4000, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    both = wide + wide[swap]
    symmetric = both @ both.T
    shares = family_shares(symmetric, P)
    assert shares["sum"] / shares["n + 2m"] == pytest.approx(2, rel=0.1)
    assert float(share_null(symmetric, P, "sum", draws=50).mean()) == pytest.approx(shares["sum"], rel=0.05)


@pytest.mark.parametrize(
    "call",
    [lambda: centred(torch.ones(3, 2)), lambda: centred(torch.ones(4, 4)), lambda: family_shares(torch.eye(10), 5),
     lambda: share_null(KERNEL, P, "n + 9m"), lambda: share_null(KERNEL, P, "sum", group="columns"),
     lambda: share_null(KERNEL, P, "sum", draws=0), lambda: family_shares(torch.eye(81), 9)],
)  # fmt: skip
def test_mistakes_are_refused(call):
    with pytest.raises(ValueError):
        call()
