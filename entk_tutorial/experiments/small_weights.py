r"""A tanh CNN at the initial weights and with the optimiser of the paper: does it add up its tokens?

Negation in the generated corpus, width 64, all weights of standard deviation .1, Adagrad, batches of 64, 200 epochs;
and the same at a larger learning rate, which carries the weights away from where the kernel was computed. Control: the
kernel of infinite width at the same scale. Source: [Sun, Li & Lu 2023]. Chapter: book/text/negation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from entk_tutorial.data.sentiment import SentimentConfig, SentimentCorpus, sentiment_corpus
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.experiments.negation import Config as LimitConfig
from entk_tutorial.experiments.negation import learn, measure, probe_documents
from entk_tutorial.infinite import cnn_kernel
from entk_tutorial.models.text import CNNText


@dataclass(frozen=True)
class Config:
    """Settings; the defaults are those of the paper's public code, but for dropout, which is left out.

    Attributes:
        scale: standard deviation of all initial weights.
        width: of embedding and hidden layer.
        epochs: passes over the training documents.
        batch: documents in a step.
        lr: of Adagrad on the weights themselves.
        faster: factor on the learning rate in the second run.
    """

    scale: float = 0.1
    width: int = 64
    epochs: int = 200
    batch: int = 64
    lr: float = 1e-3
    faster: float = 10.0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if min(self.width, self.epochs, self.batch) < 1 or min(self.scale, self.lr, self.faster) <= 0:
            raise ValueError(
                f"width={self.width}, epochs={self.epochs}, batch={self.batch}, scale={self.scale}, lr={self.lr}, "
                f"faster={self.faster}; expected positive numbers."
            )


def train_network(config: Config, corpus: SentimentCorpus, seed: int, lr: float) -> dict[str, float]:
    """Train, and measure as in ``entk_tutorial.experiments.negation``; outputs less their start.

    In NTK parametrisation a weight is the scale times a number of variance 1, so that Adagrad, which does not see the
    size of gradients, takes the learning rate over the scale.

    Returns:
        The measures, with ``loss`` (mean, at the end) and ``moved`` (distance of the hidden layer from its start over
        its norm there).
    """
    s = config.scale
    net = CNNText(
        len(corpus.words), config.width, activation="tanh", sigma_e=s, sigma_w=s, sigma_v=s, seed=seed,
        dtype=torch.float32,
    )  # fmt: skip
    documents, target = torch.tensor(corpus.train), corpus.labels.float()
    probes = [[*d, *[-1] * (documents.shape[1] - len(d))] for d in probe_documents(corpus)]
    everything = torch.cat([documents, torch.tensor(corpus.test), torch.tensor(probes)])
    with torch.no_grad():
        before = net(everything)[:, 0]
    start = net.W.detach().clone()
    number, tests = len(documents), len(corpus.test)
    optimizer = torch.optim.Adagrad(net.parameters(), lr=lr / s)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(config.epochs):
        for rows in torch.randperm(number, generator=generator).split(config.batch):
            optimizer.zero_grad()
            outputs = net(documents[rows])[:, 0] - before[:number][rows]
            binary_cross_entropy_with_logits(outputs, target[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        after = net(everything)[:, 0] - before
        out = measure(corpus, after[:number], after[number : number + tests], after[number + tests :])
        out["loss"] = float(binary_cross_entropy_with_logits(after[:number], target))
        out["moved"] = float((net.W - start).norm() / start.norm())
    return out


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One corpus, two networks, one kernel."""
    corpus = sentiment_corpus(SentimentConfig(), seed=seed)
    metrics: dict[str, float] = {}
    for i, (name, lr) in enumerate((("paper", config.lr), ("faster", config.faster * config.lr))):
        progress(i / 2, name)
        metrics |= {f"{name}_{what}": v for what, v in train_network(config, corpus, seed, lr).items()}
    s = config.scale
    limit = learn(LimitConfig(), corpus, lambda d: cnn_kernel(d, activation="tanh", sigma_e=s, sigma_w=s, sigma_v=s))[0]
    return SeedRecord(metrics, {"kernel": {f"limit_{what}": value for what, value in limit.items()}}, {}, {})


def chance(config: Config) -> dict[str, float]:
    """Half of the test labels are positive."""
    return {"paper_accuracy": 0.5, "faster_accuracy": 0.5}


EXPERIMENT = Experiment(
    name="small_weights",
    title="A tanh CNN at the paper's initial weights: does it add up its tokens, also after its weights have moved?",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), epochs=20, width=16),
    seconds_per_seed=10.0,
    tolerances={"*": 0.05},
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
        >>> result = run(Config(width=8, epochs=2), seeds=[0])
        >>> bool(result.metrics["paper_dd"][0] < 0.01)
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
