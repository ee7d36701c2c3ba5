from __future__ import annotations

import pytest
import torch

from entk_tutorial.features.localisation import centred
from entk_tutorial.survey import leading_subspace, projector_distance, sampling_error


def points(n: int, seed: int, noise: float = 0.4) -> torch.Tensor:
    """Five strong directions above many weak ones."""
    generator = torch.Generator().manual_seed(seed)
    scales = torch.cat([torch.tensor([2.0, 1.7, 1.4, 1.2, 1.0]), torch.full((60,), noise)]).double()
    return torch.randn(n, 65, generator=generator, dtype=torch.float64) * scales


def test_the_next_doubling_is_foretold():
    foretold, measured = [], []
    for seed in range(6):
        x = points(160, seed)
        k = x @ x.T
        part = torch.arange(80)
        foretold.append(sampling_error(k[:80, :80], 5, draws=6, seed=seed).next)
        c = centred(k)
        measured.append(projector_distance(c[:, part] @ leading_subspace(c[part][:, part], 5), leading_subspace(c, 5)))
    assert sum(foretold) / sum(measured) == pytest.approx(1.0, abs=0.3)


def test_endless_inputs_are_foretold_within_a_factor_of_two():
    truth = torch.eye(65, dtype=torch.float64)[:, :5]
    foretold, measured = [], []
    for seed in range(6):
        x = points(160, seed)
        x = x - x.mean(0)
        foretold.append(sampling_error(x @ x.T, 5, seed=seed).endless)
        measured.append(projector_distance(leading_subspace(x @ x.T, 5), x @ truth))
    assert 0.5 < sum(foretold) / sum(measured) < 2


def test_noise_without_structure_stays_far_away():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(120, 400, generator=generator, dtype=torch.float64)
    found = sampling_error(x @ x.T, 4)
    assert found.half > 0.3
    assert found.endless > 0.5


def test_distance_of_subspaces():
    eye = torch.eye(6, dtype=torch.float64)
    assert projector_distance(
        eye[:, :2], eye[:, :2] @ torch.tensor([[1.0, 1.0], [0.0, 2.0]]).double()
    ) == pytest.approx(0)
    assert projector_distance(eye[:, :2], eye[:, 2:4]) == 1
    with pytest.raises(ValueError, match="differ"):
        projector_distance(eye[:, :2], eye[:, :3])
    with pytest.raises(ValueError, match="same N rows"):
        projector_distance(eye[:, :2], eye[:4, :2])


def test_what_cannot_be_estimated_is_refused():
    k = torch.eye(20, dtype=torch.float64)
    with pytest.raises(ValueError, match=r"4 \(d \+ 2\)"):
        sampling_error(k, 4)
    with pytest.raises(ValueError, match="at least one draw"):
        sampling_error(k, 2, draws=0)
    one = torch.outer(torch.arange(9.0), torch.arange(9.0))
    with pytest.raises(ValueError, match="rank 1"):
        leading_subspace(one, 2)
