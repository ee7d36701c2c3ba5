r"""From lazy to rich: one number, the output scale, decides whether the modular-addition MLP learns features.

The centred network times :math:`\alpha`, trained by plain gradient descent, whose flow the eNTK governs, to the same
training loss at every scale: when are training and held-out pairs right, how far does the kernel move, how close is
the outcome to the linearised network's? Then the same with AdamW, whose flow another kernel governs.
Source: [Kumar 2024], [Chizat 2019]. Chapter: book/microscope/lazy-to-rich.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from entk_tutorial.data import ModularTask, modular_task
from entk_tutorial.empirical import empirical_ntk, top_eigenpairs
from entk_tutorial.empirical.flow import FlowHistory, gradient_flow, linearized_limit
from entk_tutorial.empirical.short_step import short_step
from entk_tutorial.empirical.similarity import centered_cosine, kernel_regression
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features import fourier_features, subspace_overlap
from entk_tutorial.features.windows import modular_windows, window_chance
from entk_tutorial.models.modular import QuadraticMLP, expected_initial_kernel
from entk_tutorial.models.scaled import Scaled
from entk_tutorial.training import train

SPLIT_OFFSET, LABEL_OFFSET = 10_000, 20_000
"""Seeds of the splits and of the random labels, kept apart from those of the weights."""

RIDGE = 1e-3
"""Of the kernel regressions, as a share of the mean diagonal."""

LEARNED = 0.95
"""Accuracy at which a set of pairs counts as learned."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        p: modulus, odd, at least 5.
        hidden: H, neurons.
        train_fraction: share of the p*p pairs trained on.
        scales: output scales alpha, growing.
        stop: training loss, as a share of the first one, at which gradient descent stops.
        max_steps: budget of gradient descent at each scale.
        control_scale: scale of the control with random labels.
        adamw_scales: output scales of AdamW, growing from 1.
        adamw_lr: its learning rate at scale 1.
        adamw_weight_decay: its weight decay.
        adamw_epochs: its full-batch steps.
        later_step: AdamW step at which the kernel of its flow is looked at a second time.
    """

    p: int = 29
    hidden: int = 512
    train_fraction: float = 0.7
    scales: tuple[float, ...] = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 1000.0)
    stop: float = 0.003
    max_steps: int = 4000
    control_scale: float = 1.0
    adamw_scales: tuple[float, ...] = (1.0, 10.0, 100.0)
    adamw_lr: float = 0.05
    adamw_weight_decay: float = 0.01
    adamw_epochs: int = 500
    later_step: int = 50

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        modular_task(self.p, self.train_fraction, 0)
        if self.p < 5 or self.hidden < 1:
            raise ValueError(f"p={self.p}, hidden={self.hidden}: an odd p from 5 on and at least one neuron, please.")
        for name in ("scales", "adamw_scales"):
            values = getattr(self, name)
            if not values or values[0] <= 0 or sorted(set(values)) != list(values):
                raise ValueError(f"{name}={values}; growing positive numbers are expected, at least one.")
        if self.adamw_scales[0] != 1 or self.control_scale <= 0:
            raise ValueError(
                f"adamw_scales={self.adamw_scales}, control_scale={self.control_scale}: the former start at 1, the "
                "latter is positive."
            )
        if not (self.adamw_lr > 0 and self.adamw_weight_decay >= 0 and 2 <= self.later_step <= self.adamw_epochs):
            raise ValueError(
                f"adamw_lr={self.adamw_lr}, adamw_weight_decay={self.adamw_weight_decay}, later_step="
                f"{self.later_step}, adamw_epochs={self.adamw_epochs}: expected lr > 0, decay >= 0, and "
                "2 <= later_step <= adamw_epochs."
            )
        if not (0 < self.stop < 1 and self.max_steps >= 1):
            raise ValueError(f"stop={self.stop}, max_steps={self.max_steps}: expected 0 < stop < 1 and a step.")


def time_unit(p: int, hidden: int) -> float:
    r"""Flow time in which the mean initial kernel fits a function of both digits by a factor e: :math:`p^2 H/3`.

    One output's share of the kernel is :math:`\frac{1}{p} \cdot \frac{1}{pH}(1 + \frac32 s^2)`, whose eigenvalue on
    functions with zero sums along both digits is :math:`\frac{3}{p^2 H}`.
    """
    return p * p * hidden / 3


def first_above(times: list[float], values: list[float], level: float = LEARNED) -> tuple[float, bool]:
    """First time at which ``values`` reach ``level``, and whether they do; the last time, if they do not."""
    for time, value in zip(times, values, strict=True):
        if value >= level:
            return time, True
    return times[-1], False


def thinned(n: int, most: int = 70) -> list[int]:
    """At most ``most`` of the indices 0 to n - 1, ever sparser, the ends included: enough for a curve.

    Example:
        >>> thinned(4), len(thinned(1000)) <= 70, thinned(1000)[-1]
        ([0, 1, 2, 3], True, 999)
    """
    if n <= most:
        return list(range(n))
    return sorted({round(n ** (i / (most - 1))) - 1 for i in range(most)})


def fit(config: Config, task: ModularTask, seed: int, scale: float) -> tuple[QuadraticMLP, FlowHistory, Tensor]:
    """Gradient descent at one scale: the network, its history in units of :func:`time_unit`, its scaled outputs."""
    net = QuadraticMLP(config.p, config.hidden, seed)
    scaled = Scaled(net, scale, centred=False)
    x, rows = task.inputs, task.train
    with torch.no_grad():
        shift = scaled(x)

    def evaluate(model: torch.nn.Module) -> dict[str, float]:
        right = ((model(x) - shift).argmax(1) == task.labels).double()
        return {"train_accuracy": float(right[rows].mean()), "test_accuracy": float(right[task.held_out].mean())}

    history = gradient_flow(
        scaled, x[rows], (task.targets + shift)[rows], stop=config.stop, max_steps=config.max_steps,
        evaluate=evaluate, record_every=2, seed=seed,
    )  # fmt: skip
    # The loss is divided by alpha^2, so that the outputs move at the same speed at every scale; see the chapter.
    unit = time_unit(config.p, config.hidden) / scale**2
    history.times = [t / unit for t in history.times]
    with torch.no_grad():
        return net, history, scaled(x) - shift


def fit_adamw(
    config: Config, task: ModularTask, seed: int, scale: float, lr: float
) -> tuple[QuadraticMLP, dict[str, float]]:
    """AdamW at one scale and learning rate: the network, and its accuracies at the end."""
    net = QuadraticMLP(config.p, config.hidden, seed)
    scaled = Scaled(net, scale, centred=False)
    x, rows = task.inputs, task.train
    with torch.no_grad():
        shift = scaled(x)
    inputs, targets = x[rows], (task.targets + shift)[rows]
    optimizer = torch.optim.AdamW(net.parameters(), lr=lr, weight_decay=config.adamw_weight_decay, eps=1e-8)
    train(scaled, lambda m: mse_loss(m(inputs), targets), optimizer, config.adamw_epochs)
    with torch.no_grad():
        right = ((scaled(x) - shift).argmax(1) == task.labels).double()
    return net, {"train_accuracy": float(right[rows].mean()), "accuracy": float(right[task.held_out].mean())}


def trace_kernel(net: QuadraticMLP, x: Tensor) -> Tensor:
    """The trace kernel on all pairs, float64."""
    kernel = empirical_ntk(net, x, reduce="trace")
    assert isinstance(kernel, Tensor)
    return kernel.double()


def kernel_numbers(config: Config, task: ModularTask, seed: int, net: QuadraticMLP) -> dict[str, float]:
    """Kernel distance and relative weight motion from the start, window 2, and the frozen kernel's accuracy."""
    start = QuadraticMLP(config.p, config.hidden, seed)
    before, after = trace_kernel(start, task.inputs), trace_kernel(net, task.inputs)
    with torch.no_grad():
        moved = sum(float((a - b).square().sum()) for a, b in zip(net.parameters(), start.parameters(), strict=True))
        norm = sum(float(b.square().sum()) for b in start.parameters())
    windows, features = modular_windows(config.p), fourier_features(config.p)
    window = top_eigenpairs(after, windows.edge2).vectors[:, windows.second]
    return {
        "kernel_distance": 1 - centered_cosine(after, before),
        "weight_motion": math.sqrt(moved / norm),
        "window2_sum": subspace_overlap(window, features["sum"]).value,
        "after_kernel_accuracy": held_out_accuracy(
            task, kernel_regression(after, task.train, task.targets, ridge=RIDGE)
        ),
    }


def held_out_accuracy(task: ModularTask, outputs: Tensor) -> float:
    """Share of held-out pairs whose largest output is the right one."""
    return float((outputs.argmax(1) == task.labels)[task.held_out].double().mean())


def additive_prediction(task: ModularTask, *, ridge: float = 0.0) -> Tensor:
    r"""The part of regression with the mean initial kernel that reaches held-out pairs: (p*p, p), additive in n, m.

    :math:`K_+ (K_{+,TT} + (2b + \rho) I)^{-1} (Y_T - 1/p)` with :math:`K_+ = a + b([n=n'] + [m=m'])`: of the mean
    kernel :math:`a + b s^2` the term :math:`2b [n=n'][m=m']` acts on training pairs only. Here a = 1, b = 3/2.

    Args:
        task: pairs, targets, split.
        ridge: :math:`\rho`, in units of a.

    Example:
        >>> out = additive_prediction(modular_task(7, 0.7, seed=0)).reshape(7, 7, 7)
        >>> mixed = out[1:, 1:] - out[:1, 1:] - out[1:, :1] + out[:1, :1]      # no function of both digits is left
        >>> float(mixed.abs().max()) < 1e-12
        True
    """
    x = task.inputs
    whole = sum(expected_initial_kernel(x, x, task.p, 1).values()) * task.p
    assert isinstance(whole, Tensor)
    b = 1.5
    additive = whole - 2 * b * torch.eye(len(x), dtype=torch.float64)
    rows = task.train
    inner = whole[rows][:, rows] + ridge * torch.eye(len(rows), dtype=torch.float64)
    centred = task.targets.double()[rows] - 1 / task.p
    return additive[:, rows] @ torch.linalg.solve(inner, centred)


def margins(task: ModularTask, outputs: Tensor) -> dict[str, float]:
    """Output of the right class less the mean over classes: summed over all pairs, mean over training and held-out."""
    margin = (outputs.double() * (task.targets.double() - 1 / task.p)).sum(1)
    return {
        "margin_sum": float(margin.sum()),
        "margin_train": float(margin[task.train].mean()),
        "margin_held_out": float(margin[task.held_out].mean()),
    }


def step_correlations(config: Config, task: ModularTask, seed: int) -> dict[str, float]:
    """:func:`short_step` at scale 1 in float64: first step of gradient descent, first and a later step of AdamW.

    AdamW also remembers past gradients and shrinks the weights, which no product of a kernel with today's residual can
    know of: "memoryless" is the later step with both switched off.
    """
    net = QuadraticMLP(config.p, config.hidden, seed).double()
    x, y = task.inputs.double(), task.targets.double()
    with torch.no_grad():
        shift = net(x)  # the network is centred: its outputs start from 0
    inputs, targets, probe = x[task.train], (y + shift)[task.train], x[task.held_out]
    descent = torch.optim.SGD(net.parameters(), lr=1.0)
    adamw = torch.optim.AdamW(net.parameters(), lr=config.adamw_lr, weight_decay=config.adamw_weight_decay, eps=1e-8)
    first = short_step(net, adamw, inputs, targets, probe)
    out = {"gd_first_entk": short_step(net, descent, inputs, targets, probe)["entk"]}
    train(net, lambda m: mse_loss(m(inputs), targets), adamw, config.later_step - 1)
    later = short_step(net, adamw, inputs, targets, probe)
    memoryless = short_step(net, adamw, inputs, targets, probe, memory=False)
    for label, found in (("first", first), ("later", later), ("memoryless", memoryless)):
        out |= {f"adamw_{label}_{name}": value for name, value in found.items()}
    del out["adamw_memoryless_direction"]  # 1 by construction there, as at the first step
    return out


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: gradient descent at every scale, its controls, AdamW at its scales, one step of each."""
    p = config.p
    task = modular_task(p, config.train_fraction, SPLIT_OFFSET + seed)
    start = QuadraticMLP(p, config.hidden, seed)
    x, rows, held_out = task.inputs, task.train, task.held_out
    linear = linearized_limit(start, x, x[rows], task.targets[rows])
    untrained = kernel_numbers(config, task, seed, start)
    additive = additive_prediction(task)
    controls = {
        "untrained": {"window2_sum": untrained["window2_sum"], "accuracy": untrained["after_kernel_accuracy"]},
        "linearised": {"accuracy": held_out_accuracy(task, linear)},
        "mean_kernel": {"accuracy": held_out_accuracy(task, additive)} | margins(task, additive),
    }
    metrics = step_correlations(config, task, seed)
    series: dict[str, list[list[float]]] = {}
    arrays: dict[str, Tensor] = {}
    for i, scale in enumerate(config.scales):
        progress(0.05 + 0.6 * i / len(config.scales), f"gradient descent at scale {scale:g}")
        net, history, outputs = fit(config, task, seed, scale)
        numbers = kernel_numbers(config, task, seed, net)
        fitted = first_above(history.times, history.metrics["train_accuracy"])[0]
        learned_at, learned = first_above(history.times, history.metrics["test_accuracy"])
        difference = (outputs - linear)[held_out]
        numbers |= {
            "reached": float(history.reached),
            "train_accuracy": history.metrics["train_accuracy"][-1],
            "accuracy": history.metrics["test_accuracy"][-1],
            "fit_time": fitted,
            "learned": float(learned),
            "learn_time": learned_at,
            "gap": learned_at / max(fitted, 1e-12),
            "linear_distance": float(difference.norm() / linear[held_out].norm()),
            "linear_agreement": float((outputs.argmax(1) == linear.argmax(1))[held_out].double().mean()),
        }
        metrics |= {f"{name}_{scale:g}": value for name, value in numbers.items()}
        kept = thinned(len(history.times))
        for name, values in {"time": history.times, "loss": history.losses, **history.metrics}.items():
            series.setdefault(name, []).append([values[k] for k in kept])
        arrays[f"outputs_{scale:g}"] = outputs

    progress(0.7, "random labels")
    shuffled = modular_task(p, config.train_fraction, LABEL_OFFSET + seed, labels="random")
    net, _, outputs = fit(config, shuffled, seed, config.control_scale)
    controls["random_labels"] = kernel_numbers(config, shuffled, seed, net)
    controls["random_labels"]["accuracy"] = held_out_accuracy(shuffled, outputs)
    controls["adamw_same_lr"] = {}
    for scale in config.adamw_scales:
        progress(0.8, f"AdamW at scale {scale:g}")
        for lr, table, prefix in (
            (config.adamw_lr / scale, metrics, "adamw_"),
            (config.adamw_lr, controls["adamw_same_lr"], ""),
        ):
            if scale == 1 and not prefix:
                continue  # at scale 1 the two learning rates are one
            net, found = fit_adamw(config, task, seed, scale, lr)
            found |= kernel_numbers(config, task, seed, net)
            table |= {f"{prefix}{name}_{scale:g}": value for name, value in found.items()}
    return SeedRecord(metrics, controls, dict(series), arrays)


def chance(config: Config) -> dict[str, float]:
    """Chance levels of accuracy and overlap at every scale."""
    out: dict[str, float] = {}
    for prefix, scales in (("", config.scales), ("adamw_", config.adamw_scales)):
        for scale in scales:
            out |= {f"{prefix}{name}_{scale:g}": 1 / config.p for name in ("accuracy", "after_kernel_accuracy")}
            out[f"{prefix}window2_sum_{scale:g}"] = window_chance(config.p, 2)
    return out | {f"linear_agreement_{scale:g}": 1 / config.p for scale in config.scales}


EXPERIMENT = Experiment(
    name="lazy_to_rich",
    title="One number, the output scale, takes the modular-addition MLP from feature learning to a frozen kernel",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(
        Config(), p=13, hidden=128, train_fraction=0.8, scales=(1.0, 10.0, 1000.0), adamw_scales=(1.0, 10.0),
        adamw_epochs=200,
    ),
    seconds_per_seed=90.0,
    tolerances={"*": 0.1, "gap_0.3": 1.0, "gap_1": 1.0, "gap_3": 2.0},
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
        >>> tiny = Config(p=5, hidden=32, scales=(1.0, 1000.0), adamw_scales=(1.0,), adamw_epochs=5, later_step=2)
        >>> result = run(tiny, seeds=[0])
        >>> bool(result.metrics["kernel_distance_1"][0] > result.metrics["kernel_distance_1000"][0])
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
