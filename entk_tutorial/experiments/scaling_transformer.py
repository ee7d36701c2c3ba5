r"""The Transformer that adds modulo 113: trained until it groks; its nine tensors' kernels on all 12,769 pairs.

The settings are those of the literature on grokking, 30 % of the pairs in full batches and a strong weight decay. Does
the unembedding's kernel lead with the sum at the key frequencies, as at p = 29, and do the others not? Source: [Lin
2025], [Nanda 2023]. Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.data.fetch import cache_folder
from entk_tutorial.empirical import empirical_ntk, top_eigenpairs
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.provenance import canonical_json, code_hash
from entk_tutorial.features.key_frequencies import embedding_power, key_frequencies, window_shares
from entk_tutorial.models.transformer import TENSORS, ModularTransformer, modular_tokens
from entk_tutorial.models.transformer_tables import table_logits
from entk_tutorial.training import State, copy_state

SPLIT_OFFSET = 10_000
"""Seeds of the splits, kept apart from those of the weights."""

GROKKED = 0.99
"""Held-out accuracy from which a run counts as one that groks."""

BELOW = TENSORS[:-2]
"""Tensors whose kernel is no PCA of activations."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        p: modulus, odd, at least 7.
        d_model: width of the residual stream.
        heads: attention heads.
        d_mlp: neurons.
        train_fraction: share of the p*p pairs trained on, all of them in every step.
        age: training ends at this multiple of the step at which held-out accuracy reaches :data:`GROKKED`.
        max_steps: or here, whichever comes first.
        lr: of AdamW.
        weight_decay: of AdamW.
        betas: of AdamW.
        record_every: steps between two looks at the accuracy; the state is kept ten times as seldom.
        keep: whether the state is kept for a run that is cut short.
    """

    p: int = 113
    d_model: int = 128
    heads: int = 4
    d_mlp: int = 512
    train_fraction: float = 0.3
    age: float = 1.2
    max_steps: int = 20_000
    lr: float = 1e-3
    weight_decay: float = 1.0
    betas: tuple[float, float] = (0.9, 0.98)
    record_every: int = 50
    keep: bool = True

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if self.p < 7:
            raise ValueError(f"p={self.p}: too few frequencies to tell key ones from the floor; take an odd p from 7.")
        modular_task(self.p, self.train_fraction, 0)
        ModularTransformer(self.p, self.d_model, self.heads, self.d_mlp)
        if not (self.age >= 1 and self.lr > 0 and self.weight_decay >= 0 and all(0 <= b < 1 for b in self.betas)):
            raise ValueError(
                f"age={self.age}, lr={self.lr}, weight_decay={self.weight_decay}, betas={self.betas}: age is at least "
                "1, lr positive, weight decay not negative, betas in [0, 1)."
            )
        if self.record_every < 1 or self.max_steps < 0 or self.max_steps % self.record_every:
            raise ValueError(f"max_steps={self.max_steps} is no multiple of record_every={self.record_every}.")


def task_of(config: Config, seed: int) -> ModularTask:
    """All pairs, with the split of a seed."""
    return modular_task(config.p, config.train_fraction, SPLIT_OFFSET + seed)


def network(config: Config, seed: int) -> ModularTransformer:
    """The untrained network of a seed."""
    return ModularTransformer(config.p, config.d_model, config.heads, config.d_mlp, seed)


def accuracy(model: ModularTransformer, task: ModularTask, rows: Tensor) -> float:
    """Share of these pairs whose largest logit, "=" apart, is the right one."""
    with torch.no_grad():
        right = [
            table_logits(model, task.pairs[part])[:, : task.p].argmax(1) == task.labels[part]
            for part in rows.split(1024)
        ]
    return float(torch.cat(right).double().mean())


def fit(
    config: Config, seed: int, progress: ProgressFn | None = None, *, cut: Path | None = None
) -> tuple[ModularTransformer, dict[str, list[float]]]:
    """Train until it groks and somewhat longer; ``cut`` is the file of a run that was cut short, taken up if there.

    The loss is taken in double precision: near 1e-7, single precision rounds its gradient away.

    Returns:
        the network, and ``"step"``, ``"loss"``, ``"train_accuracy"``, ``"test_accuracy"`` along the run.
    """
    task, model = task_of(config, seed), network(config, seed)
    pairs, labels = task.pairs[task.train], task.labels[task.train]
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.lr, weight_decay=config.weight_decay, betas=config.betas, fused=True
    )
    curves: dict[str, list[float]] = {"step": [], "loss": [], "train_accuracy": [], "test_accuracy": []}
    start = 0
    if cut is not None and cut.is_file():
        kept = torch.load(cut, weights_only=True)
        model.load_state_dict(kept["model"])
        optimizer.load_state_dict(kept["optimizer"])
        curves, start = kept["curves"], int(kept["step"])
    for step in range(start + 1, config.max_steps + 1):
        loss = cross_entropy(table_logits(model, pairs)[:, : config.p].double(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        if step % config.record_every:
            continue
        held = accuracy(model, task, task.held_out)
        numbers = (step, float(loss.detach()), accuracy(model, task, task.train), held)
        for name, number in zip(curves, numbers, strict=True):
            curves[name].append(number)
        if progress is not None:
            progress(step / config.max_steps, f"held-out accuracy {held:.3f}")
        grokked = first_step(curves, "test_accuracy", GROKKED)
        if grokked is not None and step >= config.age * grokked:
            break
        if cut is not None and step % (10 * config.record_every) == 0:
            partial = cut.with_suffix(".part")
            torch.save(
                {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "curves": curves, "step": step},
                partial,
            )
            partial.replace(cut)
    return model, curves


def first_step(curves: dict[str, list[float]], name: str, level: float) -> float | None:
    """First recorded step at which a curve reaches a level; None if it never does.

    Example:
        >>> first_step({"step": [10, 20], "test_accuracy": [0.2, 1.0]}, "test_accuracy", 0.5)
        20
    """
    return next((step for step, value in zip(curves["step"], curves[name], strict=True) if value >= level), None)


def cut_file(config: Config, seed: int) -> Path:
    """Where a run of this config, seed and code keeps its state; the folder is made."""
    owner = {"config": asdict(config), "seed": seed, "code": code_hash(fit), "torch": torch.__version__}
    folder = cache_folder() / "training"
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{hashlib.sha256(canonical_json(owner).encode()).hexdigest()[:24]}.pt"


def rounded(config: Config, weights: State) -> ModularTransformer:
    """The network with its weights as they are stored, in 16 bits; what is measured is this one."""
    model = network(config, 0)
    model.load_state_dict({name: value.float() for name, value in weights.items()})
    return model


def tensor_windows(
    model: ModularTransformer, keys: list[int], names: Iterable[str] = TENSORS, *, held_out: Tensor | None = None
) -> tuple[dict[str, float], dict[str, list[float]]]:
    """Shares of the key modes in the windows of each tensor's mean-logit kernel, and its leading eigenvalues.

    One tensor at a time, in single precision, so that one kernel of all pairs is in memory. ``held_out`` adds the
    shares of the unembedding's kernel on these rows alone.
    """
    tokens, net = modular_tokens(model.p), copy.deepcopy(model)
    k = 2 + 4 * max(1, len(keys))
    shares: dict[str, float] = {}
    spectra: dict[str, list[float]] = {}
    for tensor in names:
        for name, weight in net.named_parameters():
            weight.requires_grad_(name == tensor)
        kernel = empirical_ntk(net, tokens, reduce="mean_logit")
        assert isinstance(kernel, Tensor)
        pairs = top_eigenpairs(kernel, min(k, len(kernel)), tolerance=1e-5)
        shares |= {f"{tensor}_{name}": value for name, value in window_shares(pairs.vectors, model.p, keys).items()}
        spectra[tensor] = pairs.values.tolist()
        if tensor == "W_U" and held_out is not None:
            part = top_eigenpairs(kernel[held_out][:, held_out], k, tolerance=1e-5).vectors
            held = window_shares(part, model.p, keys, rows=held_out)
            shares |= {f"W_U_held_out_{name}": held[name] for name in ("window1_sum", "window2_axis")}
    return shares, spectra


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One network: when it groks, the kernels of its tensors, and that of the unembedding before training."""
    task = task_of(config, seed)
    cut = cut_file(config, seed) if config.keep else None
    trained, curves = fit(config, seed, progress, cut=cut)
    weights = {name: value.half() for name, value in copy_state(trained).items()}
    model = rounded(config, weights)
    keys = key_frequencies(model.W_E.detach(), config.p)
    metrics, spectra = tensor_windows(model, keys, held_out=task.held_out)
    grokked, memorised = (first_step(curves, f"{kind}_accuracy", GROKKED) for kind in ("test", "train"))
    last = float(curves["step"][-1]) if curves["step"] else 0.0
    metrics |= {
        "grokked": float(grokked is not None),
        "grokking_step": float(last if grokked is None else grokked),
        "memorising_step": float(last if memorised is None else memorised),
        "steps": last,
        "train_accuracy": accuracy(model, task, task.train),
        "test_accuracy": accuracy(model, task, task.held_out),
        "key_count": float(len(keys)),
        "key_power": float(sum(embedding_power(model.W_E.detach(), config.p)[k - 1] for k in keys)),
        "sum_below_max": max(metrics[f"{tensor}_window{w}_sum"] for tensor in BELOW for w in (1, 2)),
    }
    progress(0.98, "untrained")
    before, spectra_before = tensor_windows(network(config, seed), keys, ("W_U",))
    before["test_accuracy"] = accuracy(network(config, seed), task, task.held_out)
    series: dict[str, list[float]] = dict(curves)
    series |= {f"spectrum_{tensor}": values for tensor, values in spectra.items()}
    series |= {"spectrum_untrained_W_U": spectra_before["W_U"], "key_frequencies": [float(k) for k in keys]}
    if cut is not None:
        cut.unlink(missing_ok=True)
    return SeedRecord(metrics, {"untrained": before}, series, {}, weights)


def chance(config: Config) -> dict[str, float]:
    """Chance levels: of a right answer, and of the shares with five key frequencies."""
    n = config.p**2
    levels = {f"{tensor}_window1_sum": 11 / n for tensor in TENSORS}
    return levels | {"test_accuracy": 1 / config.p, "W_U_window2_axis": 10 / n}


EXPERIMENT = Experiment(
    name="scaling_transformer",
    title="The Transformer at p = 113, trained until it groks; the kernels of its nine tensors on 12,769 pairs",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(
        Config(), p=23, d_model=48, d_mlp=96, train_fraction=0.8, max_steps=2000, lr=2e-3, keep=False
    ),
    seconds_per_seed=3000.0,
    tolerances={"*": 0.1, "grokking_step": 4000.0, "memorising_step": 1000.0, "steps": 5000.0, "key_count": 3.0},
    cheap=False,
)  # fmt: skip


def run(
    config: Config | None = None,
    seeds: Iterable[int] = range(5),
    *,
    results_dir: Path | str | None = None,
    progress: bool = False,
) -> Result:
    """Run the experiment over seeds; see :func:`entk_tutorial.experiments.base.run_experiment`.

    Example:
        >>> import warnings
        >>> tiny = Config(p=7, d_model=8, heads=2, d_mlp=8, train_fraction=0.8, max_steps=100, keep=False)
        >>> with warnings.catch_warnings():
        ...     warnings.simplefilter("ignore")        # the kernel of three positions has few directions
        ...     result = run(tiny, seeds=[0])
        >>> result.metrics["steps"]
        array([100.])
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
