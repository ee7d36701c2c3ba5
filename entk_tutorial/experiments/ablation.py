r"""What the modular-addition MLP uses, against what its tangent kernel can still move.

The networks of :mod:`entk_tutorial.experiments.modular_mlp`, seed for seed. From their tables on all p*p inputs,
functions of one linear form of the digits are taken out, or moved by one residue; then as many random, principal
and eigen-directions. Beside it the kernel's own measure: its mean Rayleigh quotient on each family. Source of the
networks: [Lin 2025]. Chapter: book/microscope/layers.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.empirical import empirical_ntk, top_eigenpairs
from entk_tutorial.experiments import modular_mlp
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features.ablation import (
    energy_share,
    feature_directions,
    line_families,
    line_residues,
    moved_functions,
    only_functions,
    random_functions,
    without_directions,
    without_functions,
)
from entk_tutorial.features.windows import modular_windows
from entk_tutorial.models.modular import QuadraticMLP

Numbers = dict[str, float]
USED = ("m", "n", "sum", "diff")
"""Families with a name; the other p - 3 lines are placebos, as large and as regular, and of no use to the task."""


@dataclass(frozen=True)
class Config:
    """Settings, at the paper's scale by default.

    Attributes:
        p: modulus, a prime from 5 on, so that the families n + a m share out all functions.
        hidden: H, neurons.
        train_fraction: share of the p*p pairs trained on.
        epochs: full-batch steps; 0 takes the untrained network apart.
        lr: of AdamW.
        weight_decay: of AdamW.
        low_data_fraction: share of the pairs in the control that memorises.
        draws: random spaces as large as a family; a quarter as many of equal energy.
        device: for training, ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    p: int = 29
    hidden: int = 512
    train_fraction: float = 0.7
    epochs: int = 500
    lr: float = 0.05
    weight_decay: float = 0.01
    low_data_fraction: float = 0.3
    draws: int = 20
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        line_residues(self.p)
        if self.draws < 1:
            raise ValueError(f"draws={self.draws}; at least one random space is expected.")
        self.training  # noqa: B018  # checks the rest, with its reasons
        for share in (self.train_fraction, self.low_data_fraction):
            if min(share, 1 - share) * self.p < 2:
                raise ValueError(f"a share of {share} leaves a side with fewer than two pairs for each sum.")

    @property
    def training(self) -> modular_mlp.Config:
        """The same networks in the experiment that trains them."""
        shared = ("p", "hidden", "train_fraction", "epochs", "lr", "weight_decay", "low_data_fraction", "device")
        return modular_mlp.Config(**{k: getattr(self, k) for k in shared}, kernel_every=max(1, self.epochs))


@dataclass(frozen=True)
class Tables:
    """What a network computes on all inputs, layer by layer, in float64.

    Attributes:
        sums: (N, H) before the square.
        activations: (N, H) after it.
        outputs: (N, p).
        readout: (p, H) from activations to outputs.
    """

    sums: Tensor
    activations: Tensor
    outputs: Tensor
    readout: Tensor

    @classmethod
    def of(cls, model: QuadraticMLP, inputs: Tensor) -> Tables:
        """Evaluate a network on all inputs."""
        first, second = (layer.weight.detach().double().cpu() for layer in (model.fc1, model.fc2))
        sums = inputs.double() @ first.T / math.sqrt(2 * model.p)
        activations, readout = sums.square(), second / model.hidden
        return cls(sums, activations, activations @ readout.T, readout)


def network(config: Config, seed: int, *, low_data: bool = False) -> tuple[QuadraticMLP, ModularTask]:
    """The trained network of a seed and its task: the one of ``modular_mlp``, or the one that memorises few pairs."""
    fraction = config.low_data_fraction if low_data else config.train_fraction
    offset = modular_mlp.LOW_DATA_OFFSET if low_data else modular_mlp.SPLIT_OFFSET
    task = modular_task(config.p, fraction, offset + seed)
    return modular_mlp.fit(config.training, task, seed)[0], task


def left(outputs: Tensor, task: ModularTask) -> Numbers:
    """Accuracy and squared error (mean over entries) of an altered output table, on all rows and on each side."""
    right = (outputs.argmax(1) == task.labels).double()
    squares = (outputs - task.targets).square().mean(1)
    out = {"accuracy_left": float(right.mean()), "loss_left": float(squares.mean())}
    for side, rows in (("train", task.train), ("held_out", task.held_out)):
        out |= {f"{side}_accuracy_left": float(right[rows].mean()), f"{side}_loss_left": float(squares[rows].mean())}
    return out


def removed(table: Tensor, functions: Tensor, task: ModularTask) -> Numbers:
    """Take functions out of the outputs: on all rows at once, and on the two sides of the split separately.

    The second knows no more of the labels than the first, but leaves no function of "sum and side" behind: the memory
    of the training pairs.
    """
    apart = table.double().clone()
    for rows in (task.train, task.held_out):
        apart[rows] = without_functions(table[rows], functions[rows])
    sides = {f"apart_{k}": v for k, v in left(apart, task).items() if k == "accuracy_left" or "held" in k}
    return left(without_functions(table, functions), task) | sides


def moved(table: Tensor, residue: Tensor, task: ModularTask) -> Numbers:
    """Share of answers that change when one family's part is moved by one residue."""
    changed = (moved_functions(table, residue).argmax(1) != table.argmax(1)).double()
    return {"answers_moved": float(changed.mean()), "train_answers_moved": float(changed[task.train].mean())}


def mean_of(many: Iterable[Numbers]) -> Numbers:
    """Mean of each number over draws."""
    drawn = list(many)
    return {name: sum(d[name] for d in drawn) / len(drawn) for name in drawn[0]}


def mobility(kernel: Tensor, p: int) -> dict[str, float]:
    """Mean Rayleigh quotient of a kernel on each family, relative to the mean over the placebos."""
    raw = {name: float(torch.einsum("ij,ik,kj->", q, kernel, q)) / (p - 1) for name, q in line_families(p).items()}
    placebos = [v for name, v in raw.items() if name not in USED]
    return {name: v * len(placebos) / sum(placebos) for name, v in raw.items()}


def mirror_error(table: Tensor, p: int) -> float:
    r"""Largest relative difference between a table's energy in n + a m and in n - a m, over all a."""
    families = line_families(p)
    energy = [energy_share(table, q) for name, q in families.items() if name not in ("n", "m")]
    return max(abs(x - y) / max(x, y) for x, y in zip(energy, reversed(energy), strict=True))


def layer_kernels(model: QuadraticMLP) -> dict[str, Tensor]:
    """Trace kernels by layer, and their sum, as in ``modular_mlp``, but computed in float64: identities are checked."""
    inputs = modular_task(model.p, 0.5, 0).inputs.double()
    parts = empirical_ntk(copy.deepcopy(model).double().cpu(), inputs, reduce="trace", by="layer")
    assert isinstance(parts, dict)
    return {**parts, "total": parts["fc1"] + parts["fc2"]}


def identities(config: Config, model: QuadraticMLP, tables: Tables) -> tuple[Numbers, dict[str, dict[str, float]]]:
    """What holds for any weights, measured as an error; and the mobility of every family, by layer."""
    p = config.p
    q = line_families(p)["sum"]
    one, other = (without_functions(tables.activations, q) @ tables.readout.T, without_functions(tables.outputs, q))
    kernels = layer_kernels(model)
    moves = {name: mobility(k, p) for name, k in kernels.items()}
    mixed = [v for name, v in moves["fc1"].items() if name not in ("n", "m")]
    return {
        "commutes_error": float((one - other).norm() / tables.outputs.norm()),
        "mirror_error": mirror_error(tables.activations, p),
        "layer1_spread": max(mixed) / min(mixed) - 1,
        **{f"mobility_{family}": moves["total"][family] for family in USED},
    }, moves


def _spaces(p: int, model: QuadraticMLP, tables: Tables) -> dict[str, Tensor]:
    """Spaces of functions to take out beside the families: principal components and eigenvectors of the kernel."""
    windows = modular_windows(p)
    pairs = top_eigenpairs(layer_kernels(model)["total"])
    spaces = {"window1": pairs.vectors[:, windows.first], "window2": pairs.vectors[:, windows.second]}
    for name, table in (("activation_pca", tables.activations), ("output_pca", tables.outputs)):
        components = torch.linalg.svd(table - table.mean(0), full_matrices=False)[0]
        spaces[name] = components[:, : min(p - 1, components.shape[1])]
    return spaces


def _layers_below(config: Config, tables: Tables, task: ModularTask, seed: int) -> dict[str, Numbers]:
    """Ablations inside the network: functions before the square, directions of the activations."""
    families = line_families(config.p)
    axes = torch.cat([families["n"], families["m"]], 1)

    def answer(activations: Tensor) -> Numbers:
        return left(activations @ tables.readout.T, task)

    out = {
        "sums_without_sum": answer(without_functions(tables.sums, families["sum"]).square()),
        "sums_without_axes": answer(without_functions(tables.sums, axes).square()),
    }
    generator = torch.Generator().manual_seed(seed)
    directions = {
        f"directions_{name}": feature_directions(tables.activations, families[name]) for name in ("sum", "diff", "n")
    }
    width = min(config.p - 1, config.hidden)
    directions["directions_random"] = torch.randn(config.hidden, width, generator=generator, dtype=torch.float64)
    return out | {name: answer(without_directions(tables.activations, v)) for name, v in directions.items()}


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: the network that generalises, taken apart; the one that memorises, as a control."""
    p, families, lines = config.p, line_families(config.p), line_residues(config.p)
    model, task = network(config, seed)
    progress(0.4, "trained")
    tables = Tables.of(model, task.inputs)
    outputs = tables.outputs
    every = {name: removed(outputs, q, task) | moved(outputs, lines[name], task) for name, q in families.items()}
    placebos = [v for name, v in every.items() if name not in USED]
    share = energy_share(outputs, families["sum"])
    wide = min(max(1, round(share * (p * p - 1))), p * p - 1)

    controls = {name: every[name] for name in USED if name != "sum"}
    controls["placebo_worst"] = {
        k: (max if "loss" in k or "moved" in k else min)(v[k] for v in placebos) for k in placebos[0]
    }
    controls["nothing"] = left(outputs, task)
    controls["constant"] = left(outputs.mean(0).expand_as(outputs), task)
    controls["random"] = mean_of(
        removed(outputs, q, task) for q in random_functions(p * p, p - 1, config.draws, seed=seed)
    )
    few_draws = max(1, config.draws // 4)  # wide spaces take long, and differ little
    controls["equal_energy"] = mean_of(
        left(without_functions(outputs, q), task) for q in random_functions(p * p, wide, few_draws, seed=seed)
    )
    controls["equal_energy"]["dimensions"] = float(wide)
    controls |= {name: removed(outputs, q, task) for name, q in _spaces(config.p, model, tables).items()}
    controls |= _layers_below(config, tables, task, seed)
    controls |= {f"only_{name}": left(only_functions(outputs, families[name]), task) for name in ("sum", "diff")}
    progress(0.6, "taken apart")

    few, few_task = network(config, seed, low_data=True)
    few_outputs = Tables.of(few, few_task.inputs).outputs
    controls["memoriser"] = removed(few_outputs, families["sum"], few_task) | moved(few_outputs, lines["sum"], few_task)
    controls["memoriser_nothing"] = left(few_outputs, few_task)
    controls["memoriser_only_sum"] = left(only_functions(few_outputs, families["sum"]), few_task)

    start = QuadraticMLP(p, config.hidden, seed)
    controls["untrained"] = identities(config, start, Tables.of(start, task.inputs))[0]
    exact, moves = identities(config, model, tables)
    own = outputs.gather(1, task.labels[:, None])[:, 0]
    centred = own - torch.stack([own[task.labels == s].mean() for s in range(p)])[task.labels]
    metrics = every["sum"] | exact
    metrics["mean_correct_left"] = float(centred.mean().abs() / own.std())
    for side, rows in (("train", task.train), ("held_out", task.held_out)):
        metrics[f"{side}_correct_logit"] = float(own[rows].mean())
        metrics[f"{side}_above_mean"] = float((centred[rows] > 0).double().mean())
    metrics |= {f"outputs_{f}": energy_share(outputs, families[f]) for f in USED}
    metrics |= {f"activations_{f}": energy_share(tables.activations, families[f]) for f in USED}
    series = {
        "answers_moved": [v["answers_moved"] for v in every.values()],
        "accuracy_left": [v["accuracy_left"] for v in every.values()],
        "mobility": list(moves["total"].values()),
        "mobility_layer1": list(moves["fc1"].values()),
        "mobility_layer2": list(moves["fc2"].values()),
        "energy_outputs": [energy_share(outputs, q) for q in families.values()],
        "energy_activations": [energy_share(tables.activations, q) for q in families.values()],
    }
    return SeedRecord(metrics, controls, series, {f"weights_{k}": v for k, v in model.state_dict().items()})


def chance(config: Config) -> Numbers:
    """A constant answer: its accuracy, and the smallest squared error that a constant can have."""
    p = config.p
    return {
        **{f"{side}accuracy_left": 1 / p for side in ("", "train_", "held_out_", "apart_", "apart_held_out_")},
        "loss_left": (1 - 1 / p) / p,
        **{f"activations_{f}": 1 / (p + 1) for f in USED},
        **{f"outputs_{f}": 1 / (p + 1) for f in USED},
    }


EXPERIMENT = Experiment(
    name="ablation",
    title="An MLP that adds modulo 29, taken apart: what it uses, against what its kernel can still move",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), p=19, hidden=256, train_fraction=0.8, epochs=300, draws=5),
    seconds_per_seed=20.0,
    tolerances={"*": 0.05, "dimensions": 20.0, "mobility_n": 1.0, "mobility_m": 1.0, "mobility_sum": 0.5},
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
        >>> result = run(Config(p=7, hidden=64, epochs=0, draws=2), seeds=[0])
        >>> bool(result.metrics["commutes_error"][0] < 1e-12)      # an identity, trained or not
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
