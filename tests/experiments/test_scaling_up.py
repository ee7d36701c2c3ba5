"""The experiments on scaling up, small."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from entk_tutorial.empirical import empirical_ntk, top_eigenpairs
from entk_tutorial.experiments import scaling_kernel, scaling_kernel_wide, scaling_training, scaling_up
from entk_tutorial.experiments.scaling_measures import leading_pairs, measure, windows_of
from entk_tutorial.features.fourier import fourier_features
from entk_tutorial.features.windows import measure_windows
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_kernel import QuadraticKernel
from entk_tutorial.training import train

TINY = scaling_training.Config(p=23, hidden=256, losses=("sum",), train_fraction=0.8, max_epochs=300, keep_every=0)


@pytest.fixture(scope="module")
def grokked() -> tuple[QuadraticMLP, dict[str, list[float]]]:
    model, curves, _ = scaling_training.fit(TINY, 0, "sum")
    return model, curves


def test_training_stops_at_its_age(grokked: tuple[QuadraticMLP, dict[str, list[float]]]) -> None:
    epochs, found = grokked[1]["epoch"], grokked[1]["test_accuracy"]
    at = scaling_training.first_reaching([int(e) for e in epochs], found, 0.99)
    assert at is not None and epochs[-1] == scaling_training.rounded_age(1.5, at, 10) < 300


def test_the_fast_training_is_the_plain_one() -> None:
    config = replace(TINY, losses=("mean",), max_epochs=10)
    fast = scaling_training.fit(config, 0, "mean")[0]
    plain, task = QuadraticMLP(23, 256, seed=0), scaling_training.task_of(config, 0)
    x, y = task.inputs[task.train], task.targets[task.train]
    optimizer = torch.optim.AdamW(plain.parameters(), lr=0.05, weight_decay=0.01, eps=1e-8)
    train(plain, lambda m: torch.nn.functional.mse_loss(m(x), y), optimizer, 10)
    for a, b in zip(fast.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)


def test_a_run_that_is_cut_short_ends_as_if_it_was_not(tmp_path: Path) -> None:
    config, cut = replace(TINY, max_epochs=60, record_every=5, keep_every=20), tmp_path / "state.pt"

    class CutShortError(Exception):
        pass

    def kill(fraction: float, message: str = "") -> None:
        if fraction > 0.6:
            raise CutShortError

    with pytest.raises(CutShortError):
        scaling_training.fit(config, 1, "sum", kill, cut=cut)
    assert cut.is_file()
    resumed, curves, _ = scaling_training.fit(config, 1, "sum", cut=cut)
    whole, expected, _ = scaling_training.fit(config, 1, "sum")
    assert curves == expected
    for a, b in zip(resumed.parameters(), whole.parameters(), strict=True):
        assert torch.equal(a, b)


def test_state_is_kept_apart_by_config_seed_and_loss(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENTK_CACHE", str(tmp_path))
    files = {
        scaling_training.cut_file(c, s, loss)
        for c in (TINY, replace(TINY, lr=0.04))
        for s in (0, 1)
        for loss in ("a", "b")
    }
    assert len(files) == 8 and all(file.parent == tmp_path / "training" for file in files)


def test_weights_are_kept_in_half_precision_and_the_rest_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ENTK_CACHE", str(tmp_path / "cache"))
    config = replace(TINY, losses=("mean", "sum"), max_epochs=20, keep_every=10)
    record = scaling_training.run_seed(config, 0, lambda fraction, message="": None)
    assert record.checkpoint is not None
    assert set(record.checkpoint) == {f"{loss}.{w}.weight" for loss in ("mean", "sum") for w in ("fc1", "fc2")}
    assert all(value.dtype == torch.float16 for value in record.checkpoint.values())
    assert not list((tmp_path / "cache" / "training").glob("*.pt"))
    assert record.metrics["sum_initial_gradient"] == pytest.approx(
        23 * record.metrics["mean_initial_gradient"], rel=1e-4
    )


@pytest.mark.parametrize("layer", ["fc1", "total"])
def test_block_krylov_agrees_with_the_dense_decomposition(layer: str) -> None:
    model = QuadraticMLP(37, 300, seed=0)  # 1,369 pairs: past the dense limit
    kernel, k = QuadraticKernel(model), 80
    found = leading_pairs(kernel, k, layer)
    table = QuadraticKernel(model.double(), torch.float64).columns(torch.arange(37**2), layer)
    dense = top_eigenpairs(table, k)
    assert found.method == "krylov"
    torch.testing.assert_close(found.values, dense.values, rtol=1e-4, atol=1e-6 * float(dense.values[0]))
    edge = 2 * 37 - 1  # a gap stands there, so the spaces before it can be compared
    cosines = torch.linalg.svdvals(found.vectors[:, :edge].T @ dense.vectors[:, :edge])
    assert float(cosines.min()) > 1 - 1e-4
    assert float(found.residuals.max()) <= 4e-6 * float(found.values[0])


def test_shares_are_those_of_the_windows_module(grokked: tuple[QuadraticMLP, dict[str, list[float]]]) -> None:
    model = grokked[0]
    pairs = top_eigenpairs(QuadraticKernel(model.double(), torch.float64).columns(torch.arange(529)))
    model.float()
    found, reference = windows_of(pairs, 23), measure_windows(pairs, 23)
    for name in ("window1_n", "window2_sum", "window2_diff"):
        assert found[name] == pytest.approx(reference[name] / 22, rel=1e-8)
    assert found["cliff2"] == reference["cliff2_ratio"]
    assert found["window2_concentration"] == pytest.approx(reference["window2_concentration"], rel=1e-8)


def test_the_engine_gives_the_same_spectrum(grokked: tuple[QuadraticMLP, dict[str, list[float]]]) -> None:
    task = scaling_training.task_of(TINY, 0)
    table = empirical_ntk(grokked[0], task.inputs)
    assert isinstance(table, torch.Tensor)
    numbers, spectra = measure(grokked[0], task.held_out, layers=True)
    torch.testing.assert_close(spectra["total"].values, top_eigenpairs(table, 100).values, rtol=1e-4, atol=1e-8)
    assert numbers["window2_sum"] > 0.7 > 0.2 > numbers["window1_sum"]
    assert numbers["fc1_cliff1"] > numbers["cliff1"]
    basis = fourier_features(23)["sum"] * (2**0.5 / 23)
    values = torch.linalg.eigvalsh(basis.T @ table.double() @ basis)
    assert numbers["sum_spread"] == pytest.approx(float(values.std(correction=0) / values.mean()), rel=1e-3)


def test_sweep_has_every_network_its_control_and_a_chance_level() -> None:
    config = scaling_up.Config(
        moduli=(7, 11), paper_loss=(7,), neurons=150, max_epochs=20, train_fraction=0.8, subsets=(45, 121)
    )
    result = scaling_up.run(config, seeds=[0])
    assert {f"p{p}_{w}_{loss}_cliff1" for p, w, loss in config.networks()} <= set(result.metrics)
    assert "p11_wide_sum_window2_sum" in result.controls["untrained"]
    assert result.chance["p11_wide_sum_window2_sum"] == pytest.approx(0.2)
    assert result.series["subset_window1"][0][-1] == pytest.approx(1.0)  # all inputs


def test_kernels_come_from_stored_weights_of_the_right_size(monkeypatch: pytest.MonkeyPatch) -> None:
    model = QuadraticMLP(7, 20, seed=5)
    state = {f"sum.{name}": value.half() for name, value in model.state_dict().items()}
    monkeypatch.setattr(scaling_kernel, "load_stored_checkpoint", lambda name, seed: state)
    config = scaling_kernel_wide.Config(p=7, hidden=20)
    found = scaling_kernel.networks(config, 0)["sum"]
    torch.testing.assert_close(found.fc1.weight, model.fc1.weight, rtol=1e-3, atol=1e-3)
    with pytest.raises(ValueError, match="were expected"):
        scaling_kernel.networks(replace(config, hidden=21), 0)


@pytest.mark.parametrize(
    ("config", "settings"),
    [
        (scaling_training.Config, {"age": 0.5}),
        (scaling_training.Config, {"losses": ()}),
        (scaling_training.Config, {"losses": ("median",)}),
        (scaling_training.Config, {"max_epochs": 15}),
        (scaling_training.Config, {"hidden": 0}),
        (scaling_training.Config, {"p": 4}),
        (scaling_up.Config, {"moduli": (43, 29)}),
        (scaling_up.Config, {"paper_loss": (31,)}),
        (scaling_up.Config, {"subsets": (100,)}),
        (scaling_kernel.Config, {"p": 5}),
    ],
)
def test_settings_that_cannot_run_are_refused(config: type, settings: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        config(**settings)
