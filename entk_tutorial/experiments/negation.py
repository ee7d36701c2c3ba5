r"""Negation in a generated corpus: every family at infinite width, and finite networks of most of them.

Words of known sentiment, and a "not" that turns the word after it; some words are never negated in training. Logistic
loss, full-batch gradient descent, outputs less their start. Controls: the same documents with their words in random
order, and random labels. Source: [Sun, Li & Lu 2023]. Chapter: book/text/negation.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from entk_tutorial.data.corpus import count_after
from entk_tutorial.data.sentiment import TEST_GROUPS, SentimentConfig, SentimentCorpus, sentiment_corpus
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.infinite import (
    cnn_kernel,
    critical_learning_rate,
    double_difference,
    interaction_documents,
    kernel_gradient_descent,
    mv_kernel,
)
from entk_tutorial.infinite.probes import FAMILY_KERNELS, KernelFunction
from entk_tutorial.models.centred import train_scores
from entk_tutorial.models.text import AttentionText, CNNText, LinearText, MLPText, MVText, RNNText

NAMES: dict[str, str] = {
    "linear": "linear",
    "mlp_relu": "MLP per token, relu",
    "mlp_tanh": "MLP per token, tanh",
    "mlp_pooled": "MLP on the pooled document, relu",
    "cnn_linear": "CNN, linear",
    "cnn_relu": "CNN, relu",
    "cnn_tanh": "CNN, tanh",
    "attention_tied": "attention, tied",
    "attention_uniform": "attention, independent Q and K, 1/n",
    "attention_identity": "attention, many heads, identity",
    "hadamard": "Hadamard",
    "mv": "matrix-vector (MV)",
    "rnn_additive": "additive linear RNN",
    "rnn_gated": "gated linear RNN",
    "residual_product": "residual matrix product",
}
"""Short name -> the family of ``entk_tutorial.infinite.probes.FAMILY_KERNELS``."""

ADDITIVE = ("linear", "mlp_relu", "mlp_tanh", "cnn_linear", "attention_tied", "attention_uniform", "rnn_additive")
"""Families whose features add up over positions, so that their double difference is 0."""

SMALL_SIGMA = 0.1
CONTROLLED = ("linear", "cnn_relu", "mv")
"""Families that run on the controls too, and whose scores by word are kept."""

TWINS: dict[str, Callable[..., nn.Module]] = {
    "linear": LinearText,
    "mlp_relu": MLPText,
    "cnn_linear": partial(CNNText, activation="linear"),
    "cnn_relu": CNNText,
    "cnn_tanh": partial(CNNText, activation="tanh"),
    "attention_tied": AttentionText,
    "attention_softmax": partial(AttentionText, variant="heads"),
    "rnn_gated": RNNText,
    "mv": MVText,
}
"""Short name -> finite network; its options are those of the kernel."""


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        steps: steps of gradient descent.
        rate: learning rate as a share of the critical one of the infinite-width kernel.
        similarity: cosine of the vectors of two words of like sentiment, in the row of MV with word vectors.
        width: of the finite networks.
        mv_width: width of the matrix-vector model, which has a matrix a token and is dearer.
        heads_width: width of attention with heads, dear too.
        heads: its number of heads.
        twins: which finite networks of :data:`TWINS` to train.
    """

    steps: int = 300
    rate: float = 0.25
    similarity: float = 0.8
    width: int = 128
    mv_width: int = 64
    heads_width: int = 32
    heads: int = 16
    twins: tuple[str, ...] = tuple(TWINS)

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if min(self.steps, self.width, self.mv_width, self.heads_width, self.heads) < 1:
            raise ValueError(
                f"steps={self.steps}, width={self.width}, mv_width={self.mv_width}, heads_width={self.heads_width}, "
                f"heads={self.heads}; expected 1 or more of each."
            )
        if not (0 < self.rate < 1 and 0 <= self.similarity < 1):
            raise ValueError(
                f"rate={self.rate}, similarity={self.similarity}; expected a share of the critical learning rate "
                "between 0 and 1, and a cosine from 0 to below 1."
            )
        unknown = sorted(set(self.twins) - set(TWINS))
        if unknown:
            raise ValueError(f"no finite network is called {', '.join(unknown)}; there are {', '.join(TWINS)}.")


def families(config: Config, corpus: SentimentCorpus) -> dict[str, KernelFunction]:
    """Short name -> infinite-width kernel; two rows beside :data:`NAMES`."""
    gram = word_gram(corpus, config.similarity)
    return {name: FAMILY_KERNELS[label] for name, label in NAMES.items()} | {
        "cnn_tanh_small": lambda docs: cnn_kernel(docs, activation="tanh", sigma_w=SMALL_SIGMA),
        "mv_vectors": lambda docs: mv_kernel(docs, gram=gram),
    }


def word_gram(corpus: SentimentCorpus, similarity: float) -> Tensor:
    """(V, V) Gram of token vectors: two words of like sentiment have that cosine, all other pairs are orthogonal."""
    alike = (corpus.polarity[:, None] * corpus.polarity[None, :]) == 1
    gram = similarity * alike.double()
    return gram.fill_diagonal_(1.0)


def probe_documents(corpus: SentimentCorpus) -> list[list[int]]:
    """For each word w of known sentiment the documents "not w", "not u", "z w", "z u"; z and u occur nowhere else."""
    z, u = corpus.unseen[:2]
    return [d for w in polar_words(corpus) for d in interaction_documents(corpus.negation, w, z, u)]


def polar_words(corpus: SentimentCorpus) -> list[int]:
    """Ids of the words of known sentiment, positive ones first."""
    return torch.nonzero(corpus.polarity)[:, 0].tolist()


def measure(corpus: SentimentCorpus, trained: Tensor, tested: Tensor, probed: Tensor) -> dict[str, float]:
    r"""Accuracy by kind of document, sign flips, and double differences.

    ``flip``: share of words for which "z w" has the sign of w and "not w" the other one. It can come from a low score
    of "not" alone. ``interaction``: the double difference in the direction that negation asks for, mean over words;
    ``dd``: its largest absolute value. Both in units of the root mean square of the training outputs, both for words
    that training negates and, with ``_held_out``, for the others.

    Args:
        corpus: the documents.
        trained: (N,) outputs on training documents.
        tested: (M,) outputs on test documents; exactly 0 counts as half right.
        probed: (4 W,) outputs on :func:`probe_documents`.
    """
    right = torch.where(tested == 0, 0.5, ((tested > 0) == (corpus.test_labels == 1)).double())
    out = {"accuracy": float(right.mean())}
    out |= {f"accuracy_{group}": float(right[corpus.test_groups[group]].mean()) for group in TEST_GROUPS}
    words = polar_words(corpus)
    sign = corpus.polarity[words].double()
    table = probed.double().reshape(len(words), 4)
    flipped = ((sign * table[:, 2] > 0) & (sign * table[:, 0] < 0)).double()
    differences = double_difference(table) / trained.double().square().mean().sqrt()
    held = torch.tensor([w in corpus.held_out for w in words])
    for mask, suffix in ((~held, ""), (held, "_held_out")):
        out[f"flip{suffix}"] = float(flipped[mask].mean())
        out[f"interaction{suffix}"] = float(-(sign * differences)[mask].mean())
        out[f"dd{suffix}"] = float(differences[mask].abs().max())
    return out


def learn(config: Config, corpus: SentimentCorpus, kernel: KernelFunction) -> tuple[dict[str, float], Tensor, float]:
    """Train with one infinite-width kernel: measures, outputs on the probes, learning rate."""
    probes = probe_documents(corpus)
    number, tests = len(corpus.train), len(corpus.test)
    table = kernel([*corpus.train, *corpus.test, *probes]).ntk
    train = table[:number, :number]
    rate = config.rate * critical_learning_rate(train, "logistic")
    run = kernel_gradient_descent(train, corpus.labels, "logistic", rate, config.steps)
    others = run.predict(table[number:, :number])
    return measure(corpus, run.outputs, others[:tests], others[tests:]), others[tests:], rate


def learn_finite(config: Config, corpus: SentimentCorpus, name: str, rate: float, seed: int) -> dict[str, float]:
    """The same with a finite network in float32, at the given learning rate."""
    width = {"mv": config.mv_width, "attention_softmax": config.heads_width}.get(name, config.width)
    options = {"heads": config.heads} if name == "attention_softmax" else {}
    model = TWINS[name](vocab=len(corpus.words), width=width, seed=seed, dtype=torch.float32, **options)
    documents = torch.tensor(corpus.train)
    padded = [[*d, *[-1] * (documents.shape[1] - len(d))] for d in probe_documents(corpus)]
    probes = torch.cat([documents, torch.tensor(corpus.test), torch.tensor(padded)])
    outputs = train_scores(model, documents, corpus.labels, probes, lr=rate, record_at=[config.steps])[0]
    number, tests = len(corpus.train), len(corpus.test)
    return measure(corpus, outputs[:number], outputs[number : number + tests], outputs[number + tests :])


def shuffled_words(corpus: SentimentCorpus, seed: int) -> SentimentCorpus:
    """The same bags of words, each document in random order: what is left is what words say without their place."""
    generator = torch.Generator().manual_seed(seed)

    def mix(documents: list[list[int]]) -> list[list[int]]:
        return [[d[i] for i in torch.randperm(len(d), generator=generator).tolist()] for d in documents]

    return replace(corpus, train=mix(corpus.train), test=mix(corpus.test))


def random_labels(corpus: SentimentCorpus, seed: int) -> SentimentCorpus:
    """The same documents with their training labels dealt out at random."""
    order = torch.randperm(len(corpus.labels), generator=torch.Generator().manual_seed(seed))
    return replace(corpus, labels=corpus.labels[order])


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One corpus and one set of finite networks."""
    corpus = sentiment_corpus(SentimentConfig(), seed=seed)
    kernels = families(config, corpus)
    total = len(kernels) + 2 * len(CONTROLLED) + len(config.twins)
    metrics: dict[str, float] = {}
    controls: dict[str, dict[str, float]] = {"shuffled_words": {}, "random_labels": {}}
    series: dict[str, list[float]] = {}
    rates: dict[str, float] = {}
    done = 0
    for name, kernel in kernels.items():
        progress(done / total, name)
        found, probed, rates[name] = learn(config, corpus, kernel)
        metrics |= {f"{name}_{what}": value for what, value in found.items()}
        done += 1
        if name in CONTROLLED:
            table = probed.reshape(-1, 4)
            series |= {f"{name}_plain": table[:, 2].tolist(), f"{name}_negated": table[:, 0].tolist()}
            for control, change in (("shuffled_words", shuffled_words), ("random_labels", random_labels)):
                found = learn(config, change(corpus, seed), kernel)[0]
                controls[control] |= {f"{name}_{what}": value for what, value in found.items()}
                done += 1
    for name in config.twins:
        progress(done / total, f"finite {name}")
        # Attention with heads has no closed form to read a rate off; it gets that of the linear model.
        found = learn_finite(config, corpus, name, rates.get(name, rates["linear"]), seed)
        metrics |= {f"finite_{name}_{what}": value for what, value in found.items()}
        done += 1
    for prefix, scores in (("", metrics), ("finite_", metrics), ("", controls["shuffled_words"])):
        additive = [scores[k] for a in ADDITIVE if (k := f"{prefix}{a}_accuracy") in scores]
        if additive and f"{prefix}mv_accuracy" in scores:
            scores[f"{prefix}mv_margin"] = scores[f"{prefix}mv_accuracy"] - max(additive)
    after = count_after(corpus.train, [corpus.negation], len(corpus.words))
    seen = [int(after[w]) for w in polar_words(corpus) if w not in corpus.held_out]
    metrics |= {"negations_min": float(min(seen)), "negations_mean": sum(seen) / len(seen)}
    return SeedRecord(metrics, controls, series, {})


def chance(config: Config) -> dict[str, float]:
    """Half of the labels are positive in training and in test."""
    names = [*NAMES, "cnn_tanh_small", "mv_vectors", *(f"finite_{name}" for name in config.twins)]
    return {f"{name}_accuracy": 0.5 for name in names}


EXPERIMENT = Experiment(
    name="negation",
    title="Negation in a generated corpus: which families compose, for which words, at which width",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), steps=60, width=32, mv_width=16, twins=("linear", "mv")),
    seconds_per_seed=80.0,
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
        >>> result = run(Config(steps=20, twins=()), seeds=[0])
        >>> float(result.metrics["linear_dd"][0]) < 1e-10 < float(result.metrics["mv_dd"][0])
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
