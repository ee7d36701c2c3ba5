"""Eigenspaces of a subset, extended to all inputs."""

from __future__ import annotations

import pytest
import torch

from entk_tutorial.features.subsample import subset_shares


def _kernel(values: list[float], n: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    q = torch.linalg.qr(torch.randn(n, n, generator=torch.Generator().manual_seed(0), dtype=torch.float64))[0]
    full = torch.tensor(values + [0.0] * (n - len(values)), dtype=torch.float64)
    return (q * full) @ q.T, q


def test_all_inputs_find_everything() -> None:
    k, q = _kernel([9.0, 8.0, 3.0, 2.0, 1.0])
    rows = torch.randperm(12, generator=torch.Generator().manual_seed(1))
    shares = subset_shares(k[:, rows], rows, q, {"top": slice(0, 2), "next": slice(2, 4)})
    assert shares == {"top": pytest.approx(1.0), "next": pytest.approx(1.0)}


def test_a_kernel_of_low_rank_is_found_from_as_many_inputs_as_its_rank() -> None:
    k, q = _kernel([9.0, 8.0, 3.0])
    rows = torch.tensor([1, 5, 7])
    assert subset_shares(k[:, rows], rows, q, {"all": slice(0, 3)})["all"] == pytest.approx(1.0)


def test_fewer_inputs_find_less() -> None:
    k, q = _kernel([9.0, 8.0, 3.0, 2.5, 2.0, 1.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    order = torch.randperm(12, generator=torch.Generator().manual_seed(2))
    found = [subset_shares(k[:, order[:n]], order[:n], q, {"top": slice(0, 2)})["top"] for n in (3, 12)]
    assert found[0] < 0.95 < found[1]


def test_bad_input_is_refused() -> None:
    k, q = _kernel([2.0, 1.0])
    rows = torch.tensor([0, 1])
    with pytest.raises(ValueError, match="reach to 3"):
        subset_shares(k[:, rows], rows, q, {"top": slice(0, 3)})
    with pytest.raises(ValueError, match="expected"):
        subset_shares(k[:, :3], rows, q, {"top": slice(0, 1)})
