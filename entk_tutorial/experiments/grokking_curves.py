r"""The four trainings of a seed and twenty measures along each: what :mod:`entk_tutorial.experiments.grokking` judges.

Source: [Lin 2025], [Nanda 2023], [Gromov 2023]. Chapter: book/microscope/grokking.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.empirical import effective_rank, top_eigenpairs
from entk_tutorial.empirical.similarity import centered_cosine, kernel_regression
from entk_tutorial.experiments import modular_mlp
from entk_tutorial.experiments.alarms import backward_speed
from entk_tutorial.features import FAMILIES, fourier_features, frequency_concentration, orthonormal_basis
from entk_tutorial.features.progress import excluded_loss, inverse_participation, participation_chance, restricted_loss
from entk_tutorial.features.windows import chance_on_rows, modular_windows, overlap_on_rows, window_chance
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.training import pick_device

NEAR_MISS_OFFSET = 30_000
"""Seeds of the near miss's splits."""


@dataclass(frozen=True)
class Measure:
    """What is known of a measure before any run.

    Attributes:
        label: as a table shows it.
        kernel: whether it is read off the tangent kernel.
        needs: what the observer must hold beside the training set: ``"nothing"``, held-out ``"labels"``, or the
            ``"rule"``, that is, the family of functions in which the answer lies.
    """

    label: str
    kernel: bool
    needs: str


MEASURES: dict[str, Measure] = {
    "held_out_accuracy": Measure("accuracy, held-out rows", False, "labels"),
    "held_out_loss": Measure("loss, held-out rows", False, "labels"),
    "train_loss": Measure("loss, training rows", False, "nothing"),
    "weight_norm": Measure("weight norm", False, "nothing"),
    "inverse_participation": Measure("inverse participation ratio", False, "rule"),
    "restricted_loss": Measure("restricted loss, function read from all rows", False, "rule"),
    "restricted_loss_held_out": Measure("restricted loss, held-out rows only", False, "rule"),
    "excluded_loss": Measure("excluded loss", False, "rule"),
    "cliff1_ratio": Measure("first cliff", True, "nothing"),
    "cliff2_ratio": Measure("second cliff", True, "nothing"),
    "effective_rank": Measure("effective rank", True, "nothing"),
    "kernel_distance": Measure("kernel distance from the start", True, "nothing"),
    "alignment_train": Measure("kernel-target alignment, training rows", True, "nothing"),
    "alignment_held_out": Measure("kernel-target alignment, held-out rows", True, "labels"),
    "after_kernel_accuracy": Measure("accuracy of the frozen kernel", True, "labels"),
    "overlap_all": Measure("overlap, all rows", True, "rule"),
    "overlap_train": Measure("overlap, training rows", True, "rule"),
    "overlap_held_out": Measure("overlap, held-out rows", True, "rule"),
    "speed_all": Measure("growth of the overlap, all rows", True, "rule"),
    "speed_held_out": Measure("growth of the overlap, held-out rows", True, "rule"),
    "concentration": Measure("frequency concentration", True, "rule"),
}
"""Name -> measure, all with equal rights."""

CONTROLS = ("random_labels", "low_data", "near_miss")
CALIBRATED_ON = ("random_labels", "low_data")


@dataclass(frozen=True)
class Config:
    """Settings, at the paper's scale by default.

    Attributes:
        p: modulus.
        hidden: H, neurons.
        train_fraction: share of the p*p pairs trained on.
        epochs: full-batch steps.
        lr: of AdamW.
        weight_decay: of AdamW.
        low_data_fraction: share of the pairs in the control that memorises.
        near_miss_fraction: share of the pairs in the control that falls short of one half; never calibrated on.
        dense_every: epochs between two records up to ``dense_until``; at most 5, or a multiple of 5.
        dense_until: from here on records are ``sparse_every`` apart.
        sparse_every: see there; a multiple of ``dense_every``, as ``dense_until`` and ``epochs`` are.
        calibration_seeds: how many seeds the levels come from, two runs each.
        calibration_first: the first of them; they must not be among the seeds that are judged.
        hold: records in a row that an alarm needs.
        ridge: of the regression with the frozen kernel, as a share of its mean diagonal.
        film_seeds: seeds below this keep spectra and shares of every record, for the moving figure.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    p: int = 29
    hidden: int = 512
    train_fraction: float = 0.7
    epochs: int = 500
    lr: float = 0.05
    weight_decay: float = 0.01
    low_data_fraction: float = 0.3
    near_miss_fraction: float = 0.45
    dense_every: int = 5
    dense_until: int = 150
    sparse_every: int = 50
    calibration_seeds: int = 10
    calibration_first: int = 1000
    hold: int = 3
    ridge: float = 1e-3
    film_seeds: int = 1
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        counts = (self.epochs, self.dense_every, self.sparse_every, self.calibration_seeds, self.hold)
        if min(counts) < 1 or self.film_seeds < 0 or self.dense_until < 0 or not self.ridge > 0:
            raise ValueError(
                f"epochs, dense_every, sparse_every, calibration_seeds, hold = {counts}, dense_until="
                f"{self.dense_until}, film_seeds={self.film_seeds}, ridge={self.ridge}: the first five and ridge must "
                "be positive, the others not negative."
            )
        step = self.dense_every
        if (step > 5 and step % 5) or any(n % step for n in (self.dense_until, self.sparse_every, self.epochs)):
            raise ValueError(
                f"dense_every={step}, dense_until={self.dense_until}, sparse_every={self.sparse_every}, epochs="
                f"{self.epochs}: the first must be at most 5 or a multiple of 5, and divide the others."
            )
        modular_task(self.p, self.near_miss_fraction, 0)
        self.network()

    def network(self) -> modular_mlp.Config:
        """The settings of the network and its training."""
        return modular_mlp.Config(
            p=self.p, hidden=self.hidden, train_fraction=self.train_fraction, epochs=self.epochs, lr=self.lr,
            weight_decay=self.weight_decay, kernel_every=self.dense_every, low_data_fraction=self.low_data_fraction,
            device=self.device,
        )  # fmt: skip

    def records(self) -> list[int]:
        """Epochs at which everything is measured.

        Example:
            >>> Config(epochs=70, dense_every=10, dense_until=20, sparse_every=20).records()
            [0, 10, 20, 40, 60, 70]
        """
        dense = range(0, min(self.dense_until, self.epochs) + 1, self.dense_every)
        return sorted({*dense, *range(dense[-1], self.epochs + 1, self.sparse_every), self.epochs})


@dataclass
class Run:
    """One training, measured.

    Attributes:
        curves: name -> one value a record: every measure, and the training accuracy.
        top_accuracy: highest held-out accuracy, also between records.
        film: what the moving figure shows: ``spectrum`` (T, L), ``shares_all`` and ``shares_held_out`` (T, 4, L) as
            bytes, 255 for a share of 1.
    """

    curves: dict[str, list[float]]
    top_accuracy: float
    film: dict[str, Tensor] = field(default_factory=dict)


def make_task(config: Config, kind: str, seed: int) -> ModularTask:
    """The task of one of the four runs of a seed: ``"task"``, ``"random_labels"``, ``"low_data"``, ``"near_miss"``."""
    if kind == "task":
        return modular_task(config.p, config.train_fraction, modular_mlp.SPLIT_OFFSET + seed)
    if kind == "near_miss":
        return modular_task(config.p, config.near_miss_fraction, NEAR_MISS_OFFSET + seed)
    low = kind == "low_data"
    fraction, labels = (config.low_data_fraction, "sum") if low else (config.train_fraction, "random")
    return modular_task(config.p, fraction, modular_mlp.LOW_DATA_OFFSET + seed, labels=labels)


def measure_run(config: Config, kind: str, seed: int, *, film: bool = False) -> Run:
    """Train one network and take every measure at every record.

    Example:
        >>> tiny = Config(p=7, hidden=32, epochs=50, dense_every=25)
        >>> run = measure_run(tiny, "task", 0)
        >>> set(MEASURES) <= set(run.curves), round(run.curves["kernel_distance"][0], 6)
        (True, 0.0)
    """
    p, task, epochs = config.p, make_task(config, kind, seed), config.records()
    _, history = modular_mlp.fit(config.network(), task, seed, epochs)
    model = QuadraticMLP(p, config.hidden, 0).to(pick_device(config.device))
    rows = {"all": torch.arange(p * p), "train": task.train, "held_out": task.held_out}
    chances = {r: chance_on_rows(p, "sum", rows[r], seed=seed) for r in ("train", "held_out")}
    chances["all"] = window_chance(p, 2)
    at = [history.steps.index(epoch) for epoch in epochs]
    curves: dict[str, list[float]] = {
        name.replace("test", "held_out"): [history.metrics[name][i] for i in at]
        for name in ("train_accuracy", "test_accuracy", "train_loss", "test_loss")
    }
    frames: dict[str, list[Tensor]] = {}
    start: Tensor | None = None
    for epoch in epochs:
        model.load_state_dict(history.snapshots[epoch])
        kernel = trace_kernel(model)
        start = kernel if start is None else start
        pairs = top_eigenpairs(kernel)
        window = pairs.vectors[:, modular_windows(p).second]
        numbers = _of_network(config, model, task) | _of_kernel(config, kernel, start, task)
        numbers |= {
            "cliff1_ratio": float(pairs.values[2 * p - 2] / pairs.values[2 * p - 1]),
            "cliff2_ratio": float(pairs.values[4 * p - 4] / pairs.values[4 * p - 3]),
            "effective_rank": effective_rank(pairs.values),
            "concentration": float(frequency_concentration(window, p).median()),
        }
        for r, level in chances.items():
            overlap = overlap_on_rows(window, fourier_features(p)["sum"], rows[r])
            numbers[f"overlap_{r}"] = (overlap - level) / (p - 1 - level)
        for name, value in numbers.items():
            curves.setdefault(name, []).append(value)
        if film:
            first = pairs.vectors[:, : 4 * p + 4]
            frames.setdefault("spectrum", []).append(pairs.values[: 4 * p + 4].float())
            frames.setdefault("shares_all", []).append(_bytes(family_shares(first, p, rows["all"])))
            frames.setdefault("shares_held_out", []).append(_bytes(family_shares(first, p, task.held_out)))
    for r in ("all", "held_out"):
        curves[f"speed_{r}"] = backward_speed(epochs, curves[f"overlap_{r}"]).tolist()
    return Run(
        curves, max(history.metrics["test_accuracy"]), {name: torch.stack(parts) for name, parts in frames.items()}
    )


def trace_kernel(model: QuadraticMLP) -> Tensor:
    r"""Trace kernel on all p*p inputs in closed form, float64: what ``empirical_ntk`` gives, in a tenth of the time.

    .. math:: K = \frac{p}{H^2} \sum_h z_h^2 z_h'^2
        + \frac{4}{H^2} \frac{x \cdot x'}{2p} \sum_h \lVert v_h \rVert^2 z_h z_h'

    Example:
        >>> net = QuadraticMLP(5, hidden=8, seed=0)
        >>> general = modular_mlp.layer_kernels(modular_mlp.Config(p=5, hidden=8), net)["total"]
        >>> torch.allclose(trace_kernel(net), general, rtol=1e-4)
        True

    Derived in book/microscope/modular-mlp.
    """
    p, hidden = model.p, model.hidden
    x = modular_task(p, 0.5, 0).inputs.double()
    w1, w2 = (layer.weight.detach().cpu().double() for layer in (model.fc1, model.fc2))
    z = x @ w1.T / (2 * p) ** 0.5
    first = 4 * (x @ x.T) / (2 * p) * ((z * w2.square().sum(0)) @ z.T)
    squares = z.square()
    return (p * squares @ squares.T + first) / hidden**2


def _of_network(config: Config, model: QuadraticMLP, task: ModularTask) -> dict[str, float]:
    """Measures that need outputs and weights only."""
    p = config.p
    with torch.no_grad():
        outputs = model(task.inputs.to(model.fc1.weight.device)).cpu()
    w1, w2 = model.fc1.weight.detach().cpu(), model.fc2.weight.detach().cpu()
    blocks = (w1[:, :p], w1[:, p:], w2.T)
    return {
        "weight_norm": float(torch.cat([w1.flatten(), w2.flatten()]).norm()),
        "inverse_participation": sum(inverse_participation(w, p) for w in blocks) / len(blocks),
        "restricted_loss": restricted_loss(outputs, task.targets, p, task.held_out),
        "restricted_loss_held_out": restricted_loss(outputs, task.targets, p, task.held_out, means_over=task.held_out),
        "excluded_loss": excluded_loss(outputs, task.targets, p, task.train),
    }


def _of_kernel(config: Config, kernel: Tensor, start: Tensor, task: ModularTask) -> dict[str, float]:
    """Measures that need the kernel, and not its eigenvectors."""
    predicted = kernel_regression(kernel, task.train, task.targets, ridge=config.ridge).argmax(1)
    numbers = {
        "kernel_distance": 1.0 - centered_cosine(kernel, start),
        "after_kernel_accuracy": float((predicted == task.labels)[task.held_out].double().mean()),
    }
    for name, rows in (("train", task.train), ("held_out", task.held_out)):
        y = task.targets[rows].double()
        numbers[f"alignment_{name}"] = centered_cosine(kernel[rows][:, rows], y @ y.T)
    return numbers


def family_shares(vectors: Tensor, p: int, rows: Tensor) -> Tensor:
    """Share of each vector's length, on some rows, in the functions of n, m, n + m and n - m: (4, d).

    On few rows every share is larger: a random vector has about (p - 1) / (number of rows) in each family.

    Example:
        >>> family_shares(fourier_features(5)["diff"], 5, torch.arange(25))[:, 0].round(decimals=6).abs().tolist()
        [0.0, 0.0, 0.0, 1.0]
    """
    seen = vectors[rows].double()
    seen = seen - seen.mean(0, keepdim=True)
    energy = seen.square().sum(0).clamp_min(1e-12)  # the constant mode has nothing left to share
    features = fourier_features(p)
    bases = [orthonormal_basis(features[f][rows]) for f in FAMILIES]
    return torch.stack([(q.T @ seen).square().sum(0) / energy for q in bases])


def _bytes(shares: Tensor) -> Tensor:
    return (shares.clamp(0, 1) * 255).round().to(torch.uint8)  # rounding may pass 1 by an ulp


def measure_chance(p: int) -> dict[str, float]:
    """Chance level of the measures that have one; overlaps are shares of the way from chance to full."""
    return {
        "held_out_accuracy": 1 / p, "after_kernel_accuracy": 1 / p, "inverse_participation": participation_chance(p),
        "overlap_all": 0.0, "overlap_train": 0.0, "overlap_held_out": 0.0,
    }  # fmt: skip
