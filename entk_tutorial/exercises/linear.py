"""Exercises of the chapter on the linear text model: checks that name the likely mistake, solutions by computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from scipy import stats

from entk_tutorial.data.sentences import encode, faint_praise, toy_sentences
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.infinite import label_scores, linear_kernel

Scores = Mapping[str, float]
WORDS = ("good", "bad", "not", "movie", "plot")


def check_entry(answer: float) -> Answer:
    """The kernel between "good movie good" and "good movie good good", with sigma_v = 3.

    Example:
        >>> check_entry(63)
        Not yet. That is one group. Readout and embedding give the same share each.
    """
    if close(answer, _entry()):
        return Answer(True, "Twice sigma_v^2 sigma_e^2 times the scalar product of the bags.")
    mistakes = {
        63.0: "That is one group. Readout and embedding give the same share each.",
        42.0: "sigma_v enters squared: both factors of a kernel carry it.",
        36.0: "You counted each common word once. Repetitions count: 2 times 3 for 'good'.",
        54.0: "You compared words place by place. The model adds up vectors first: every pair counts.",
        10.5: "That is mean pooling, which divides by both lengths.",
        7.0: "That is the scalar product of the bags; the scales and the number of groups are missing.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value)), None)
    return Answer(False, found or "Write down both bags of words, multiply, then apply 2 sigma_v^2 sigma_e^2.")


def _entry() -> float:
    first, second = encode("good movie good"), encode("good movie good good")
    return float(linear_kernel([first], [second], sigma_v=3.0).ntk)


def check_repetition(answer: Sequence[float]) -> Answer:
    """Factors on the kernel of a document with itself when it is said three times: under the sum, under the mean.

    Example:
        >>> bool(check_repetition((9, 1)))
        True
    """
    if len(answer) != 2:
        return Answer(False, "Two numbers are asked for: the factor under sum pooling, then under mean pooling.")
    right = _repetition()
    if all(close(a, b) for a, b in zip(answer, right, strict=True)):
        return Answer(True, "Quadratic in the counts, and the mean forgets the length altogether.")
    first, second = (float(a) for a in answer)
    if close(first, 3.0):
        return Answer(False, "The counts triple in both arguments of the kernel, so the sum's factor is not 3.")
    if close(second, 9.0):
        return Answer(False, "That is right for the sum only: the mean divides by T in both arguments.")
    if close(second, 1 / 9):
        return Answer(False, "Under the mean the counts triple as well; 1/T only undoes that.")
    return Answer(False, "Replace n(x) by 3 n(x) and T by 3 T in the formula of the theorem.")


def _repetition() -> tuple[float, float]:
    once, thrice = encode("good movie"), 3 * encode("good movie")
    factors = []
    for pooling in ("sum", "mean"):
        kernel = linear_kernel([once, thrice], pooling=pooling).ntk
        factors.append(float(kernel[1, 1] / kernel[0, 0]))
    return factors[0], factors[1]


def check_first_steps(answer: Scores) -> Answer:
    """Velocities of five label scores at the start, under mean pooling, on the fourteen reviews.

    Example:
        >>> check_first_steps({"good": 4, "bad": -4, "not": -1, "movie": 0, "plot": 1})
        Not yet. Those are the differences of counts, right for sum pooling. Under the mean each occurrence counts 1/T.
    """
    missing = [word for word in WORDS if word not in answer]
    if missing:
        return Answer(False, f"A number is missing for: {', '.join(missing)}.")
    right = _first_steps()
    if all(close(answer[word], right[word]) for word in WORDS):
        return Answer(True, "Two from the groups, one half from the residual, one half from the mean.")
    mistakes = {
        2.0: "Those are the differences of counts, right for sum pooling. Under the mean each occurrence counts 1/T.",
        0.5: "A factor one half too much: the two groups give a factor 2, residual and mean one half each.",
        0.25: "You pooled twice. A probe of one word has c = 1; only the training document is divided by its length.",
        -1.0: "The sign: minus the gradient of the loss is y - sigma(f), positive for positive documents.",
    }
    found = next((t for k, t in mistakes.items() if all(close(answer[w], k * right[w]) for w in WORDS)), None)
    return Answer(False, found or "For each word add c times its count times (y - 1/2) over the reviews; times two.")


def _first_steps() -> dict[str, float]:
    documents, labels = faint_praise()
    vocabulary = toy_sentences()[2]
    probe = linear_kernel([[vocabulary[word]] for word in WORDS], documents, pooling="mean").ntk
    return dict(zip(WORDS, label_scores(probe, labels).tolist(), strict=True))


def check_width(answer: float) -> Answer:
    """Width at which 99 % of 5,000 equally informative words take the right sign in the first step.

    Example:
        >>> check_width(5000)
        Not yet. At a width equal to the vocabulary the noise is half of the signal: about 97.7 % are right.
    """
    right = _width()
    if abs(answer / right - 1) <= 0.03:
        return Answer(True, "Wider than the vocabulary is large; the documents were fine long before.")
    mistakes = {
        5000.0: "At a width equal to the vocabulary the noise is half of the signal: about 97.7 % are right.",
        _width(0.995): "You took the two-sided quantile; only one side of the noise turns the sign around.",
        4 * right: "The signal is 2 D: both groups carry it, and only the readout's noise grows with the vocabulary.",
        right / 2: "Check the square root: n / (V + 3) stands under it.",
    }
    found = next((text for value, text in mistakes.items() if abs(answer / value - 1) <= 0.03), None)
    return Answer(False, found or "Set 2 sqrt(n / (V + 3)) equal to the 99 % quantile of the standard normal.")


def _width(share: float = 0.99, vocabulary: int = 5000) -> float:
    return float((vocabulary + 3) * (stats.norm.ppf(share) / 2) ** 2)


def check_best_scores(answer: Scores) -> Answer:
    """Three word scores that classify as many of good (+), not bad (+), bad (-), not good (-) as a sum can.

    Example:
        >>> check_best_scores({"good": 1, "bad": -1, "not": 0})
        Not yet. These scores get 2 of 4 right; 3 is possible.
    """
    missing = [word for word in ("good", "bad", "not") if word not in answer]
    if missing:
        return Answer(False, f"A score is missing for: {', '.join(missing)}.")
    outputs = {text: sum(answer[word] for word in text.split()) for text in ("good", "not bad", "bad", "not good")}
    ties = [text for text, value in outputs.items() if value == 0]
    if ties:
        return Answer(False, f"The output on {ties[0]!r} is 0, which is neither class; move a score a little.")
    correct = sum((value > 0) == (text in ("good", "not bad")) for text, value in outputs.items())
    if correct == 3:
        return Answer(True, "Three of four, and the proposition says that four are impossible.")
    return Answer(False, f"These scores get {correct} of 4 right; 3 is possible.")


def _best_scores() -> dict[str, float]:
    """Search a small grid of scores; the tests show that none gets four right."""
    grid = np.array(np.meshgrid(*[[-2.0, -1.0, 1.0, 2.0, 3.0]] * 3)).reshape(3, -1).T
    for good, bad, no in grid:
        found = {"good": float(good), "bad": float(bad), "not": float(no)}
        if check_best_scores(found):
            return found
    raise RuntimeError("no scores on the grid classify three documents")


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_entry": _entry,
    "check_repetition": _repetition,
    "check_first_steps": _first_steps,
    "check_width": _width,
    "check_best_scores": _best_scores,
}
