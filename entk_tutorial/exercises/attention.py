"""Exercises of the chapter on self-attention: checks that name the likely mistake, and solutions by computation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch

from entk_tutorial.data.sentences import encode
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.infinite import attention_kernel
from entk_tutorial.infinite.attention import attention_weights

LAYERS = ("tied, sum", "tied, last", "heads, sum", "heads, last")


def check_repeated_word(answer: float) -> Answer:
    """Weight of each "very" in "very very good", tied attention, beta sigma_e^2 = ln 2.

    Example:
        >>> check_repeated_word(0.9)
        Not yet. That is the weight of "good". Equal words attend to each other more, and "very" has one.
    """
    if close(answer, _repeated_word(), 2e-3):
        return Answer(True, "2/5 + 2/5 + 1/4: two queries that match, one that does not. Without repetition it is 1.")
    mistakes = {
        0.9: 'That is the weight of "good". Equal words attend to each other more, and "very" has one.',
        1.0: "That is the bag of words. It would be right if the three words differed.",
        2.1: 'That is both occurrences of "very" together; the question is for each.',
        0.4: 'That is what one query "very" gives to one "very". Add up what all three queries give.',
        0.8: 'You left out the query "good", which gives "very" 1/4.',
        4 / 3: "You normalised over all nine scores. Softmax normalises each query by itself.",
        1.5: "You normalised over queries; softmax normalises over the keys of each query.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 2e-3)), None)
    return Answer(False, found or 'Scores are ln 2 for equal words, else 0: a query "very" gives 2/5, 2/5, 1/5.')


def _repeated_word() -> float:
    document, probe = [encode("very very good")], [encode("very")]
    return float(attention_kernel(document, probe, beta=math.log(2)).nngp) / 2


def check_hard_width(answer: float) -> Answer:
    """Width at which a word of a three-word document gives itself 90 %, tied, scores / sqrt(n), sigma_e = .1.

    Example:
        >>> check_hard_width(289)
        Not yet. That is sqrt(n). The score is sqrt(n) sigma_e^2, so the width is its square.
    """
    if abs(answer / _hard_width() - 1) <= 0.02:
        return Answer(True, "About 84,000. At the width 64 the same layer attends almost uniformly.")
    mistakes = {
        math.log(18) / 0.01: "That is sqrt(n). The score is sqrt(n) sigma_e^2, so the width is its square.",
        (math.log(18) / 0.1) ** 2: "You used sigma_e = 0.1 where the score has sigma_e^2 = 0.01.",
        (math.log(9) / 0.01) ** 2: "You took one other word; a document of three has two.",
        (math.log(0.9) / 0.01) ** 2: "0.9 is a share, not a score: solve e^s / (e^s + 2) = 0.9 for s.",
        math.log(18) / 0.01**2: "The score grows like sqrt(n), not like n.",
    }
    found = next((text for value, text in mistakes.items() if abs(answer / value - 1) <= 0.02), None)
    return Answer(False, found or "Solve e^s / (e^s + 2) = 0.9, then sqrt(n) sigma_e^2 = s.")


def _hard_width() -> float:
    low, high = 1.0, 1e9
    while high / low > 1 + 1e-9:
        middle = math.sqrt(low * high)
        scores = math.sqrt(middle) * 0.01 * np.eye(3)[None]
        alpha = attention_weights(scores, np.ones((1, 3), dtype=bool), "softmax")
        low, high = (middle, high) if alpha[0, 0, 0] < 0.9 else (low, middle)
    return high


def check_filler(answer: float) -> Answer:
    """Interaction share of identity heads on {very, not} x {good, bad} followed by "movie".

    Example:
        >>> check_filler(0.5)
        Not yet. That is the share without "movie". It is in every document, so overlaps are 3, 2, 2, 1.
    """
    if close(answer, _filler(), 5e-3):
        return Answer(True, "2 / 8: every further shared word adds products with itself and dilutes the interaction.")
    mistakes = {
        0.5: 'That is the share without "movie". It is in every document, so overlaps are 3, 2, 2, 1.',
        0.0: "With overlaps themselves the interaction is 0, as in a bag of words. Identity heads square them.",
        2.0: "That is the interaction's eigenvalue before the factor 6; divide by that of a word.",
        4.0: "That is the inverse: interaction over word.",
        2 / 18: "You divided by the eigenvalue of the constant pattern; divide by that of a word.",
        1.0: "Both eigenvalues use all four entries: 9 - 4 - 4 + 1 and 9 + 4 - 4 - 1.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 5e-3)), None)
    return Answer(False, found or "Square the overlaps 3, 2, 2, 1 and apply both patterns of signs.")


def _filler() -> float:
    docs = [encode(f"{first} {second} movie") for first in ("very", "not") for second in ("good", "bad")]
    kernel = attention_kernel(docs, variant="heads", scores="identity").ntk.numpy()
    both, word = np.array([1, -1, -1, 1]), np.array([1, 1, -1, -1])
    return float(both @ kernel @ both / (word @ kernel @ word))


def check_small_scores(answer: float) -> Answer:
    """Standard deviation of the scores at which the interaction share of softmax heads is one per cent.

    Example:
        >>> check_small_scores(0.01778)
        Not yet. That is tau^2. Take the root.
    """
    if abs(answer / math.sqrt(0.01 * 16 / 9) - 1) <= 0.06:
        return Answer(True, "tau = 4/3 of a tenth. Below that, softmax heads are a bag of words for most purposes.")
    mistakes = {
        16 / 900: "That is tau^2. Take the root.",
        0.075: "You multiplied by 9/16 instead of dividing by it.",
        0.1: "You left out the factor 9/16.",
        0.01: "The share grows like the square of tau, with the factor 9/16.",
        4 / 3: "One per cent is 0.01.",
    }
    found = next((text for value, text in mistakes.items() if abs(answer / value - 1) <= 0.06), None)
    return Answer(False, found or "Solve (9/16) tau^2 = 0.01 for tau.")


def _small_scores(tau: float = 0.1, n_samples: int = 1500) -> float:
    """By sampling at a small tau, and the square law."""
    docs = [encode(text) for text in ("very good", "very bad", "not good", "not bad")]
    generator = torch.Generator().manual_seed(0)
    kernel = attention_kernel(docs, variant="heads", sigma_q=tau, n_samples=n_samples, generator=generator).ntk.numpy()
    both, word = np.array([1, -1, -1, 1]), np.array([1, 1, -1, -1])
    return tau * math.sqrt(0.01 / float(both @ kernel @ both / (word @ kernel @ word)))


def check_order(answer: Iterable[str]) -> Answer:
    """Which of four layers tell "not good" from "good not".

    Args:
        answer: names out of "tied, sum", "tied, last", "heads, sum", "heads, last".

    Example:
        >>> check_order(["tied, sum", "tied, last", "heads, last"])
        Not yet. Tied attention summed over queries depends on counts of words alone.
    """
    if isinstance(answer, str):
        return Answer(False, 'Give a list of names, such as ["tied, sum"], even for one layer.')
    given = set(answer)
    unknown = sorted(given - set(LAYERS))
    if unknown:
        return Answer(False, f"There is no layer {unknown[0]!r}; choose from {', '.join(LAYERS)}.")
    if given == set(_order()):
        return Answer(True, "Only the choice of the query knows about positions; here it is the last word that asks.")
    if "heads, sum" in given:
        return Answer(
            False,
            "Summed over queries, heads see which words meet, not in which order: the kernel of the two is that of "
            "equal documents.",
        )
    if "tied, sum" in given:
        return Answer(False, "Tied attention summed over queries depends on counts of words alone.")
    missing = sorted(set(_order()) - given)
    return Answer(False, f'In the layer "{missing[0]}" the query is "good" in one sentence and "not" in the other.')


def _order() -> list[str]:
    told: list[str] = []
    for name in LAYERS:
        variant, query = name.split(", ")
        scores = "identity" if variant == "heads" else "softmax"
        kernel = attention_kernel([encode("not good"), encode("good not")], variant=variant, query=query, scores=scores)
        if float(kernel.ntk[0, 0] + kernel.ntk[1, 1] - 2 * kernel.ntk[0, 1]) > 1e-9:
            told.append(name)
    return told


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_repeated_word": _repeated_word,
    "check_hard_width": _hard_width,
    "check_filler": _filler,
    "check_small_scores": _small_scores,
    "check_order": _order,
}
