r"""The modular-addition Transformer: which functions the kernel of each weight tensor amplifies.

Two trainings a seed (the task, and random labels). Key frequencies are read off the trained embedding; the kernel of
each of the nine tensors, of the mean logit and summed over logits, is split into the windows that go with them. Some
runs do not grok: they are reported like the others. Source: [Lin 2025].
Chapter: book/microscope/modular-transformer.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.empirical import Eigenpairs, empirical_ntk, top_eigenpairs
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features import fourier_features, permutation_null, plane_energy, residues, subspace_overlap
from entk_tutorial.features.key_frequencies import (
    embedding_power,
    frequency_columns,
    key_frequencies,
    key_windows,
    window_shares,
)
from entk_tutorial.models.transformer import TENSORS, ModularTransformer, modular_tokens
from entk_tutorial.training import History, State, copy_state, pick_device, train

SPLIT_OFFSET, RANDOM_LABELS_OFFSET, BATCH_OFFSET = 10_000, 20_000, 30_000
"""Seeds of splits, random labels and batches, kept apart from those of the weights."""

GROKKED = 0.95
"""Held-out accuracy from which a run counts as one that groks."""

SUM_SHARE, AXIS_SHARE = 0.80, 0.85
"""Shares of the key modes from which the two windows of the unembedding count as holding them."""

BELOW, MEMORY = TENSORS[:-2], 3 * 2**30
"""Tensors whose kernel is no PCA of activations (all but ``W_out`` and ``W_U``), and bytes allowed for one kernel."""


@dataclass(frozen=True)
class Config:
    """Settings, at the paper's scale by default.

    Attributes:
        p: modulus, odd, at least 7.
        d_model: width of the residual stream.
        heads: attention heads.
        d_mlp: neurons.
        train_fraction: share of the p*p pairs trained on.
        epochs: passes over the training pairs; 0 measures the untrained network.
        batch: pairs in a batch, shuffled anew in every epoch; the last one of an epoch may be smaller.
        lr: of AdamW.
        weight_decay: of AdamW.
        record_every: epochs between two records of accuracy and loss.
        kernel_every: epochs between two kernels along the run.
        controls: whether to train the control network, on random labels.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``.
    """

    p: int = 29
    d_model: int = 64
    heads: int = 4
    d_mlp: int = 256
    train_fraction: float = 0.5
    epochs: int = 4000
    batch: int = 64
    lr: float = 3e-4
    weight_decay: float = 1.0
    record_every: int = 50
    kernel_every: int = 250
    controls: bool = True
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if self.p < 7:
            raise ValueError(f"p={self.p}: too few frequencies to tell key ones from the floor; take an odd p from 7.")
        modular_task(self.p, self.train_fraction, 0)  # checks modulus and fraction, with their reasons
        ModularTransformer(self.p, self.d_model, self.heads, self.d_mlp)  # checks the widths
        counts = (self.batch, self.record_every, self.kernel_every)
        if min(counts) < 1 or self.epochs < 0 or not (self.lr > 0 and self.weight_decay >= 0):
            raise ValueError(
                f"batch, record_every, kernel_every={counts}, epochs={self.epochs}, lr={self.lr}, weight_decay="
                f"{self.weight_decay}: the first three and lr must be positive, the others not negative."
            )
        if self.epochs % self.record_every or self.epochs % self.kernel_every:
            raise ValueError(
                f"epochs={self.epochs} is no multiple of record_every={self.record_every} and "
                f"kernel_every={self.kernel_every}."
            )

    def network(self, seed: int) -> ModularTransformer:
        """The untrained network of a seed, on the device."""
        return ModularTransformer(self.p, self.d_model, self.heads, self.d_mlp, seed).to(pick_device(self.device))

    def task(self, seed: int) -> ModularTask:
        """The pairs of a seed: each has a split of its own."""
        return modular_task(self.p, self.train_fraction, SPLIT_OFFSET + seed)

    def batches(self, rows: Tensor, seed: int) -> Iterator[Tensor]:
        """Batches of these rows without end."""
        return shuffled_batches(rows, self.batch, torch.Generator().manual_seed(BATCH_OFFSET + seed))


def shuffled_batches(rows: Tensor, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches of these rows without end: each epoch in a new order, its last batch what is left."""
    while True:
        yield from rows[torch.randperm(len(rows), generator=generator).to(rows.device)].split(size)


def fit(
    config: Config, task: ModularTask, seed: int, snapshots: Iterable[int] = ()
) -> tuple[ModularTransformer, History]:
    """Train one network on ``task``; accuracy, loss and snapshots along the way, all counted in epochs.

    The loss is taken in double precision: near 1e-7, single precision rounds its gradient away.

    Raises:
        TrainingError: if the loss is not finite; it names the step, and holds what was recorded (in steps).
    """
    model = config.network(seed)
    device = model.W_E.device
    tokens, labels = modular_tokens(config.p).to(device), task.labels.to(device)
    train_rows, test_rows = task.train.to(device), task.held_out.to(device)
    a_step = len(train_rows.split(config.batch))  # batches in an epoch
    batches = config.batches(train_rows, seed)
    optimizer = torch.optim.AdamW(model.parameters(), lr=config.lr, weight_decay=config.weight_decay, fused=True)

    def loss(net: torch.nn.Module) -> Tensor:
        rows = next(batches)
        return cross_entropy(net(tokens[rows])[:, : config.p].double(), labels[rows])

    def evaluate(net: torch.nn.Module) -> dict[str, float]:
        logits = net(tokens)[:, : config.p].double()
        right = (logits.argmax(1) == labels).double()
        losses = cross_entropy(logits, labels, reduction="none")
        return {
            "train_accuracy": float(right[train_rows].mean()),
            "test_accuracy": float(right[test_rows].mean()),
            "train_loss": float(losses[train_rows].mean()),
            "test_loss": float(losses[test_rows].mean()),
        }

    history = train(
        model, loss, optimizer, config.epochs * a_step,
        evaluate=evaluate,
        record_at=range(0, config.epochs * a_step + 1, config.record_every * a_step),
        snapshots_at=[epoch * a_step for epoch in snapshots],
    )  # fmt: skip
    history.steps = [step // a_step for step in history.steps]
    history.snapshots = {step // a_step: state for step, state in history.snapshots.items()}
    return model, history


def tensor_kernels(
    model: ModularTransformer, reduce: str = "mean_logit", names: Iterable[str] = TENSORS
) -> dict[str, Tensor]:
    """Kernel of each weight tensor on all p*p inputs, over all p + 1 logits: float64 on the CPU.

    In double precision: in single, the mean logit of ``W_Q`` has a dozen eigenvalues above rounding, windows are wider.

    Args:
        model: left as it is.
        reduce: ``"mean_logit"`` (the mean over all pairs of logits) or ``"trace"`` (the sum over logits).
        names: which tensors.

    Example:
        >>> kernels = tensor_kernels(ModularTransformer(7, d_model=8, heads=2, d_mlp=8))
        >>> list(kernels) == list(TENSORS), kernels["W_U"].shape
        (True, torch.Size([49, 49]))
    """
    names = list(names)
    tokens = modular_tokens(model.p).to(model.W_E.device)
    net = copy.deepcopy(model).double()
    groups = [names] if reduce == "mean_logit" else [[name] for name in names]  # a trace's gradients are many
    out: dict[str, Tensor] = {}
    for group in groups:
        for name, weight in net.named_parameters():
            weight.requires_grad_(name in group)
        parts = empirical_ntk(net, tokens, reduce=reduce, by="parameter", max_bytes=MEMORY)
        assert isinstance(parts, dict)
        out |= {name: parts[name].double().cpu() for name in group}
    return out


def measure_tensors(kernels: dict[str, Tensor], p: int, keys: list[int]) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Shares of the key modes in the windows of each kernel, and the kernels' spectra.

    ``<tensor>_window1_sum`` and the like are those of :func:`window_shares`; ``<tensor>_all_axis`` and ``_all_sum``
    the share of the family's p - 1 modes, of all frequencies, in the first p eigenvectors.
    """
    numbers, spectra = dict[str, float](), dict[str, Tensor]()
    features = fourier_features(p)
    for tensor, kernel in kernels.items():
        pairs = top_eigenpairs(kernel)
        numbers |= {f"{tensor}_{k}": v for k, v in window_shares(pairs.vectors, p, keys).items()}
        for name, family in (("axis", "axis_sum"), ("sum", "sum")):
            found = subspace_overlap(pairs.vectors[:, :p], features[family]).value
            numbers[f"{tensor}_all_{name}"] = found / (p - 1)
        spectra[tensor] = pairs.values
    return numbers, spectra


def neuron_concentration(model: ModularTransformer) -> Tensor:
    """Largest share of each neuron's varying activation in one frequency, of n, m, n+m and n-m together.

    Neurons that never vary are left out, so there may be fewer than ``d_mlp``.
    """
    with torch.no_grad():
        active = model.neurons(modular_tokens(model.p).to(model.W_E.device)).double().cpu()
    varying = active - active.mean(0)
    varying = varying[:, varying.norm(dim=0) > 1e-6 * active.norm()]
    return plane_energy(varying, model.p).sum(0).amax(0) if varying.shape[1] else torch.zeros(1)


def _baselines(
    config: Config, model: ModularTransformer, w_u: Eigenpairs, keys: list[int], n_held_out: int, seed: int
) -> dict[str, dict[str, float]]:
    """Controls that need no further training."""
    p, n, windows, features = config.p, config.p**2, key_windows(len(keys)), fourier_features(config.p)
    out: dict[str, dict[str, float]] = {}
    tokens = modular_tokens(p).to(model.W_E.device)
    with torch.no_grad():
        inner = {"W_U": model.residual(tokens).double().cpu(), "W_out": model.neurons(tokens).double().cpu()}
    out["pca"] = {}
    for tensor, a in inner.items():  # uncentred PCA over the inputs
        shares = window_shares(top_eigenpairs(a @ a.T).vectors, p, keys)
        out["pca"] |= {f"{tensor}_{name}": value for name, value in shares.items()}

    others = [k for k in range(1, (p - 1) // 2 + 1) if k not in keys]
    single = {"sum": ("sum", windows.first), "axis": ("axis_sum", windows.second)}
    out["other_frequencies"], out["relabelled"] = {}, {}
    generator = torch.Generator().manual_seed(seed)
    renamed = [torch.randperm(p, generator=generator) for _ in range(20)]
    for name, (family, part) in single.items():
        metric = f"W_U_window{1 if name == 'sum' else 2}_{name}"
        u, found, null = w_u.vectors[:, part], 0.0, 0.0
        if keys:
            rest = features[family][:, frequency_columns(others, p)]
            found = subspace_overlap(u, rest).value / (2 * len(others))
            modes = features[family][:, frequency_columns(keys, p)]
            if name == "sum":
                draws = permutation_null(u, modes, group="relabel", labels=residues(p, "sum"), draws=20, seed=seed)
                null = float(draws.mean())
            else:  # functions of both digits: the digits get other names
                grid = torch.arange(n).reshape(p, p)
                null = sum(subspace_overlap(u, modes[grid[o][:, o].flatten()]).value for o in renamed) / 20
        out["other_frequencies"][metric], out["relabelled"][metric] = found, null / max(1, 2 * len(keys))
    out["random_window"] = {
        "W_U_window1_sum": (1 + 2 * len(keys)) / n,
        "W_U_window2_axis": 2 * len(keys) / n,
        "W_U_held_out_window1_sum": (1 + 2 * len(keys)) / n_held_out,
        "W_U_held_out_window2_axis": 2 * len(keys) / n_held_out,
    }
    return out


def _along_the_run(
    config: Config, held_out: Tensor, snapshots: dict[int, State], keys: list[int], report: ProgressFn
) -> dict[str, list[object]]:
    """Unembedding's windows and the embedding's spectrum at each snapshot, for the final key frequencies."""
    model = config.network(0)
    out: dict[str, list[object]] = {"kernel_epoch": [float(epoch) for epoch in sorted(snapshots)]}
    for i, epoch in enumerate(sorted(snapshots)):
        report(0.8 + 0.15 * i / len(snapshots), f"kernel at epoch {epoch}")
        model.load_state_dict(snapshots[epoch])
        kernel = tensor_kernels(model, names=("W_U",))["W_U"]
        for prefix, rows in (("all", None), ("held_out", held_out)):
            part = kernel if rows is None else kernel[rows][:, rows]
            shares = window_shares(top_eigenpairs(part).vectors, config.p, keys, rows=rows)
            out.setdefault(f"{prefix}_sum", []).append(shares["window1_sum"])
            out.setdefault(f"{prefix}_axis", []).append(shares["window2_axis"])
        out.setdefault("power", []).append(embedding_power(model.W_E, config.p).tolist())
    return out


def _first(epochs: list[int], values: list[float], threshold: float) -> float:
    """First recorded epoch from which a curve stays at or above a threshold; the last epoch if there is none."""
    below = [i for i, value in enumerate(values) if value < threshold]
    return float(epochs[min(below[-1] + 1, len(epochs) - 1)] if below else epochs[0])


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: the network, the kernels of its tensors, its controls."""
    p = config.p
    task, untrained = config.task(seed), config.network(seed)
    model, history = fit(config, task, seed, range(0, config.epochs + 1, config.kernel_every))
    progress(0.35, "trained")
    keys = key_frequencies(model.W_E, p)
    n_modes = 2 * len(keys)

    kernels = tensor_kernels(model)
    metrics, spectra = measure_tensors(kernels, p, keys)
    traces = measure_tensors(tensor_kernels(model, "trace"), p, keys)[0]
    metrics |= {f"trace_{name}": value for name, value in traces.items()}
    progress(0.55, "kernels")
    w_u = top_eigenpairs(kernels["W_U"])
    fixed = window_shares(w_u.vectors, p, keys, windows=key_windows(2))
    held_out = task.held_out
    held = window_shares(top_eigenpairs(kernels["W_U"][held_out][:, held_out]).vectors, p, keys, rows=held_out)
    last = {name: values[-1] for name, values in history.metrics.items()}
    holds = metrics["W_U_window1_sum"] >= SUM_SHARE and metrics["W_U_window2_axis"] >= AXIS_SHARE
    below = [f"{prefix}{t}_window{w}_sum" for prefix in ("", "trace_") for t in BELOW for w in (1, 2)]
    concentration = neuron_concentration(model)
    metrics |= last | {
        "key_count": float(len(keys)),
        "two_frequencies": float(len(keys) == 2),
        "two_frequencies_grokked": float(len(keys) == 2 and last["test_accuracy"] >= GROKKED),
        "grokked": float(last["test_accuracy"] >= GROKKED),
        "grokking_epoch": _first(history.steps, history.metrics["test_accuracy"], GROKKED),
        "memorising_epoch": _first(history.steps, history.metrics["train_accuracy"], 0.99),
        "W_U_sum": metrics["W_U_window1_sum"] * n_modes,
        "W_U_axis": metrics["W_U_window2_axis"] * n_modes,
        "windows_hold": float(holds),
        "W_U_fixed_sum": fixed["window1_sum"],
        "W_U_fixed_axis": fixed["window2_axis"],
        "fixed_slices_hold": float(fixed["window1_sum"] >= SUM_SHARE and fixed["window2_axis"] >= AXIS_SHARE),
        "W_U_held_out_window1_sum": held["window1_sum"],
        "W_U_held_out_window2_axis": held["window2_axis"],
        "sum_below_max": max(metrics[name] for name in below),
        "key_power": float(sum(embedding_power(model.W_E, p)[k - 1] for k in keys)),
        "neuron_concentration": float(concentration.median()),
        "neurons_one_frequency": float((concentration >= 0.85).double().mean()),
    }

    before, spectra_before = measure_tensors(tensor_kernels(untrained), p, keys)
    before |= {
        "W_U_sum": before["W_U_window1_sum"] * n_modes,
        "W_U_axis": before["W_U_window2_axis"] * n_modes,
        "key_count": float(len(key_frequencies(untrained.W_E, p))),
        "neuron_concentration": float(neuron_concentration(untrained).median()),
    }
    controls = {"untrained": before} | _baselines(config, model, w_u, keys, len(held_out), seed)
    if config.controls and config.epochs:
        other = modular_task(p, config.train_fraction, RANDOM_LABELS_OFFSET + seed, labels="random")
        net, past = fit(config, other, seed)
        numbers = measure_tensors(tensor_kernels(net, names=("W_U",)), p, keys)[0]
        numbers |= {name: past.metrics[name][-1] for name in ("train_accuracy", "test_accuracy")}
        controls["random_labels"] = numbers | {"key_count": float(len(key_frequencies(net.W_E, p)))}
        progress(0.8, "random labels")

    with torch.no_grad():
        looks = model.attention(modular_tokens(p).to(model.W_E.device)).double().cpu()
    series: dict[str, list[object]] = {"epoch": list(history.steps), **{k: list(v) for k, v in history.metrics.items()}}
    series |= _along_the_run(config, held_out, history.snapshots, keys, progress)
    series |= {
        "key_frequencies": list(keys),
        "embedding_power": embedding_power(model.W_E, p).tolist(),
        "attention_mean": looks.mean(0).tolist(),
        "attention_std": looks.std(0).tolist(),
        "neuron_concentration": concentration.sort(descending=True).values.tolist(),
        "spectrum_untrained_W_U": spectra_before["W_U"][: 2 * p].tolist(),
        **{f"spectrum_{tensor}": values[: 2 * p].tolist() for tensor, values in spectra.items()},
    }
    return SeedRecord(metrics, controls, series, {"eigenvectors_W_U": w_u.vectors[:, :p]}, copy_state(model))


def chance(config: Config) -> dict[str, float]:
    """Chance levels: of a right answer, and of the shares with K = 2 (those of each seed's own K are a control)."""
    n = config.p**2
    return {"test_accuracy": 1 / config.p, "W_U_window1_sum": 5 / n, "W_U_window2_axis": 4 / n}


EXPERIMENT = Experiment(
    name="modular_transformer",
    title="A Transformer learns addition modulo 29; the kernel of its unembedding holds the sum at its key frequencies",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(
        Config(), p=23, d_model=48, d_mlp=96, train_fraction=0.8, epochs=500, lr=2e-3, kernel_every=250, controls=False
    ),
    seconds_per_seed=60.0,
    tolerances={"*": 0.1, "grokking_epoch": 500.0, "memorising_epoch": 200.0, "W_U_sum": 0.5, "W_U_axis": 0.5},
    cheap=False,
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
        >>> tiny = Config(p=7, d_model=8, heads=2, d_mlp=8, epochs=0, record_every=1, kernel_every=1)
        >>> run(tiny, seeds=[0]).metrics["key_count"]       # nothing was learned
        array([0.])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
