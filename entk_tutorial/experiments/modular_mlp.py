r"""The modular-addition MLP: which functions its tangent kernel amplifies, before, during and after training.

Four trainings a seed (the task; random labels; few data; none), the trace kernel of each by layer on all p*p inputs,
its spectrum, and what the two windows behind the constant mode hold. Source: [Lin 2025].
Chapter: book/microscope/modular-mlp.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.empirical import Eigenpairs, cliffs, empirical_ntk, top_eigenpairs
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features import (
    activation_pca,
    concentration_chance,
    fourier_features,
    permutation_null,
    plane_energy,
    residues,
    rotate,
    subspace_overlap,
)
from entk_tutorial.features.windows import (
    chance_on_rows,
    measure_windows,
    modular_windows,
    overlap_on_rows,
    window_chance,
)
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.training import History, State, pick_device, train

SPLIT_OFFSET, LOW_DATA_OFFSET = 10_000, 20_000
"""Seeds of the splits, kept apart from those of the weights."""


@dataclass(frozen=True)
class Config:
    """Settings, at the paper's scale by default.

    Attributes:
        p: modulus, odd, at least 5 (for 3 the two windows fill the space, and no eigenvalue is left behind them).
        hidden: H, neurons.
        train_fraction: share of the p*p pairs trained on.
        epochs: full-batch steps; 0 measures the untrained network.
        lr: of AdamW.
        weight_decay: of AdamW.
        kernel_every: epochs between two kernels along the run.
        low_data_fraction: share of the pairs in the control that memorises.
        controls: whether to train the two control networks (random labels, few data).
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    p: int = 29
    hidden: int = 512
    train_fraction: float = 0.7
    epochs: int = 500
    lr: float = 0.05
    weight_decay: float = 0.01
    kernel_every: int = 10
    low_data_fraction: float = 0.3
    controls: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for fraction in (self.train_fraction, self.low_data_fraction):
            modular_task(self.p, fraction, 0)  # checks modulus and fraction, with their reasons
        if self.p < 5:
            raise ValueError(f"p={self.p}: the two windows fill all {self.p**2} directions; take an odd p from 5 on.")
        if self.hidden < 1 or self.epochs < 0 or self.kernel_every < 1 or not (self.lr > 0 and self.weight_decay >= 0):
            raise ValueError(
                f"hidden={self.hidden}, epochs={self.epochs}, kernel_every={self.kernel_every}, lr={self.lr}, "
                f"weight_decay={self.weight_decay}: hidden, kernel_every and lr must be positive, the others not "
                "negative."
            )
        if self.epochs % self.kernel_every:
            raise ValueError(f"epochs={self.epochs} is no multiple of kernel_every={self.kernel_every}.")


def fit(config: Config, task: ModularTask, seed: int, snapshots: Iterable[int] = ()) -> tuple[QuadraticMLP, History]:
    """Train one network on ``task``; accuracy, loss and snapshots along the way."""
    device = pick_device(config.device)
    model = QuadraticMLP(config.p, config.hidden, seed).to(device)
    x, y = task.inputs.to(device), task.targets.to(device)
    train_rows, test_rows, labels = task.train.to(device), task.held_out.to(device), task.labels.to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, eps=1e-8)

    def evaluate(net: torch.nn.Module) -> dict[str, float]:
        out = net(x)
        right = (out.argmax(1) == labels).double()
        squares = (out - y).square().mean(1).double()
        return {
            "train_accuracy": float(right[train_rows].mean()),
            "test_accuracy": float(right[test_rows].mean()),
            "train_loss": float(squares[train_rows].mean()),
            "test_loss": float(squares[test_rows].mean()),
        }

    history = train(
        model,
        lambda net: mse_loss(net(x[train_rows]), y[train_rows]),
        optimizer,
        config.epochs,
        evaluate=evaluate,
        record_at=range(0, config.epochs + 1, min(5, config.kernel_every)),
        snapshots_at=snapshots,
    )
    return model, history


def layer_kernels(config: Config, model: QuadraticMLP) -> dict[str, Tensor]:
    """Trace kernels on all p*p inputs: ``"fc1"``, ``"fc2"`` and their sum ``"total"``, float64 on the CPU."""
    x = modular_task(config.p, 0.5, 0).inputs.to(next(model.parameters()).device)
    parts = empirical_ntk(model, x, reduce="trace", by="layer")
    assert isinstance(parts, dict)
    kernels = {name: k.double().cpu() for name, k in parts.items()}
    return {**kernels, "total": kernels["fc1"] + kernels["fc2"]}


def measure_network(config: Config, model: QuadraticMLP) -> tuple[dict[str, float], dict[str, Eigenpairs]]:
    """Everything that is read off the kernels of one network, and their eigenpairs."""
    spectra = {name: top_eigenpairs(k) for name, k in layer_kernels(config, model).items()}
    numbers = measure_windows(spectra["total"], config.p)
    first, second = measure_windows(spectra["fc1"], config.p), measure_windows(spectra["fc2"], config.p)
    numbers |= {
        f"layer1_{k}": first[k] for k in ("cliff1_ratio", "window1_n", "window2_sum", "window2_diff") if k in first
    }
    numbers |= {
        f"layer2_{k}": second[k] for k in ("cliff1_ratio", "window1_sum", "window1_diff", "window1_n") if k in second
    }
    windows = modular_windows(config.p)
    numbers["rotation_recovered"] = rotate(spectra["fc1"].vectors[:, windows.first], config.p, "axes").recovered()
    numbers["rotation_one_shot"] = rotate(
        spectra["fc1"].vectors[:, windows.first], config.p, "axes", method="one-shot"
    ).recovered()
    return numbers, spectra


def initial_cliff(p: int, hidden: int, seed: int) -> float:
    """Eigenvalue ratio at 2p-1 of the untrained network's kernel; (p+2)/2 at infinite width."""
    config = Config(p=p, hidden=hidden, epochs=0)
    kernel = layer_kernels(config, QuadraticMLP(p, hidden, seed))["total"]
    return cliffs(top_eigenpairs(kernel).values).ratio(modular_windows(p).edge1)


def atom_energies(vectors: Tensor, p: int) -> Tensor:
    """Share of each direction's energy in each frequency of n, then of m: (p-1, d), for a picture."""
    return plane_energy(vectors, p, ("n", "m")).flatten(0, 1)


def _baselines(
    config: Config, model: QuadraticMLP, spectra: dict[str, Eigenpairs], seed: int
) -> dict[str, dict[str, float]]:
    """Controls that need no further training."""
    p, windows, features = config.p, modular_windows(config.p), fourier_features(config.p)
    generator = torch.Generator().manual_seed(seed)
    wide = {"cliff1_ratio": initial_cliff(p, 8 * config.hidden, seed)}
    out: dict[str, dict[str, float]] = {"untrained_wide": wide}

    x = modular_task(p, 0.5, 0).inputs
    gram = top_eigenpairs((x @ x.T).double())
    axes = gram.vectors[:, windows.first]
    out["input_gram"] = {
        "window1_n": subspace_overlap(axes, features["n"]).value,
        "rotation_recovered": rotate(axes, p, "axes").recovered(),
    }
    order = torch.randperm(p, generator=generator)
    first = spectra["fc1"].vectors[:, windows.first]
    out["nonsense_order"] = {"rotation_recovered": rotate(first, p, "axes", order=order).recovered()}

    turn = torch.linalg.qr(torch.randn(2 * (p - 1), 2 * (p - 1), generator=generator, dtype=torch.float64))[0]
    turned = spectra["total"].vectors.clone()
    turned[:, windows.first] = turned[:, windows.first] @ turn
    turned[:, windows.second] = turned[:, windows.second] @ turn
    pairs = Eigenpairs(spectra["total"].values, turned, spectra["total"].residuals, "rotated")
    numbers = measure_windows(pairs, p)
    out["random_rotation"] = {k: numbers[k] for k in ("window1_concentration", "window2_concentration", "window2_sum")}

    with torch.no_grad():
        hidden = model.activations(x.to(next(model.parameters()).device)).double().cpu()
    known = torch.cat([torch.ones(p * p, 1, dtype=torch.float64), features["n"], features["m"]], 1)
    rank_left = int(torch.linalg.matrix_rank(hidden - known @ torch.linalg.lstsq(known, hidden).solution))
    pca = activation_pca(hidden, min(2 * (p - 1), rank_left), remove=known)
    out["activation_pca"] = {f"window2_{f}": subspace_overlap(pca, features[f]).value for f in ("sum", "diff")}
    return out


def _along_the_run(
    config: Config, task: ModularTask, snapshots: dict[int, State], report: ProgressFn
) -> dict[str, list[float]]:
    """Spectrum and overlaps at each snapshot, on all rows, on the training rows and on the held-out rows."""
    p, windows, features = config.p, modular_windows(config.p), fourier_features(config.p)
    model = QuadraticMLP(p, config.hidden, 0).to(pick_device(config.device))
    out: dict[str, list[float]] = {"kernel_epoch": [float(s) for s in sorted(snapshots)]}
    for i, step in enumerate(sorted(snapshots)):
        report(0.3 + 0.6 * i / len(snapshots), f"kernel at epoch {step}")
        model.load_state_dict(snapshots[step])
        pairs = top_eigenpairs(layer_kernels(config, model)["total"])
        for edge, name in ((windows.edge1, "cliff1_ratio"), (windows.edge2, "cliff2_ratio")):
            out.setdefault(name, []).append(float(pairs.values[edge - 1] / pairs.values[edge]))
        u = pairs.vectors[:, windows.second]
        for family in ("sum", "diff"):
            out.setdefault(f"all_{family}", []).append(subspace_overlap(u, features[family]).value)
            out.setdefault(f"train_{family}", []).append(overlap_on_rows(u, features[family], task.train))
            out.setdefault(f"held_out_{family}", []).append(overlap_on_rows(u, features[family], task.held_out))
    return out


def _fastest_growth(epochs: list[float], values: list[float]) -> float:
    """Epoch of the largest central difference."""
    curve, at = torch.tensor(values, dtype=torch.float64), torch.tensor(epochs, dtype=torch.float64)
    return float(at[int(torch.gradient(curve, spacing=(at,))[0].argmax())])


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: the network, its kernels along the run, its controls."""
    p = config.p
    task = modular_task(p, config.train_fraction, SPLIT_OFFSET + seed)
    untrained = QuadraticMLP(p, config.hidden, seed).to(pick_device(config.device))
    controls = {"untrained": measure_network(config, untrained)[0]}
    kept = range(0, config.epochs + 1, config.kernel_every)
    model, history = fit(config, task, seed, kept)
    progress(0.1, "trained")
    metrics, spectra = measure_network(config, model)
    metrics["test_accuracy"] = history.metrics["test_accuracy"][-1]
    controls |= _baselines(config, model, spectra, seed)
    if config.controls and config.epochs:
        for name, fraction, labels in (
            ("random_labels", config.train_fraction, "random"),
            ("low_data", config.low_data_fraction, "sum"),
        ):
            other = modular_task(p, fraction, LOW_DATA_OFFSET + seed, labels=labels)
            net, past = fit(config, other, seed)
            controls[name] = measure_network(config, net)[0]
            controls[name] |= {k: past.metrics[k][-1] for k in ("train_accuracy", "test_accuracy")}
            progress(0.2 if name == "random_labels" else 0.3, name)

    u = spectra["total"].vectors[:, modular_windows(p).second]
    features = fourier_features(p)
    metrics["relabel_change"] = max(
        float((permutation_null(u, features[f], group="relabel", labels=residues(p, f), draws=20, seed=seed)
               - subspace_overlap(u, features[f]).value).abs().max())
        for f in ("sum", "diff")
    )  # fmt: skip
    series: dict[str, list[float]] = {"epoch": [float(s) for s in history.steps], **history.metrics}
    series |= _along_the_run(config, task, history.snapshots, progress)
    if len(kept) > 2:
        metrics["fastest_growth_epoch"] = _fastest_growth(series["kernel_epoch"], series["all_sum"])
    controls["random_window"] = {
        f"{name}_{f}": chance_on_rows(p, f, rows, seed=seed)
        for name, rows in (("train", task.train), ("held_out", task.held_out))
        for f in ("sum", "diff")
    }
    for name, pairs in spectra.items():
        series[f"spectrum_{name}"] = pairs.values[: modular_windows(p).last].tolist()
    series["spectrum_untrained"] = (
        top_eigenpairs(layer_kernels(config, untrained)["total"]).values[: modular_windows(p).last].tolist()
    )
    arrays = {f"eigenvectors_{name}": pairs.vectors for name, pairs in spectra.items()}
    arrays |= {f"weights_{name}": value for name, value in history.snapshots.get(config.epochs, {}).items()}
    return SeedRecord(metrics, controls, series, arrays)


def chance(config: Config) -> dict[str, float]:
    """Chance level of every overlap and concentration."""
    out = {f"window{w}_{f}": window_chance(config.p, w) for w, f in ((1, "n"), (1, "m"), (2, "sum"), (2, "diff"))}
    half = (config.p - 1) // 2
    return out | {
        "window1_concentration": concentration_chance(2 * half),
        "window2_concentration": concentration_chance(2 * half),
        "layer1_window2_sum": window_chance(config.p, 2),
        "layer1_window2_diff": window_chance(config.p, 2),
        "test_accuracy": 1 / config.p,
    }


EXPERIMENT = Experiment(
    name="modular_mlp",
    title="An MLP learns addition modulo 29; its tangent kernel's second window holds functions of the sum",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), p=19, hidden=256, train_fraction=0.8, epochs=300, kernel_every=30),
    seconds_per_seed=60.0,
    tolerances={"*": 0.05, "fastest_growth_epoch": 20.0, "rotation_recovered": 2.0, "rotation_one_shot": 2.0},
    cheap=True,
)


def run(
    config: Config | None = None,
    seeds: Iterable[int] = range(5),
    *,
    results_dir: Path | str | None = None,
    progress: bool = False,
) -> Result:
    """Run the experiment over seeds; see :func:`entk_tutorial.experiments.base.run_experiment`.

    Example:
        >>> result = run(Config(p=7, hidden=64, epochs=0, kernel_every=1), seeds=[0])
        >>> bool(result.metrics["window1_n"][0] > 5)       # of 6, and nothing was learned
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
