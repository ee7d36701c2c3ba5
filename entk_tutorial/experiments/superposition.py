r"""Toy models of superposition: does the flat tangent kernel hold the features that the network represents?

Three settings a seed (``dense10``, ``sparse10``, ``sparse40``); in each, the flat kernel for three importance
exponents beta and for two sets of parameters, trained and untrained; in each of these, three measures of recovery,
beside features whose values were shuffled; then the usual baselines, and the linearised model. A metric is called
``<setting>_<parameters>_<beta>_<measure>``, e.g. ``sparse40_w_b1_cosine``. Source: [Lin 2025], [Elhage 2022].
Chapter: book/microscope/superposition.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from entk_tutorial.data.superposition import importance_weights, sparse_features, weighted_loss
from entk_tutorial.empirical import jacobian, parameter_gram_eigenpairs
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features.alignment import activation_pca
from entk_tutorial.features.dictionary import sparse_codes
from entk_tutorial.features.superposition import (
    channel_directions,
    channel_overlap,
    match_features,
    overlap_by_direction,
    shuffle_values,
)
from entk_tutorial.models.superposition import SuperpositionModel, represented
from entk_tutorial.training import pick_device, train

SETTINGS = ("dense10", "sparse10", "sparse40")
BETAS = {"b0": 0.0, "b33": 0.33, "b1": 1.0}
PARAMETERS: dict[str, tuple[str, ...] | None] = {"all": None, "w": ("weight",)}
MEASURES = ("cosine", "column", "overlap")
DATA_OFFSET, FRESH_OFFSET, SHUFFLE_OFFSET = 10_000, 20_000, 30_000
"""Seeds of data and shuffles, kept apart from those of the weights."""


@dataclass(frozen=True)
class Config:
    """Settings, at the paper's scale by default.

    Attributes:
        n_features: n.
        n_samples: N, fixed samples; the loss is over all of them at every step.
        small: m of ``dense10`` and ``sparse10``.
        large: m of ``sparse40``.
        dense: S of ``dense10``, the probability that a feature is zero.
        sparse: S of the other two.
        decay: importance of feature j is decay^j.
        steps: of Adam; 0 measures the untrained network.
        lr: of Adam.
        threshold: cosine from which a feature counts as found.
        shuffles: draws of the shuffled control, of which the mean is taken.
        ridge: of the linearised model; a tenth of it is tried, too.
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``, for the training.
    """

    n_features: int = 50
    n_samples: int = 500
    small: int = 10
    large: int = 40
    dense: float = 0.3
    sparse: float = 0.9
    decay: float = 0.8
    steps: int = 5000
    lr: float = 1e-3
    threshold: float = 0.8
    shuffles: int = 5
    ridge: float = 1e-4
    device: str = "auto"

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        importance_weights(self.n_features, self.decay)  # these two check what they are given, with reasons
        for s in (self.dense, self.sparse):
            sparse_features(1, 1, s, 0)
        if not 3 <= self.small <= self.large <= self.n_features:
            raise ValueError(
                f"small={self.small}, large={self.large}, n_features={self.n_features}; 3 <= small <= large <= "
                "n_features is expected: with more hidden dimensions than features there is no superposition."
            )
        if self.n_samples < 2 or self.steps < 0 or self.shuffles < 1:
            raise ValueError(
                f"n_samples={self.n_samples}, steps={self.steps}, shuffles={self.shuffles}; at least 2, 0 and 1 are "
                "expected."
            )
        if not (self.lr > 0 and self.ridge > 0 and 0 < self.threshold <= 1):
            raise ValueError(
                f"lr={self.lr}, ridge={self.ridge}, threshold={self.threshold}; positive numbers are expected, and a "
                "threshold of at most 1."
            )

    def setting(self, name: str) -> tuple[int, float]:
        """(m, S) of a setting.

        Raises:
            ValueError: an unknown name.
        """
        if name not in SETTINGS:
            raise ValueError(f"setting {name!r} is unknown; expected one of {', '.join(SETTINGS)}.")
        return (self.large if name == "sparse40" else self.small, self.dense if name == "dense10" else self.sparse)


def samples(config: Config, setting: str, seed: int, *, fresh: bool = False) -> Tensor:
    """The N samples (N, n) of a setting, or as many that the network never saw."""
    _, sparsity = config.setting(setting)
    return sparse_features(
        config.n_samples, config.n_features, sparsity, (FRESH_OFFSET if fresh else DATA_OFFSET) + seed
    )


def fit(config: Config, setting: str, seed: int) -> tuple[SuperpositionModel, float]:
    """Train one network; it comes back on the CPU, with its loss on the N samples.

    Example:
        >>> model, loss = fit(Config(n_features=6, n_samples=20, small=3, large=4, steps=10), "sparse40", seed=0)
        >>> tuple(model.weight.shape), loss > 0
        ((4, 6), True)
    """
    device = pick_device(config.device)
    hidden, _ = config.setting(setting)
    x = samples(config, setting, seed).to(device)
    importance = importance_weights(config.n_features, config.decay).to(device)
    model = SuperpositionModel(config.n_features, hidden, seed).to(device)

    def loss(net: nn.Module) -> Tensor:
        return weighted_loss(net(x), x, importance)

    optimizer = torch.optim.Adam(model.parameters(), lr=config.lr)
    train(model, loss, optimizer, config.steps)
    with torch.no_grad():
        return model.cpu(), float(loss(model.to(device)))


def leading_directions(
    config: Config, model: SuperpositionModel, x: Tensor, parameters: str, beta: float, k: int
) -> tuple[Tensor, Tensor]:
    r"""Leading k eigenvectors (N n, k) of the flat kernel, and its spectrum.

    Rows of the Jacobian are scaled by :math:`I_c^{\beta/2}`, so that entry ((i, c), (i', c')) of the kernel is
    multiplied by :math:`(I_c I_{c'})^{\beta/2}`.
    """
    weights = importance_weights(config.n_features, config.decay).double() ** (beta / 2)
    pairs = parameter_gram_eigenpairs(model, x, k, by_names=PARAMETERS[parameters], row_weights=weights)
    return pairs.vectors, pairs.spectrum


def recover(config: Config, u: Tensor, x: Tensor) -> dict[str, float]:
    """The three measures of recovery of the features ``x`` among directions ``u``; overlap and counts, of n."""
    f = channel_directions(x)
    return {
        "cosine": float(match_features(u, f, threshold=config.threshold).count),
        "column": float(match_features(u, f, threshold=config.threshold, normalise="column").count),
        "overlap": float(overlap_by_direction(u, x).sum()),
    }


def _shuffled(config: Config, u: Tensor, x: Tensor, seed: int) -> dict[str, float]:
    """The same for features with shuffled values, mean over the draws."""
    draws = [recover(config, u, shuffle_values(x, s)) for s in _shuffle_seeds(config, seed)]
    return {name: sum(d[name] for d in draws) / len(draws) for name in MEASURES}


def _shuffle_seeds(config: Config, seed: int) -> range:
    return range(SHUFFLE_OFFSET + 100 * seed, SHUFFLE_OFFSET + 100 * seed + config.shuffles)


def _count(config: Config, directions: Tensor, x: Tensor, known: Tensor, seed: int) -> dict[str, float]:
    """Features found among functions of the sample, (N, d), with the same cosine and matching."""
    alive = directions.double()[:, directions.norm(dim=0) > 0]
    found = match_features(alive, x, threshold=config.threshold).found
    shuffled = [
        match_features(alive, shuffle_values(x, s), threshold=config.threshold).count
        for s in _shuffle_seeds(config, seed)
    ]
    return {
        "cosine": float(found.sum()),
        "cosine_off": float((found & ~known).sum()),
        "cosine_shuffled": sum(shuffled) / len(shuffled),
    }


def baselines(config: Config, model: SuperpositionModel, x: Tensor, seed: int) -> dict[str, dict[str, float]]:
    """What needs no kernel: PCA and a sparse dictionary, on hidden activations and on outputs; the outputs themselves.

    At most n directions each; PCA has no more than the activations have dimensions.
    """
    known = represented(model.weight)
    with torch.no_grad():
        places = {"hidden": model.hidden(x), "outputs": model(x)}
    out = {"output_neurons": _count(config, places["outputs"], x, known, seed)}
    for place, activations in places.items():
        rank = int(torch.linalg.matrix_rank(activations.double(), rtol=1e-6))
        pca = activation_pca(activations.double(), min(config.n_features, rank))
        codes = sparse_codes(activations, config.n_features, seed=seed)
        out[f"pca_{place}"] = _count(config, pca, x, known, seed)
        out[f"dictionary_{place}"] = _count(config, codes, x, known, seed)
    return out


def linearised(
    config: Config, model: SuperpositionModel, x: Tensor, fresh: Tensor, beta: float, ridge: float
) -> dict[str, float]:
    r"""Kernel ridge regression of the targets with the model's frozen flat kernel, against the model itself.

    The kernel has N n rows and the model P parameters, so the regression is solved for a change of parameters,
    :math:`\delta = (J^\top D J + \rho)^{-1} J^\top D x` with :math:`D` the importance to the power beta; the prediction
    :math:`J \delta` is that of :class:`entk_tutorial.empirical.LinearizedModel` with ``around="zero"`` (push-through
    identity).

    Returns:
        dict: ``ratio``, its importance-weighted loss over the model's, and ``r2``, the share of the variance of the
        model's outputs that it explains; both on the samples, and as ``fresh_...`` on new ones.
    """
    importance = importance_weights(config.n_features, config.decay).double()
    copy = SuperpositionModel(model.n_features, model.n_hidden, 0).double()
    copy.load_state_dict(model.state_dict())
    at = {"": x.double(), "fresh_": fresh.double()}
    j = {name: _flat_jacobian(copy, inputs) for name, inputs in at.items()}
    rows = (importance**beta).repeat(len(x))
    gram = j[""].T @ (rows[:, None] * j[""])
    gram.diagonal().add_(ridge)
    delta = torch.cholesky_solve((j[""].T @ (rows * at[""].flatten()))[:, None], torch.linalg.cholesky(gram))
    out = {}
    for name, inputs in at.items():
        prediction = (j[name] @ delta).reshape(inputs.shape)
        with torch.no_grad():
            own = copy(inputs)
            loss = weighted_loss(own, inputs, importance)
        out[f"{name}ratio"] = float(weighted_loss(prediction, inputs, importance) / loss)
        out[f"{name}r2"] = 1 - float((prediction - own).square().sum() / (own - own.mean(0)).square().sum())
    return out


def _flat_jacobian(model: SuperpositionModel, x: Tensor) -> Tensor:
    found = jacobian(model, x, chunk_size=50)
    assert isinstance(found, Tensor)
    return found.flatten(0, 1)


@dataclass
class _Ledger:
    """What one seed collects, setting by setting."""

    metrics: dict[str, float]
    controls: dict[str, dict[str, float]]
    series: dict[str, list[float]]

    def note(self, control: str, prefix: str, numbers: dict[str, float]) -> None:
        target = self.controls.setdefault(control, {}) if control else self.metrics
        target.update({f"{prefix}_{name}": value for name, value in numbers.items()})


def _grid(
    config: Config, setting: str, model: SuperpositionModel, x: Tensor, seed: int, control: str, out: _Ledger
) -> None:
    """Every parameter set and beta of one network: spectrum, recovery, shuffled control."""
    n, known = config.n_features, represented(model.weight)
    for parameters in PARAMETERS:
        for label, beta in BETAS.items():
            name = f"{setting}_{parameters}_{label}"
            vectors, spectrum = leading_directions(config, model, x, parameters, beta, 2 * n)
            u = vectors[:, :n]
            numbers = recover(config, u, x) | {"ratio": float(spectrum[n - 1] / spectrum[n])}
            where = "_".join(filter(None, (control, "")))
            if not control:
                found = match_features(u, channel_directions(x), threshold=config.threshold).found
                numbers["cosine_off"] = float((found & ~known).sum())
                out.note("shuffled", name, _shuffled(config, u, x, seed))
            out.note(control, name, numbers)
            if label == "b0":
                out.series[f"{where}{name}_spectrum"] = spectrum[: 3 * n].tolist()
            if label == "b33":
                other = shuffle_values(x, SHUFFLE_OFFSET + 100 * seed)
                out.note(control, name, {"overlap_global": channel_overlap(u, x, center="all").value})
                curves = {"": overlap_by_direction(vectors, x)}
                if not control:
                    curves["shuffled_"] = overlap_by_direction(vectors, other)
                    out.note("shuffled", name, {"overlap_global": channel_overlap(u, other, center="all").value})
                for kind, curve in curves.items():
                    out.series[f"{where}{kind}{name}_overlap"] = curve.cumsum(0).tolist()


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One seed: three settings, each trained, measured, and held against its controls."""
    out = _Ledger({}, {}, {})
    checkpoint: dict[str, Tensor] = {}
    for i, setting in enumerate(SETTINGS):
        progress((0.0, 0.15, 0.3)[i], setting)
        hidden, _ = config.setting(setting)
        x, fresh = samples(config, setting, seed), samples(config, setting, seed, fresh=True)
        untrained = SuperpositionModel(config.n_features, hidden, seed)
        model, loss = fit(config, setting, seed)
        norms = model.weight.detach().square().sum(0)
        out.note("", setting, {"represented": float(represented(model.weight).sum()), "loss": loss})
        out.series[f"{setting}_norms"] = norms.tolist()
        checkpoint |= {f"{setting}.{name}": value.detach().clone() for name, value in model.state_dict().items()}
        _grid(config, setting, model, x, seed, "", out)
        _grid(config, setting, untrained, x, seed, "untrained", out)
        for baseline, numbers in baselines(config, model, x, seed).items():
            out.note(baseline, setting, numbers)
        for label, beta in BETAS.items():
            out.note("", f"{setting}_linear_{label}", linearised(config, model, x, fresh, beta, config.ridge))
        small = linearised(config, model, x, fresh, 1.0, config.ridge / 10)
        out.note("small_ridge", f"{setting}_linear_b1", small)
        out.note("untrained", f"{setting}_linear_b1", linearised(config, untrained, x, fresh, 1.0, config.ridge))
    return SeedRecord(out.metrics, out.controls, out.series, {}, checkpoint)


def chance(config: Config) -> dict[str, float]:
    """Chance level of every overlap: n random directions hold n n / (N n) of the n features'."""
    level = config.n_features / config.n_samples
    return {f"{s}_{p}_{b}_overlap": level for s in SETTINGS for p in PARAMETERS for b in BETAS}


_COUNTS = {
    f"{s}_{p}_{b}_{m}": 4.0
    for s in SETTINGS for p in PARAMETERS for b in BETAS for m in ("cosine", "cosine_off", "column")
}  # fmt: skip
"""Counts step by one: a cosine near the threshold falls on either side of it on another machine."""

EXPERIMENT = Experiment(
    name="superposition",
    title="Toy models of superposition: three measures of what the flat kernel holds, and what they cannot tell",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), n_features=20, n_samples=100, small=4, large=16, steps=1500),
    seconds_per_seed=150.0,
    tolerances={"*": 1.0} | _COUNTS,
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
        >>> tiny = Config(n_features=6, n_samples=30, small=3, large=5, steps=50, shuffles=1)
        >>> result = run(tiny, seeds=[0])
        >>> len(result.metrics["sparse40_w_b1_cosine"])
        1
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
