r"""A pretrained sentence encoder, layer by layer: do the eigenvectors of its kernels show the factors of the sentences?

Sentences of four crossed factors, drawn anew for each seed. For each of six blocks: the leading
directions of the trace kernel of its linear layers, principal components of what the block puts out and of the
gradients that come back to it, and random readouts; the share of each factor in their span. Controls: the same
architecture with random weights, counts of words, permuted sentences. Chapter: book/beyond/your-own-model.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from entk_tutorial.data.factorial import FACTORS, FactorialSentences, factorial_sentences
from entk_tutorial.empirical.similarity import centered_cosine
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.features.alignment import overlap_chance, subspace_overlap
from entk_tutorial.features.baselines import leading_directions
from entk_tutorial.models.pretrained import BLOCKS, SentenceEncoder, sentence_encoder
from entk_tutorial.survey import (
    Readout,
    layer_activations,
    layer_cotangents,
    leading_subspace,
    projector_distance,
    random_readouts,
    readout,
    sampling_error,
    shown,
    survey,
)

WRITTEN = FACTORS[:4]
"""The factors that single words carry; polarity is the product of two of them."""
LAYERS = tuple(f"block{i}" for i in range(1, BLOCKS + 1))
GROUPS: dict[str, tuple[str, ...]] = {
    layer: tuple(
        f"encoder.layer.{i}.{part}."
        for part in ("attention.self", "attention.output.dense", "intermediate.dense", "output.dense")
    )
    for i, layer in enumerate(LAYERS)
}
"""Layer -> how the names of its parameters begin. Embeddings and LayerNorms are held fixed."""
MODULES = {layer: f"encoder.layer.{i}" for i, layer in enumerate(LAYERS)}
"""Layer -> the module whose output, averaged over tokens, is what principal components are taken of."""
METHODS = ("kernel", "pca", "back")
DIMENSIONS = (1, 2, 4, 8, 16, 32)


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        per_cell: sentences for each of the 64 combinations of factors.
        directions: random directions of the output in each of two sets; the kernel sums over both. Random weights
            get one set of half as many.
        d: leading directions that are compared.
        readouts: draws of d random readouts, of which the best counts.
        max_bytes: memory for the kernels.
    """

    per_cell: int = 2
    directions: int = 4
    d: int = 16
    readouts: int = 20
    max_bytes: int = 2 * 10**9

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if min(self.per_cell, self.directions, self.readouts) < 1 or not 1 <= self.d <= 16 * self.per_cell - 2:
            raise ValueError(
                f"per_cell={self.per_cell}, directions={self.directions}, readouts={self.readouts}, d={self.d}; at "
                "least 1 of each is expected, and d small enough for quarters of the sentences (N >= 4 (d + 2))."
            )


def projected(encoder: SentenceEncoder, x: Mapping[str, Tensor], directions: int, seed: int) -> Readout:
    """The encoder with random directions of its normalised mean-pooled embedding as outputs."""
    return readout(
        encoder.model,
        x,
        select="last_hidden_state",
        pool="mean",
        mask="attention_mask",
        normalise=True,
        directions=directions,
        seed=seed,
    )


def kernels(
    encoder: SentenceEncoder, texts: Iterable[str], directions: int, seed: int, *, max_bytes: int | None = None
) -> dict[str, Tensor]:
    """Layer -> (N, N) trace kernel over the projected outputs."""
    x = encoder.encode(list(texts))
    found = survey(projected(encoder, x, directions, seed), x, groups=GROUPS, k=1, max_bytes=max_bytes)
    return {name: found[name].kernel.double() for name in LAYERS}


def cotangents(encoder: SentenceEncoder, texts: Iterable[str], directions: int, seed: int) -> dict[str, Tensor]:
    """Layer -> (N, directions * 384) gradients of the projected outputs with respect to the layer's output."""
    x = encoder.encode(list(texts))
    inside = {name: f"model.{path}" for name, path in MODULES.items()}
    return layer_cotangents(projected(encoder, x, directions, seed), x, inside)


def activations(encoder: SentenceEncoder, texts: Iterable[str]) -> dict[str, Tensor]:
    """Layer -> (N, 384) output of the layer, averaged over tokens."""
    return layer_activations(encoder.model, encoder.encode(list(texts)), MODULES, mask="attention_mask")


def word_counts(texts: Iterable[str]) -> Tensor:
    """(N, V) how often each word stands in each sentence."""
    documents = [text.split() for text in texts]
    words = sorted({word for document in documents for word in document})
    return torch.tensor([[document.count(word) for word in words] for document in documents], dtype=torch.float64)


def shares(directions: Tensor, features: Mapping[str, Tensor]) -> dict[str, float]:
    """Factor -> share of its span in the span of the directions."""
    return {name: subspace_overlap(directions, f).value / f.shape[1] for name, f in features.items()}


def best_readout(values: Tensor, features: Mapping[str, Tensor], d: int, draws: int) -> dict[str, float]:
    """Factor -> the largest share among ``draws`` spans of d random readouts: the best is picked by the answer."""
    table = [shares(random_readouts(values, d, seed=i), features) for i in range(draws)]
    return {name: max(row[name] for row in table) for name in features}


def measure(
    kernel: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    back: Mapping[str, Tensor],
    features: Mapping[str, Tensor],
    d: int,
) -> dict[str, float]:
    """Shares by method, factor and layer, their means over the written factors, and the best layer of each method.

    Methods: ``kernel``; ``pca`` of the activations ``values``; ``back``, principal components of the cotangents.
    """
    out: dict[str, float] = {}
    for layer in LAYERS:
        for method, directions in (
            ("kernel", leading_subspace(kernel[layer], d)),
            ("pca", leading_directions(values[layer], d)),
            ("back", leading_directions(back[layer], d)),
        ):
            found = shares(directions, features)
            out |= {f"{method}_{name}_{layer}": value for name, value in found.items()}
            out[f"{method}_mean_{layer}"] = sum(found[name] for name in WRITTEN) / len(WRITTEN)
        for name in (*FACTORS, "mean"):
            out[f"margin_{name}_{layer}"] = out[f"kernel_{name}_{layer}"] - out[f"pca_{name}_{layer}"]
            out[f"back_margin_{name}_{layer}"] = out[f"back_{name}_{layer}"] - out[f"pca_{name}_{layer}"]
    for name in (*FACTORS, "mean"):
        for method in ("kernel", "pca"):
            out[f"{method}_best_{name}"] = max(out[f"{method}_{name}_{layer}"] for layer in LAYERS)
        out[f"margin_best_{name}"] = out[f"kernel_best_{name}"] - out[f"pca_best_{name}"]
    return out


def _doubling(kernel: Tensor, d: int, seed: int) -> float:
    """Distance that halves foretell for the whole, over what was measured: 1 if the extrapolation is right."""
    generator = torch.Generator().manual_seed(seed)
    n = len(kernel)
    foretold = []
    for i in range(4):
        part = torch.randperm(n, generator=generator)[: n // 2]
        foretold.append(sampling_error(kernel[part][:, part], d, draws=4, seed=i).next)
    return sum(foretold) / len(foretold) / sampling_error(kernel, d, seed=seed).half


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One draw of sentences, of output directions and of random weights."""
    drawn = factorial_sentences(config.per_cell, seed=seed)
    features = drawn.features()
    d = config.d
    trained, random = sentence_encoder(), sentence_encoder("random", seed=seed)
    start = time.process_time()
    sets = []
    for i in range(2):
        progress(0.3 * i, f"kernels, directions {i + 1} of 2")
        sets.append(kernels(trained, drawn.texts, config.directions, 2 * seed + i, max_bytes=config.max_bytes))
    seconds = time.process_time() - start
    both = {layer: (sets[0][layer] + sets[1][layer]) / 2 for layer in LAYERS}
    values = activations(trained, drawn.texts)
    progress(0.6, "kernels, random weights")
    untrained = kernels(random, drawn.texts, -(-config.directions // 2), 2 * seed, max_bytes=config.max_bytes)
    progress(0.9, "comparisons")

    back = cotangents(trained, drawn.texts, 2 * config.directions, 2 * seed)
    metrics = measure(both, values, back, features, d)
    for layer in LAYERS:
        best = best_readout(values[layer], features, d, config.readouts)
        metrics |= {f"readout_{name}_{layer}": value for name, value in best.items()}
        metrics[f"readout_mean_{layer}"] = sum(best[name] for name in WRITTEN) / len(WRITTEN)
        error = sampling_error(both[layer], d, seed=seed)
        metrics |= {f"half_{layer}": error.half, f"next_{layer}": error.next, f"endless_{layer}": error.endless}
        space = [leading_subspace(k[layer], d) for k in (sets[0], sets[1], both)]
        metrics[f"directions_{layer}"] = sum(projector_distance(u, space[2]) for u in space[:2]) / 2
        first, second = (shares(u, features) for u in space[:2])
        metrics[f"directions_shift_{layer}"] = max(abs(first[name] - second[name]) for name in FACTORS)
    metrics["doubling"] = _doubling(both["block3"], d // 2, seed)
    found = shown(leading_subspace(both["block6"], d), features, seed=seed)
    metrics |= {f"null_{name}": value.null for name, value in found.items()}
    counts = shares(leading_directions(word_counts(drawn.texts), d), features)
    back = cotangents(random, drawn.texts, 2 * config.directions, 2 * seed)
    controls = {
        "random_weights": measure(untrained, activations(random, drawn.texts), back, features, d),
        "word_counts": {f"pca_{name}": value for name, value in counts.items()},
    }
    return SeedRecord(metrics, controls, _series(both, values, features, drawn, seconds), {})


def _series(
    kernel: Mapping[str, Tensor],
    values: Mapping[str, Tensor],
    features: Mapping[str, Tensor],
    drawn: FactorialSentences,
    seconds: float,
) -> dict[str, list[float]]:
    """Shares against the number of directions; spectra; the sentences at both ends of four eigenvectors a layer."""
    most = [d for d in DIMENSIONS if d < len(drawn.texts)]
    spaces = {layer: leading_subspace(kernel[layer], max(most)) for layer in LAYERS}
    parts = {layer: leading_directions(values[layer], max(most)) for layer in LAYERS}
    out: dict[str, list[float]] = {"cpu_seconds": [seconds]}
    for name in FACTORS:
        only = {name: features[name]}
        for method, table in (("kernel", spaces), ("pca", parts)):
            for layer in LAYERS:
                out[f"{method}_{name}_{layer}"] = [shares(table[layer][:, :d], only)[name] for d in most]
    for layer in LAYERS:
        order = spaces[layer][:, :4].argsort(dim=0, descending=True)
        out[f"exciting_{layer}"] = torch.cat([order[:5], order[-5:].flip(0)]).T.tolist()
    out["alignment"] = [[centered_cosine(kernel[a], kernel[b]) for b in LAYERS] for a in LAYERS]  # type: ignore[misc]
    return out


def chance(config: Config) -> dict[str, float]:
    """Share of a random d-dimensional subspace."""
    level = overlap_chance(config.d, 1, 64 * config.per_cell, excluded=1)
    names = [f"{m}_{f}_{layer}" for m in METHODS for f in (*FACTORS, "mean") for layer in LAYERS]
    best = [f"{m}_best_{f}" for m in ("kernel", "pca") for f in (*FACTORS, "mean")]
    return dict.fromkeys([*names, *best], level)


EXPERIMENT = Experiment(
    name="sentence_encoder",
    title="A pretrained sentence encoder by layer: eigenvectors against principal components and random readouts",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), per_cell=1, directions=1, d=8, readouts=5),
    seconds_per_seed=30.0,
    tolerances={"*": 5e-3},
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

    Raises:
        MissingExtraError: without the packages of the extra ``pretrained``.

    Example:
        >>> Config().d
        16
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
