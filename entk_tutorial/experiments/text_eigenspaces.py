r"""Eigenspaces of the empirical tangent kernel of trained text models, beside the features their theory names.

Documents with negation; networks of every family, untrained, trained with small outputs (rich) and with large ones
(lazy), and trained on shuffled labels; kernels over documents that no training saw. Which share of a kernel lies in
words, in words by place, in pairs; and whether the pair that the labels turn on leads. Sources: [Sun, Li & Lu 2023] for
the families, [Lin 2025] for the microscope. Chapter: book/beyond/text-eigenspaces.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from entk_tutorial.data.sentiment import SentimentConfig, SentimentCorpus, sentiment_corpus
from entk_tutorial.empirical.eigen import top_eigenpairs
from entk_tutorial.empirical.kernel import empirical_ntk
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.text_lens import Lens, learned_direction, make_lens, towards_counts
from entk_tutorial.features.alignment import overlap_chance
from entk_tutorial.features.ngrams import beyond, word_counts
from entk_tutorial.infinite import cnn_kernel, critical_learning_rate, mlp_kernel
from entk_tutorial.infinite.probes import FAMILY_KERNELS, KernelFunction
from entk_tutorial.models.text import AttentionText, CNNText, HadamardText, LinearText, MLPText, MVText, RNNText
from entk_tutorial.training import train

SMALL_SIGMA = 0.1
"""Scale of the hidden weights of the CNN with small weights."""


@dataclass(frozen=True)
class Family:
    """One family of text models: how the chapter calls it, a finite network, and its kernel at infinite width."""

    label: str
    network: Callable[..., nn.Module]
    limit: KernelFunction | None = None


FAMILIES: dict[str, Family] = {
    "linear": Family("linear", LinearText, FAMILY_KERNELS["linear"]),
    "mlp_relu": Family("MLP per token, relu", MLPText, FAMILY_KERNELS["MLP per token, relu"]),
    "cnn_linear": Family("CNN, linear", partial(CNNText, activation="linear"), FAMILY_KERNELS["CNN, linear"]),
    "rnn_additive": Family(
        "additive linear RNN",
        partial(RNNText, kind="additive", readout="last"),
        FAMILY_KERNELS["additive linear RNN"],
    ),
    "attention_tied": Family("attention, tied", AttentionText, FAMILY_KERNELS["attention, tied"]),
    "attention_heads": Family("attention, 4 heads, softmax", partial(AttentionText, variant="heads", heads=4)),
    "cnn_tanh_small": Family(
        "CNN, tanh, small weights",
        partial(CNNText, activation="tanh", sigma_w=SMALL_SIGMA),
        lambda docs: cnn_kernel(docs, activation="tanh", sigma_w=SMALL_SIGMA),
    ),
    "cnn_tanh": Family("CNN, tanh", partial(CNNText, activation="tanh"), FAMILY_KERNELS["CNN, tanh"]),
    "cnn_gelu": Family(
        "CNN, gelu", partial(CNNText, activation="gelu"), lambda docs: cnn_kernel(docs, activation="gelu")
    ),
    "cnn_relu": Family("CNN, relu", CNNText, FAMILY_KERNELS["CNN, relu"]),
    "rnn_gated": Family("gated linear RNN", RNNText, FAMILY_KERNELS["gated linear RNN"]),
    "mv": Family("matrix-vector (MV)", MVText, FAMILY_KERNELS["matrix-vector (MV)"]),
    "hadamard": Family("Hadamard", HadamardText, FAMILY_KERNELS["Hadamard"]),
}
"""Short name -> family, from those that add to those that multiply."""

ADDITIVE = ("linear", "mlp_relu", "cnn_linear", "rnn_additive")
"""Families whose output is a sum over places of functions of the token there, at every width."""
BIGRAM = ("cnn_tanh_small", "cnn_tanh", "cnn_gelu", "cnn_relu", "mv", "hadamard")
"""Families whose output is a sum over neighbouring pairs, at every width."""
CONTROLLED = ("cnn_relu", "rnn_gated", "mv", "hadamard")
"""Families that also train on shuffled labels, and are looked at group by group."""
LAZY = ("cnn_tanh_small", "cnn_relu", "mv")
"""Families that also train with large outputs, so that their weights hardly move."""
GROUPWISE = ("negation", "window", "row", "alignment", "bigrams")
"""What is measured on the kernels of single groups of parameters."""
ACTIVATIONS = ("tanh", "silu", "gelu", "relu")


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        train: training documents.
        documents: documents to look at, none of which training saw.
        length: words in each.
        width: of the networks.
        wide: width at which the share of the constant is compared with its closed form.
        scale: factor on the outputs in training; below 1 the weights must move farther, and features are learned.
        lazy_scale: the same for the control whose weights hardly move.
        steps: steps of gradient descent.
        rate: learning rate as a share of the critical one of the initial kernel.
        families: which of :data:`FAMILIES` to run.
    """

    train: int = 400
    documents: int = 500
    length: int = 6
    width: int = 32
    wide: int = 1024
    scale: float = 0.5
    lazy_scale: float = 4.0
    steps: int = 200
    rate: float = 0.25
    families: tuple[str, ...] = tuple(FAMILIES)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if min(self.width, self.wide, self.steps) < 1:
            raise ValueError(f"width={self.width}, wide={self.wide}, steps={self.steps}; expected 1 or more of each.")
        if not (min(self.scale, self.lazy_scale) > 0 and 0 < self.rate < 1):
            raise ValueError(
                f"scale={self.scale}, lazy_scale={self.lazy_scale}, rate={self.rate}; expected positive scales, and a "
                "share of the critical learning rate between 0 and 1."
            )
        unknown = sorted(set(self.families) - set(FAMILIES))
        if unknown:
            raise ValueError(f"no family is called {', '.join(unknown)}; there are {', '.join(FAMILIES)}.")
        corpus_config(self)


def corpus_config(config: Config) -> SentimentConfig:
    """Twelve words and "not": few enough for pairs to be fewer than documents."""
    return SentimentConfig(
        positive=4,
        negative=4,
        neutral=4,
        held_out=1,
        unseen=0,
        train=config.train,
        test=config.documents,
        length=config.length,
    )


def trace_kernel(network: nn.Module, documents: Tensor) -> Tensor:
    """(N, N) tangent kernel in float64."""
    kernel = empirical_ntk(network, documents)
    assert isinstance(kernel, Tensor)
    return kernel.double()


def fit(network: nn.Module, documents: Tensor, labels: Tensor, *, scale: float, rate: float, steps: int) -> None:
    r"""Full-batch gradient descent on the summed logistic loss of :math:`\alpha(f-f_0)`, in place.

    Args:
        network: (M, T) tokens -> (M, 1).
        documents: (M, T) token ids.
        labels: (M,) of 0 and 1.
        scale: alpha. The learning rate is divided by its square, so that outputs move as fast at any scale.
        rate: share of the critical learning rate of the network's own initial kernel.
        steps: how many.
    """
    critical = critical_learning_rate(trace_kernel(network, documents), "logistic")
    with torch.no_grad():
        start = network(documents)[:, 0]
    target = labels.to(start.dtype)

    def loss(net: nn.Module) -> Tensor:
        return binary_cross_entropy_with_logits(scale * (net(documents)[:, 0] - start), target, reduction="sum")

    train(network, loss, torch.optim.SGD(network.parameters(), lr=rate * critical / scale**2), steps)


def order_share(network: nn.Module, documents: Tensor, seed: int, number: int = 100) -> float:
    """Share of the variance of tangent features that depends on the order of the words: 0 if they are blind to it."""
    generator = torch.Generator().manual_seed(seed)
    some = documents[:number]
    mixed = torch.stack([d[torch.randperm(len(d), generator=generator)] for d in some])
    kernel = trace_kernel(network, torch.cat([some, mixed]))
    n = len(some)
    apart = kernel.trace() - 2 * kernel[:n, n:].trace()
    return float(apart / 2 / (kernel.trace() / 2 - kernel.mean() * n))


def constant_share(token_kernel: Tensor, counts: Tensor) -> float:
    """Share of the constant in the trace of the kernel of documents whose output is a sum over tokens.

    Args:
        token_kernel: (V, V) kernel of the documents of one token.
        counts: (N, V) word counts.
    """
    kernel = counts @ token_kernel.double() @ counts.T
    return float(kernel.mean() * len(kernel) / kernel.trace())


def run_family(
    config: Config, corpus: SentimentCorpus, lens: Lens, name: str, seed: int
) -> tuple[dict[str, float], dict[str, dict[str, float]], dict[str, list[float]]]:
    """Metrics of the trained network of one family, its controls by name, and spectra beyond sums over places."""
    documents, training = torch.tensor(corpus.test), torch.tensor(corpus.train)
    build = partial(FAMILIES[name].network, vocab=len(corpus.words), width=config.width, seed=seed)
    order = torch.randperm(len(corpus.labels), generator=torch.Generator().manual_seed(seed))
    runs = {"untrained": (corpus.labels, 0.0), "trained": (corpus.labels, config.scale)}
    if name in CONTROLLED:
        runs["shuffled_labels"] = (corpus.labels[order], config.scale)
    if name in LAZY:
        runs["lazy"] = (corpus.labels, config.lazy_scale)
    found: dict[str, dict[str, float]] = {}
    spectra: dict[str, list[float]] = {}
    start: dict[str, Tensor] = {}
    for state, (labels, scale) in runs.items():
        network = build(dtype=torch.float32)
        with torch.no_grad():
            before = network(documents)[:, 0]
        if scale:
            fit(network, training, labels, scale=scale, rate=config.rate, steps=config.steps)
        with torch.no_grad():
            right = (network(documents)[:, 0] > before) == (corpus.test_labels == 1)
        groups = empirical_ntk(network.double(), documents, by="parameter")
        assert isinstance(groups, dict)
        kernel = torch.stack(list(groups.values())).sum(0)
        here = lens.measure(kernel)
        words, pairs = (learned_direction(corpus, lens, labels, o) for o in ("words", "bigrams"))
        here |= towards_counts(kernel, lens, words, pairs)
        parts = {"": kernel} | ({f"{g}_": k for g, k in groups.items()} if name in CONTROLLED else {})
        if scale:
            here["accuracy"] = float(right.double().mean())
        else:
            start = parts
            here["order"] = order_share(network, documents, seed)
        for prefix, part in parts.items():
            if prefix:
                some = lens.measure(part)
                here |= {f"{prefix}{what}": some[what] for what in GROUPWISE}
            if scale and name not in ADDITIVE:
                here |= {f"{prefix}{what}": value for what, value in lens.lifts(part, start[prefix]).items()}
        found[state] = {f"{name}_{what}": value for what, value in here.items()}
        if name in CONTROLLED:
            values = top_eigenpairs(beyond(kernel, lens.blocks.additive), 30).values
            spectra[f"{name}_{state}_spectrum"] = (values / kernel.trace()).tolist()
    limit = FAMILIES[name].limit
    if limit is not None:
        found["infinite"] = {f"{name}_{k}": v for k, v in lens.measure(limit(corpus.test).ntk).items()}
    return found.pop("trained"), found, spectra


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One corpus, one network of each family."""
    corpus = sentiment_corpus(corpus_config(config), seed=seed)
    lens = make_lens(corpus)
    metrics: dict[str, float] = {}
    controls: dict[str, dict[str, float]] = {}
    series: dict[str, list[float]] = {}
    for i, name in enumerate(config.families):
        progress(i / len(config.families), name)
        found, others, spectra = run_family(config, corpus, lens, name, seed)
        metrics |= found
        series |= spectra
        for control, values in others.items():
            controls.setdefault(control, {}).update(values)
    blocks = lens.blocks
    metrics |= {f"dimension_{b}": float(getattr(blocks, b).shape[1]) for b in ("words", "slots", "bigrams")}
    vocab = len(corpus.words)
    tokens, counts = torch.arange(vocab)[:, None], word_counts(torch.tensor(corpus.test), vocab)
    for activation in ACTIVATIONS:
        network = MLPText(vocab=vocab, width=config.wide, activation=activation, seed=seed)
        metrics[f"constant_{activation}"] = constant_share(trace_kernel(network, tokens), counts)
        metrics[f"constant_{activation}_limit"] = constant_share(mlp_kernel(tokens, activation=activation).ntk, counts)
    return SeedRecord(metrics, controls, series, {})


def chance(config: Config) -> dict[str, float]:
    """What directions at random give that are orthogonal, as these are, to all sums over places."""
    corpus = corpus_config(config)
    vocab = corpus.positive + corpus.negative + corpus.neutral + 1
    excluded = 1 + config.length * (vocab - 1)
    if config.documents <= excluded:
        return {}
    words = corpus.positive + corpus.negative - 2 * corpus.held_out
    one = overlap_chance(1, 1, config.documents, excluded=excluded)
    window = overlap_chance(words, 1, config.documents, excluded=excluded)
    row = overlap_chance(words, words, config.documents, excluded=excluded)
    names = [n for n in config.families if n not in ADDITIVE]
    out = {f"{n}_{what}": one for n in names for what in ("negation", "leads_pairs")}
    out |= {f"{n}_leads_words": 1 / (config.documents - 1) for n in config.families}
    out |= {f"{n}_window": window for n in names}
    return out | {f"{n}_row": row for n in names} | {f"{n}_accuracy": 0.5 for n in config.families}


EXPERIMENT = Experiment(
    name="text_eigenspaces",
    title="Eigenspaces of trained text models: words, pairs of words, and the pair that the labels turn on",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), documents=250, steps=40, wide=64, families=("linear", "cnn_relu", "hadamard")),
    seconds_per_seed=90.0,
    tolerances={"*": 2e-2},
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
        >>> result = run(Config(documents=200, steps=5, wide=8, families=("linear", "cnn_relu")), seeds=[0])
        >>> bool(result.metrics["linear_bigrams"][0] < 1e-10 < result.metrics["cnn_relu_bigrams"][0])
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
