from __future__ import annotations

import pytest
import torch

from entk_tutorial.experiments import finite_width
from entk_tutorial.experiments.finite_width import FAMILIES, Config, holm_rejections, projection_z


def test_a_small_run_accepts_the_formulas_and_rejects_planted_ones() -> None:
    config = Config(
        wide=(32, 256), product=(16, 128), samples=20, families=("mlp_relu", "hadamard_tied", "rnn_additive")
    )
    result = finite_width.run(config, seeds=[0])
    assert result.metrics["rejected"].tolist() == [0.0]
    assert result.controls["quarter_off"]["rejected"][0] >= 0.5 * result.metrics["groups"][0]
    assert result.metrics["groups"].tolist() == [2 * 3 + 2 * 2 + 2 * 4]
    assert -0.9 < result.metrics["slope_mean"][0] < -0.2


def test_every_family_has_a_twin_with_its_groups() -> None:
    for name, family in FAMILIES.items():
        (drawn,) = finite_width.draws(name, False, 8, [0])
        options = dict(family.options)
        if name == "heads_softmax":
            options |= {"n_samples": 2, "generator": torch.Generator().manual_seed(0)}
        assert set(drawn) == set(family.kernel(finite_width.documents(), **options).by_group), name


def test_projection_z_subtracts_the_allowance() -> None:
    samples = torch.tensor([1.1, 1.2, 1.3])
    error = 0.1 / 3**0.5
    assert projection_z(samples, 1000) == pytest.approx((0.2 - 0.004) / error, rel=1e-4)
    assert projection_z(samples, 20) == pytest.approx(0.0, abs=1e-4)


@pytest.mark.parametrize(
    ("p", "count"), [([], 0), ([0.5], 0), ([1e-5, 1e-4], 2), ([1e-5, 0.0026], 2), ([0.0014, 0.0026], 0)]
)
def test_holm(p: list[float], count: int) -> None:
    assert holm_rejections(p) == count


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"wide": (64,)}, "two or more growing widths"),
        ({"samples": 1}, "3 networks or more"),
        ({"families": ("mlp",)}, "no family is called mlp"),
    ],
)
def test_settings_that_cannot_run_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)  # type: ignore[arg-type]
