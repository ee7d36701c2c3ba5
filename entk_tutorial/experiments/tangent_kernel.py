r"""Does a wide network follow its linearisation, and how fast does it do so better with width?

Networks of growing width are trained by gradient descent on twelve points of a circle. Beside each runs its prediction
from the tangent kernel at initialisation, which never changes. Two controls: a kernel that belongs to other points, and
the mean-field scaling, in which the kernel is known to move at any width. Source: [Jacot 2018], [Lee 2019], [Chizat
2019]. Chapter: book/infinite/tangent-kernel.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.infinite.dual import dual_activation
from entk_tutorial.models.regression import WideMLP, circle
from entk_tutorial.training import train


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        widths: hidden widths, growing.
        networks: networks a width whose errors are combined as a root mean square.
        points: training points on the circle; as many test points lie between them.
        steps: gradient descent steps.
        rate: learning rate in units of 1 / (largest eigenvalue of the training kernel); below 2, or it diverges.
    """

    widths: tuple[int, ...] = (64, 128, 256, 512, 1024, 2048)
    networks: int = 8
    points: int = 12
    steps: int = 200
    rate: float = 0.5

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if len(self.widths) < 3 or sorted(set(self.widths)) != list(self.widths) or self.widths[0] < 1:
            raise ValueError(f"widths={self.widths}; at least three growing widths are needed to fit a slope.")
        if min(self.networks, self.steps) < 1 or self.points < 2 or not 0 < self.rate < 2:
            raise ValueError(
                f"networks={self.networks}, steps={self.steps}, points={self.points}, rate={self.rate}: networks and "
                "steps of at least 1, two points or more, and a rate between 0 and 2 are expected."
            )


@dataclass(frozen=True)
class Trace:
    """One network beside its linearisation.

    Attributes:
        network: (steps + 1, 2 points) outputs of the network on training points, then test points.
        linear: the same of the linearised model.
        shuffled: the same predicted with the kernel of shuffled points.
        kernel_start: (2 points, 2 points) kernel at initialisation.
        kernel_end: the same after training.
        rate: learning rate.
    """

    network: Tensor
    linear: Tensor
    shuffled: Tensor
    kernel_start: Tensor
    kernel_end: Tensor
    rate: float


def _kernel(model: WideMLP, x: Tensor) -> Tensor:
    k = empirical_ntk(model, x)
    assert isinstance(k, Tensor)
    return k


def linear_prediction(kernel: Tensor, f0: Tensor, y: Tensor, *, rate: float, steps: int) -> Tensor:
    r"""Outputs under kernel gradient descent on :math:`\frac12 \sum (f - y)^2`: (steps + 1, M).

    Args:
        kernel: (M, M) over training points first, then any others.
        f0: (M,) outputs at the start.
        y: (n,) targets of the first n points.
        rate: learning rate.
        steps: number of steps.

    Example:
        >>> k, one = torch.eye(1), torch.ones(1)
        >>> linear_prediction(k, 0 * one, one, rate=0.5, steps=2).flatten().tolist()
        [0.0, 0.5, 0.75]
    """
    n = len(y)
    out = [f0]
    for _ in range(steps):
        out.append(out[-1] - rate * kernel[:, :n] @ (out[-1][:n] - y))
    return torch.stack(out)


def follow(config: Config, width: int, seed: int, *, output_exponent: float = 0.5) -> Trace:
    """Train one network and predict every step of it from its first kernel."""
    x, y = circle(config.points)
    everywhere = torch.cat([x, circle(config.points, shift=0.5)[0]])
    model = WideMLP(2, width, seed, output_exponent=output_exponent)
    start = _kernel(model, everywhere)
    rate = config.rate / float(torch.linalg.eigvalsh(start[: config.points, : config.points])[-1])
    f0 = model(everywhere).detach().flatten()
    outputs: list[Tensor] = []

    def keep(net: torch.nn.Module) -> dict[str, float]:
        outputs.append(net(everywhere).flatten())
        return {}

    sgd = torch.optim.SGD(model.parameters(), lr=rate)
    train(model, lambda net: 0.5 * (net(x) - y).square().sum(), sgd, config.steps, evaluate=keep,
          record_at=range(config.steps + 1))  # fmt: skip
    order = torch.randperm(config.points, generator=torch.Generator().manual_seed(seed))
    order = torch.cat([order, torch.arange(config.points, 2 * config.points)])
    targets = y.flatten()
    linear = linear_prediction(start, f0, targets, rate=rate, steps=config.steps)
    shuffled = linear_prediction(start[order][:, order], f0, targets, rate=rate, steps=config.steps)
    return Trace(torch.stack(outputs), linear, shuffled, start, _kernel(model, everywhere), rate)


def infinite_kernel(config: Config) -> Tensor:
    """Closed form of the kernel at infinite width on training and test points: (2 points, 2 points)."""
    x = torch.cat([circle(config.points)[0], circle(config.points, shift=0.5)[0]])
    q = (x @ x.T).numpy()
    variance = np.diag(q)
    dual = dual_activation("erf", variance[:, None], variance[None, :], q)
    return torch.from_numpy(dual.value + q * dual.derivative)


def _slope(widths: Iterable[int], values: Iterable[float]) -> float:
    return float(np.polyfit(np.log(list(widths)), np.log(list(values)), 1)[0])


def _rms(values: list[float]) -> float:
    return float(np.sqrt(np.mean(np.square(values))))


def _mode_rates(trace: Trace, points: int) -> tuple[list[float], list[float]]:
    """Decay a step of the network's residual along each eigenvector, and 1 - rate * eigenvalue."""
    values, vectors = torch.linalg.eigh(trace.kernel_start[:points, :points])
    residual = (trace.network[:, :points] - circle(points)[1].flatten()) @ vectors
    measured, predicted = [], []
    for i in reversed(range(points)):
        if values[i] < 1e-6 * values[-1]:
            break  # an odd activation leaves even functions of the angle with no kernel at all: they do not decay
        curve = residual[:, i].abs()
        # Fit where the mode still stands out of the others' leakage: down to a tenth of its start.
        alive = int((curve > 0.1 * curve[0]).long().cumprod(0).sum())
        if alive >= 3:
            measured.append(float((curve[alive - 1] / curve[0]) ** (1 / (alive - 1))))
            predicted.append(float(1 - trace.rate * values[i]))
    return measured, predicted


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """All widths, ``networks`` networks each, in both scalings."""
    size = float(circle(config.points)[1].norm())
    limit = infinite_kernel(config)
    rows: dict[str, list[float]] = {}
    rich: dict[str, list[float]] = {}
    example: Trace | None = None
    for i, width in enumerate(config.widths):
        progress(i / len(config.widths), f"width {width}")
        traces = [follow(config, width, 1000 * seed + j) for j in range(config.networks)]
        example = traces[0]
        pieces = {
            "deviation": [float((t.network - t.linear).norm(dim=1).max()) / size for t in traces],
            "shuffled": [float((t.network - t.shuffled).norm(dim=1).max()) / size for t in traces],
            "kernel_change": [float((t.kernel_end - t.kernel_start).norm() / t.kernel_start.norm()) for t in traces],
            "initial_kernel": [float((t.kernel_start - limit).norm() / limit.norm()) for t in traces],
        }
        for name, values in pieces.items():
            rows.setdefault(name, []).append(_rms(values))
        moving = [follow(config, width, 1000 * seed + j, output_exponent=1.0) for j in range(config.networks)]
        changes = [float((t.kernel_end - t.kernel_start).norm() / t.kernel_start.norm()) for t in moving]
        gaps = [float((t.network - t.linear).norm(dim=1).max()) / size for t in moving]
        rich.setdefault("kernel_change", []).append(_rms(changes))
        rich.setdefault("deviation", []).append(_rms(gaps))
    assert example is not None
    measured, predicted = _mode_rates(example, config.points)
    metrics = {f"{name}_slope": _slope(config.widths, values) for name, values in rows.items() if name != "shuffled"}
    metrics |= {f"{name}_widest": values[-1] for name, values in rows.items() if name != "shuffled"}
    metrics["mode_rate_error"] = float(np.max(np.abs(np.subtract(measured, predicted))))
    controls = {
        "shuffled_kernel": {
            "deviation_widest": rows["shuffled"][-1],
            "deviation_slope": _slope(config.widths, rows["shuffled"]),
        },
        "mean_field": {
            "kernel_change_slope": _slope(config.widths, rich["kernel_change"]),
            "kernel_change_widest": rich["kernel_change"][-1],
            "deviation_slope": _slope(config.widths, rich["deviation"]),
            "deviation_widest": rich["deviation"][-1],
        },
    }  # fmt: skip
    series: dict[str, list[float]] = {"width": [float(w) for w in config.widths], **rows}
    series |= {f"mean_field_{name}": values for name, values in rich.items()}
    series |= {"mode_measured": measured, "mode_predicted": predicted}
    arrays = {"network": example.network, "linear": example.linear, "kernel_start": example.kernel_start,
              "kernel_end": example.kernel_end}  # fmt: skip
    return SeedRecord(metrics, controls, series, arrays)


def chance(config: Config) -> dict[str, float]:
    """No overlap is measured here, so there is no chance level; the controls take its place."""
    return {}


EXPERIMENT = Experiment(
    name="tangent_kernel",
    title="A wide network follows its linearisation; a shuffled kernel and mean-field scaling do not",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), widths=(32, 64, 128), networks=4, steps=50),
    seconds_per_seed=20.0,
    tolerances={"*": 1e-3},
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
        >>> result = run(Config(widths=(16, 64, 256), networks=4, steps=20), seeds=[0])
        >>> bool(result.metrics["deviation_slope"][0] < result.controls["shuffled_kernel"]["deviation_slope"][0])
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
