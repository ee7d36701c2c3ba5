r"""Do finite networks have the tangent kernels of the formulas, and how fast do they approach them with width?

Networks of growing width are drawn from each family of text models; the empirical tangent kernel of every parameter
group is laid beside its closed form. A formula is right if the mean over networks, projected on it, is 1 within three
standard errors and a bias of 4/width. Control: the same formulas, a quarter too large, must be rejected. Source: [Sun,
Li & Lu 2023], [Jacot 2018]. Chapter: book/infinite/finite-width.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy import stats
from torch import Tensor, nn

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.infinite import (
    Kernel,
    attention_kernel,
    cnn_kernel,
    hadamard_kernel,
    linear_kernel,
    matrix_product_kernel,
    mlp_kernel,
    mv_kernel,
    rnn_kernel,
)
from entk_tutorial.models.text import (
    AttentionText,
    CNNText,
    HadamardText,
    LinearText,
    MatrixProductText,
    MLPText,
    MVText,
    RNNText,
)

VOCAB = 5
DOCUMENTS = ((0, 1, 2), (1, 1), (3, 0, 1, 0), (2, 4, 4), (0, 1), (4, 3, 2, 1))
THREE_SIGMA = 0.0027  # two-sided probability beyond three standard errors
BIAS = 4.0  # allowed relative bias, times 1 / width
SLOPES = {"wide": (-0.65, -0.35), "product": (-0.8, -0.35), "heads": (-0.8, -0.35)}
"""Where the log-log slope of the error against width belongs; heavy tails of products bend it at small widths."""
S = {"sigma_e": 1.2, "sigma_v": 0.8}
SW = {**S, "sigma_w": 0.9}


@dataclass(frozen=True)
class Family:
    """A kernel and its finite twin, which take the same ``options``."""

    kernel: Callable[..., Kernel]
    model: Callable[..., nn.Module]
    options: dict[str, Any]
    tier: str
    gram: bool = True


FAMILIES: dict[str, Family] = {
    "linear": Family(linear_kernel, LinearText, S, "wide"),
    "mlp_relu": Family(mlp_kernel, MLPText, SW, "wide"),
    "mlp_erf": Family(mlp_kernel, MLPText, {**SW, "activation": "erf"}, "wide"),
    "mlp_gelu": Family(mlp_kernel, MLPText, {**SW, "activation": "gelu"}, "wide"),
    "mlp_tanh": Family(mlp_kernel, MLPText, {**SW, "activation": "tanh"}, "wide"),
    "mlp_silu": Family(mlp_kernel, MLPText, {**SW, "activation": "silu"}, "wide"),
    "mlp_quad": Family(mlp_kernel, MLPText, {**SW, "activation": "quad"}, "wide"),
    "mlp_pooled": Family(mlp_kernel, MLPText, {**SW, "pool_first": True, "pooling": "mean"}, "wide"),
    "cnn_relu": Family(cnn_kernel, CNNText, SW, "wide"),
    "cnn_tanh": Family(cnn_kernel, CNNText, {**SW, "activation": "tanh", "padding": 1}, "wide"),
    "attention_tied": Family(attention_kernel, AttentionText, S, "wide"),
    "attention_tied_last": Family(attention_kernel, AttentionText, {**S, "query": "last"}, "wide"),
    "attention_uniform": Family(
        attention_kernel, AttentionText, {**S, "variant": "uniform", "query": "last"}, "product"
    ),
    "hadamard": Family(hadamard_kernel, HadamardText, S, "product"),
    "hadamard_tied": Family(hadamard_kernel, HadamardText, {**S, "tied": True}, "wide"),
    "mv": Family(mv_kernel, MVText, S, "product"),
    "rnn_additive": Family(rnn_kernel, RNNText, {**S, "kind": "additive"}, "product"),
    "rnn_gated": Family(rnn_kernel, RNNText, S, "product"),
    "rnn_gated_last": Family(rnn_kernel, RNNText, {**S, "readout": "last"}, "product"),
    "matrix_product": Family(matrix_product_kernel, MatrixProductText, {"sigma_v": 0.8}, "product", gram=False),
    "matrix_product_residual": Family(
        matrix_product_kernel,
        MatrixProductText,
        {"sigma_v": 0.8, "sigma_m": 0.8, "residual": True},
        "product",
        gram=False,
    ),
    "heads_identity": Family(
        attention_kernel, AttentionText, {"variant": "heads", "scores": "identity", "pooling": "mean"}, "heads"
    ),
    "heads_softmax": Family(attention_kernel, AttentionText, {"variant": "heads", "sigma_q": 1.1}, "heads"),
}


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        wide: widths of families with one product of random weights at most.
        product: widths of families that multiply tokens, or have a matrix a token: noisier, and dearer.
        heads: widths n of attention with n/2 independent heads.
        samples: networks a width, family and kind of token.
        heads_samples: the same for attention with heads, whose networks are dear.
        score_tables: random tables for the one kernel that has no closed form, softmax attention at 1/sqrt(n).
        families: names to run; empty means all.
    """

    wide: tuple[int, ...] = (64, 256, 1024)
    product: tuple[int, ...] = (16, 64, 256)
    heads: tuple[int, ...] = (32, 64, 128, 256)
    samples: int = 40
    heads_samples: int = 12
    score_tables: int = 4000
    families: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        for tier in ("wide", "product", "heads"):
            widths = getattr(self, tier)
            if len(widths) < 2 or sorted(set(widths)) != list(widths) or widths[0] < 2:
                raise ValueError(
                    f"{tier}={widths}; two or more growing widths, 2 or more each, are needed to fit a slope."
                )
        if min(self.samples, self.heads_samples, self.score_tables) < 3:
            raise ValueError(
                f"samples={self.samples}, heads_samples={self.heads_samples}, score_tables={self.score_tables}; a "
                "standard error that means something needs 3 networks or more."
            )
        unknown = sorted(set(self.families) - set(FAMILIES))
        if unknown:
            raise ValueError(f"no family is called {', '.join(unknown)}; choose from {', '.join(FAMILIES)}.")


@dataclass(frozen=True)
class Agreement:
    """One family and kind of token against its formula, at the largest width.

    Attributes:
        z: by group, standard errors by which the projection misses 1 after the allowance; below 0 is within it.
        p: by group, two-sided probability of that.
        rms: relative Frobenius error of the whole kernel, root mean square over networks, at each width.
    """

    z: dict[str, float]
    p: dict[str, float]
    rms: list[float]


def token_vectors() -> Tensor:
    """(5, 4) fixed token vectors for the runs with a dense Gram."""
    return torch.randn(VOCAB, 4, generator=torch.Generator().manual_seed(7), dtype=torch.float64) / 2


def documents() -> Tensor:
    """(6, 4) token ids, padded with -1."""
    longest = max(map(len, DOCUMENTS))
    return torch.tensor([[*d, *[-1] * (longest - len(d))] for d in DOCUMENTS])


def closed_form(name: str, dense: bool, seed: int, score_tables: int = 4000) -> Kernel:
    """The kernel of a family on :func:`documents`; for softmax heads a mean over score tables drawn from ``seed``."""
    family = FAMILIES[name]
    options = dict(family.options)
    if dense:
        options["gram"] = token_vectors() @ token_vectors().T
    if name == "heads_softmax":
        options |= {"n_samples": score_tables, "generator": torch.Generator().manual_seed(seed)}
    return family.kernel(documents(), **options)


def draws(name: str, dense: bool, width: int, seeds: Iterable[int]) -> Iterator[dict[str, Tensor]]:
    """Empirical tangent kernels by parameter, one for each seed, in float32: rounding is far below the spread."""
    family = FAMILIES[name]
    options = dict(family.options)
    if dense:
        options["features"] = token_vectors()
    if family.tier == "heads":
        options["heads"] = width // 2
    for seed in seeds:
        model = family.model(VOCAB, width, seed=seed, dtype=torch.float32, **options)
        kernel = empirical_ntk(model, documents(), by="parameter", method="jacobian")
        assert isinstance(kernel, dict)
        yield {group: part.double() for group, part in kernel.items()}


def projection_z(projections: Tensor, width: int, *, target: float = 1.0, own_error: float = 0.0) -> float:
    r"""Standard errors by which the mean projection misses its target, after a relative bias of 4/width is allowed.

    .. math:: z = \frac{|\bar p - p_0| - 4p_0/n}{\mathrm{SE}},\qquad
              p_s = \langle\hat\Theta_s,\Theta\rangle/\langle\Theta,\Theta\rangle

    Args:
        projections: (S,) one a network.
        width: n.
        target: what the mean should be: 1 for the formula itself.
        own_error: relative standard error of the formula, where it was sampled.

    Example:
        >>> projection_z(torch.tensor([0.9, 1.0, 1.1]), width=1000) < 0          # within the allowance
        True
    """
    error = float(torch.sqrt(projections.var() / len(projections) + own_error**2))
    return (abs(float(projections.mean()) - target) - BIAS * target / width) / error


def compare(config: Config, name: str, dense: bool, seed: int) -> tuple[Agreement, Agreement]:
    """Draw networks of all widths; compare them with the formula, and with the formula a quarter too large."""
    widths: tuple[int, ...] = getattr(config, FAMILIES[name].tier)
    exact = closed_form(name, dense, seed, config.score_tables)
    size = float(exact.ntk.norm())
    rms: list[float] = []
    networks: list[dict[str, Tensor]] = []
    samples = config.heads_samples if FAMILIES[name].tier == "heads" else config.samples
    for i, width in enumerate(widths):
        start = (seed * len(widths) + i) * samples  # no network serves twice
        networks = list(draws(name, dense, width, range(start, start + samples)))
        errors = [float((torch.stack(list(d.values())).sum(0) - exact.ntk).norm()) / size for d in networks]
        rms.append(float(np.sqrt(np.mean(np.square(errors)))))
    return score(exact, networks, widths[-1], rms), score(exact, networks, widths[-1], rms, target=1.25)


def score(
    exact: Kernel, networks: list[dict[str, Tensor]], width: int, rms: list[float], target: float = 1.0
) -> Agreement:
    """The statistic of each group that is not identically 0."""
    z: dict[str, float] = {}
    p: dict[str, float] = {}
    for group, part in exact.by_group.items():
        square = float((part**2).sum())
        if square == 0.0:
            continue
        projections = torch.stack([(d[group] * part).sum() / square for d in networks])
        own = 0.0 if exact.std_error is None else float(exact.std_error[group].norm()) / square**0.5
        z[group] = projection_z(projections, width, target=target, own_error=own)
        p[group] = float(2 * stats.t.sf(max(z[group], 0.0), len(networks) - 1))
    return Agreement(z, p, rms)


def holm_rejections(p: Iterable[float], level: float = THREE_SIGMA) -> int:
    """How many hypotheses Holm's step-down procedure rejects at a family-wise level.

    Example:
        >>> holm_rejections([0.5, 0.0001, 0.002])        # 0.0001 * 3, 0.002 * 2, then 0.5 * 1
        1
    """
    ordered = sorted(p)
    for rank, value in enumerate(ordered):
        if value * (len(ordered) - rank) > level:
            return rank
    return len(ordered)


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """All families with one-hot tokens and, where they have token vectors, with a dense Gram."""
    names = config.families or tuple(FAMILIES)
    tasks = [(n, dense) for n in names for dense in ((False, True) if FAMILIES[n].gram else (False,))]
    metrics: dict[str, float] = {}
    series: dict[str, list[Any]] = {}
    good: list[float] = []
    planted: list[float] = []
    slopes: list[float] = []
    outside = 0
    for i, (name, dense) in enumerate(tasks):
        progress(i / len(tasks), name)
        widths: tuple[int, ...] = getattr(config, FAMILIES[name].tier)
        found = compare(config, name, dense, seed)
        key = f"{name}_{'gram' if dense else 'onehot'}"
        slope = float(np.polyfit(np.log(widths), np.log(found[0].rms), 1)[0])
        metrics |= {f"{key}_z": max(found[0].z.values()), f"{key}_rms": found[0].rms[-1], f"{key}_slope": slope}
        series |= {f"{key}_width": [float(w) for w in widths], f"{key}_rms": found[0].rms}
        slopes.append(slope)
        low, high = SLOPES["product" if name == "mlp_quad" else FAMILIES[name].tier]
        outside += not low <= slope <= high
        good += found[0].p.values()
        planted += found[1].p.values()
    metrics |= {
        "groups": float(len(good)),
        "rejected": float(holm_rejections(good)),
        "z_worst": max(v for k, v in metrics.items() if k.endswith("_z")),
        "slope_mean": float(np.mean(slopes)),
        "slopes_outside": float(outside),
        "slopes": float(len(slopes)),
    }
    controls = {"quarter_off": {"rejected": float(holm_rejections(planted))}}
    return SeedRecord(metrics, controls, series, {})


def chance(config: Config) -> dict[str, float]:
    """Where every formula is right, Holm's procedure rejects anything at all in 0.27 % of records: 0 is expected."""
    return {"rejected": 0.0}


EXPERIMENT = Experiment(
    name="finite_width",
    title="Finite text networks approach the closed-form kernels, group by group, as 1/sqrt(width)",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(
        Config(), wide=(32, 128), product=(16, 64), heads=(8, 32), samples=16, heads_samples=16, score_tables=500
    ),
    seconds_per_seed=240.0,
    tolerances={"*": 1e-3},
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
        >>> result = run(Config(wide=(16, 64), samples=8, families=("linear",)), seeds=[0])
        >>> float(result.metrics["rejected"][0])
        0.0
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
