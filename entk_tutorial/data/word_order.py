"""Three-word documents in which "not" flips the word after it and leaves the word before it alone."""

from __future__ import annotations

from dataclasses import dataclass

import torch

NOT, FILLERS, WORDS = 0, (1, 2, 3, 4), (5, 6, 7, 8, 9, 10)
"""Token ids: the negation, four fillers, six words with a sentiment: 5, 6, 7 positive and 8, 9, 10 negative."""
HELD_OUT = (7, 10)
"""The two words that no training document negates."""
UNSEEN_FIRST, UNSEEN_SECOND = 11, 12
"""Two tokens that no document contains: the blanks of a double difference."""
VOCABULARY = 13
GROUPS = ("plain", "negated", "negated_held_out", "not_after")


@dataclass(frozen=True)
class WordOrderTask:
    """Training documents, and test documents by group.

    Attributes:
        train: documents of three tokens.
        labels: (N,) 1 for positive, 0 for negative.
        test: group -> documents that are not in ``train``, of the kinds of :data:`GROUPS`.
        test_labels: group -> labels.
    """

    train: list[list[int]]
    labels: torch.Tensor
    test: dict[str, list[list[int]]]
    test_labels: dict[str, torch.Tensor]


def word_order_task(seed: int, *, test_fraction: float = 0.4) -> WordOrderTask:
    """All documents of the four kinds, split at random.

    With w a word and f, g fillers: "f w g" and "f g w" (``plain``), "f not w" (``negated``, label flipped), "w not f"
    (``not_after``, label kept). "f not w" with a held-out word is never trained on (``negated_held_out``). The same
    bag, "f not w" and "w not f", thus has both labels.

    Args:
        seed: of the split.
        test_fraction: share of the documents of each kind that is left out of training.

    Raises:
        ValueError: if a split would leave a kind without training or test documents.

    Example:
        >>> task = word_order_task(0)
        >>> len(task.train), [len(task.test[group]) for group in GROUPS]
        (141, [76, 6, 8, 9])
    """
    if not 0.05 <= test_fraction <= 0.9:
        raise ValueError(f"test_fraction={test_fraction}; a number from 0.05 to 0.9 leaves both sides something.")
    generator = torch.Generator().manual_seed(seed)
    train: list[list[int]] = []
    labels: list[int] = []
    test: dict[str, list[list[int]]] = {}
    test_labels: dict[str, torch.Tensor] = {}
    for group in GROUPS:
        documents = _documents(group)
        order = torch.randperm(len(documents), generator=generator).tolist()
        cut = len(documents) if group == "negated_held_out" else int(test_fraction * len(documents))
        test[group] = [documents[i][0] for i in order[:cut]]
        test_labels[group] = torch.tensor([documents[i][1] for i in order[:cut]])
        train += [documents[i][0] for i in order[cut:]]
        labels += [documents[i][1] for i in order[cut:]]
    return WordOrderTask(train, torch.tensor(labels), test, test_labels)


def _documents(group: str) -> list[tuple[list[int], int]]:
    found: list[tuple[list[int], int]] = []
    for word in WORDS:
        positive = int(word < WORDS[3])
        for f in FILLERS:
            if group == "plain":
                for g in FILLERS:
                    found += [([f, word, g], positive), ([f, g, word], positive)]
            elif group == "not_after":
                found.append(([word, NOT, f], positive))
            elif (group == "negated_held_out") == (word in HELD_OUT):
                found.append(([f, NOT, word], 1 - positive))
    return found
