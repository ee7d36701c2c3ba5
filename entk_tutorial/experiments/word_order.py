r"""Which families of text models can learn that "not" flips the word after it, at infinite width?

Kernel gradient descent with the closed-form tangent kernel of each family on a toy task in which one bag of words has
both labels, depending on order. Controls are built into the task: words never negated in training, and "not" after the
word. Source: [Sun, Li & Lu 2023]. Chapter: book/infinite/multiplicative.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from entk_tutorial.data.word_order import (
    GROUPS,
    HELD_OUT,
    NOT,
    UNSEEN_FIRST,
    UNSEEN_SECOND,
    VOCABULARY,
    WORDS,
    word_order_task,
)
from entk_tutorial.experiments.base import Experiment, ProgressFn, Result, SeedRecord, run_experiment
from entk_tutorial.infinite import (
    critical_learning_rate,
    double_difference,
    interaction_documents,
    kernel_gradient_descent,
    mv_kernel,
)
from entk_tutorial.infinite.probes import FAMILY_KERNELS, KernelFunction

SLOW = ("attention, many heads, softmax",)
"""Left out, since they are sampled; one kernel of this size takes minutes."""
WITH_VECTORS = "MV, similar word vectors"
ROUNDING = 1e-9


@dataclass(frozen=True)
class Config:
    """Settings.

    Attributes:
        steps: steps of kernel gradient descent on the logistic loss, at half the critical learning rate.
        test_fraction: share of the documents of each kind that is not trained on.
        similarity: cosine of the vectors of two words of like sentiment, in the extra row of MV with token vectors.
    """

    steps: int = 500
    test_fraction: float = 0.4
    similarity: float = 0.8

    def __post_init__(self) -> None:
        """Refuse settings that cannot be run."""
        if self.steps < 1 or not 0 <= self.similarity < 1:
            raise ValueError(
                f"steps={self.steps}, similarity={self.similarity}: at least one step, and a cosine from 0 to below 1, "
                "are expected."
            )
        word_order_task(0, test_fraction=self.test_fraction)  # checks the fraction, with its reason


def word_gram(similarity: float) -> torch.Tensor:
    """Gram of token vectors: words of like sentiment have that cosine, all other pairs are orthogonal."""
    gram = torch.eye(VOCABULARY, dtype=torch.float64)
    for half in (WORDS[:3], WORDS[3:]):
        for a in half:
            for b in half:
                gram[a, b] = 1.0 if a == b else similarity
    return gram


def families(config: Config) -> dict[str, KernelFunction]:
    """The kernels that are compared."""
    chosen = {name: kernel for name, kernel in FAMILY_KERNELS.items() if name not in SLOW}
    gram = word_gram(config.similarity)
    return chosen | {WITH_VECTORS: lambda docs: mv_kernel(docs, gram=gram)}


def learn(config: Config, kernel: KernelFunction, seed: int) -> dict[str, float]:
    """Accuracy by group of test documents, and the double differences, after training with one kernel.

    ``interaction`` is the mean over words of the double difference of "not w" in the direction that negation asks for,
    over the root mean square of the training outputs; for words negated in training and for held-out ones.
    """
    task = word_order_task(seed, test_fraction=config.test_fraction)
    probes = [d for w in WORDS for d in interaction_documents(NOT, w, UNSEEN_FIRST, UNSEEN_SECOND)]
    others = [d for group in GROUPS for d in task.test[group]] + probes
    number = len(task.train)
    table = kernel([*task.train, *others]).ntk
    train = table[:number, :number]
    rate = 0.5 * critical_learning_rate(train, "logistic")
    run = kernel_gradient_descent(train, task.labels, "logistic", rate, config.steps)
    outputs = run.predict(table[number:, :number])
    out: dict[str, float] = {}
    start = 0
    for group in GROUPS:
        end = start + len(task.test[group])
        right = (outputs[start:end] > 0) == (task.test_labels[group] == 1)
        # An output of exactly 0 is a tie: half right.
        tie = outputs[start:end].abs() < ROUNDING
        out[f"accuracy_{group}"] = float(torch.where(tie, 0.5, right.double()).mean())
        start = end
    wanted = torch.tensor([-1.0 if w < WORDS[3] else 1.0 for w in WORDS], dtype=torch.float64)
    size = float(run.outputs.square().mean().sqrt())
    pull = wanted * double_difference(outputs[start:].reshape(len(WORDS), 4)) / size
    held = torch.tensor([w in HELD_OUT for w in WORDS])
    pull = torch.where(pull.abs() < ROUNDING, 0.0, pull)  # else its sign would differ between machines
    return out | {"interaction": float(pull[~held].mean()), "interaction_held_out": float(pull[held].mean())}


def key(name: str) -> str:
    """The name of a family as part of a metric's name.

    Example:
        >>> key("Hadamard, tied")
        'hadamard_tied'
    """
    return "_".join("".join(c if c.isalnum() else " " for c in name.lower()).split())


def run_seed(config: Config, seed: int, progress: ProgressFn) -> SeedRecord:
    """One split of the documents, all families."""
    metrics: dict[str, float] = {}
    chosen = families(config)
    for i, (name, kernel) in enumerate(chosen.items()):
        progress(i / len(chosen), name)
        metrics |= {f"{key(name)}_{what}": value for what, value in learn(config, kernel, seed).items()}
    return SeedRecord(metrics, {}, {}, {})


def chance(config: Config) -> dict[str, float]:
    """Half of the labels of each group are positive."""
    return {f"{key(name)}_accuracy_{group}": 0.5 for name in families(config) for group in GROUPS}


EXPERIMENT = Experiment(
    name="word_order",
    title="Kernel gradient descent on negation: which families learn it, and for which words",
    config_type=Config,
    run_seed=run_seed,
    chance=chance,
    quick=replace(Config(), steps=100),
    seconds_per_seed=2.0,
    tolerances={"*": 1e-4},
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
        >>> result = run(Config(steps=50), seeds=[0])
        >>> abs(float(result.metrics["linear_interaction"][0])) < 1e-12
        True
    """
    return run_experiment(EXPERIMENT, config, seeds, results_dir=results_dir, progress=progress)
