"""Exercises of the chapter on models that multiply: checks that name the likely mistake; solutions by computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from scipy.optimize import brentq

from entk_tutorial.data.sentences import encode
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.infinite import matrix_product_kernel, mv_kernel, rnn_kernel


def check_substrings(answer: float) -> Answer:
    """Gated kernel, all sigmas 1, between "not good movie" and "good movie not".

    Example:
        >>> check_substrings(9)
        Not yet. Those are the three common words; "good movie" is a common substring too.
    """
    if close(answer, _substrings()):
        return Answer(True, '3 words at weight 3, and "good movie" at weight 6; the rest of the order is not shared.')
    mistakes: dict[float, str] = {
        9: 'Those are the three common words; "good movie" is a common substring too.',
        12: "A substring of length 2 weighs 3 * 2 in the tangent kernel, not 3.",
        4: "That counts the common substrings; each weighs 3 times its length.",
        5: "That is the kernel of the outputs plus one, or a sum of lengths; the tangent kernel has five groups.",
        30: "That is a document with itself: the third word stands elsewhere in the other one.",
    }
    return _verdict(answer, mistakes, "List the common substrings by length; length l weighs 3 l.")


def _substrings() -> float:
    return float(rnn_kernel([encode("not good movie")], [encode("good movie not")]).ntk[0, 0])


def check_subsequences(answer: float) -> Answer:
    """Output kernel of the residual matrix product, all sigmas 1, between "not good movie" and "good not movie".

    Example:
        >>> check_subsequences(5)
        Not yet. You left out the empty subsequence, which every two documents share.
    """
    if close(answer, _subsequences()):
        return Answer(True, 'The empty one, three words, "not movie" and "good movie".')
    mistakes: dict[float, str] = {
        5: "You left out the empty subsequence, which every two documents share.",
        4: 'Those are the substrings, with the empty one; "not movie" may skip the word between.',
        3: "Those are the words; subsequences of two words are shared too, and the empty one.",
        7: '"not good" stands in one order here and in the other order there; it is not shared.',
        8: "That is a document with itself: all subsets of three words.",
    }
    return _verdict(answer, mistakes, "Which of the 8 subsets of positions of one document can be read off the other?")


def _subsequences() -> float:
    kernel = matrix_product_kernel([encode("not good movie")], [encode("good not movie")], residual=True)
    return float(kernel.nngp[0, 0])


def check_symmetric_mv(answer: float) -> Answer:
    """Tangent kernel of MV with M_a e_b + M_b e_a in place of M_a e_b, between "not good" and "good not".

    Example:
        >>> check_symmetric_mv(4)
        Not yet. That is the kernel of the ordinary MV model, in which only the words are shared.
    """
    if close(answer, _symmetric_mv()):
        return Answer(True, "The same as each document with itself: the model cannot see the order.")
    mistakes: dict[float, str] = {
        4: "That is the kernel of the ordinary MV model, in which only the words are shared.",
        7: "You paired each term with one partner; M_a e_b + M_b e_a has two terms, and both meet their equals.",
        6: "That is the share of the pairs; the words add 2 * 2.",
        16: "M_a e_b does not meet M_b e_a: their matrices are independent. Two of four products survive.",
    }
    return _verdict(answer, mistakes, "2 K1 + 3 K2, where K2 now sums four products of which two survive.")


def _symmetric_mv() -> float:
    """Reading backwards exchanges the two terms, so K2 is a sum over both directions of both documents."""
    one, other = [encode("not good")], [encode("good not")]
    words = float(mv_kernel(one, other, sigma_m=0).ntk[0, 0])
    directions = [(a, b) for a in (one, [one[0][::-1]]) for b in (other, [other[0][::-1]])]
    return words + sum(float(mv_kernel(a, b, sigma_u=0).ntk[0, 0]) for a, b in directions)


def check_balance(answer: float) -> Answer:
    """The r at which words and bigrams weigh the same in the self-kernel of four different tokens, gated network.

    Example:
        >>> check_balance(0.5)
        Not yet. Weight 6 r against 3, but there are four words and only three bigrams.
    """
    if close(answer, _balance(), 0.01):
        return Answer(True, "Four words at 3 against three bigrams at 6 r. At r = 1 the bigrams already weigh more.")
    mistakes = {
        0.5: "Weight 6 r against 3, but there are four words and only three bigrams.",
        4 / 3: "You forgot the factor l = 2 in the weight 3 l r^(l-1).",
        1.0: "At r = 1 the three bigrams weigh 18 and the four words 12.",
        (2 / 3) ** 0.5: "r itself is asked for, not sigma_g sigma_u sigma_e, whose square it is.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 0.01)), None)
    return Answer(False, found or "Solve 4 * 3 = 3 * 6 r: numbers of n-grams times their weights.")


def _balance() -> float:
    """By the package: kernels of documents of four different tokens that share words only, or words and one bigram."""

    def gap(r: float) -> float:
        scale = r**0.5
        words = float(rnn_kernel([[0, 1, 2, 3]], [[3, 2, 1, 0]], sigma_g=scale).ntk[0, 0])
        bigram = float(rnn_kernel([[0, 1]], sigma_g=scale).ntk[0, 0] - rnn_kernel([[0, 1]], [[1, 0]]).ntk[0, 0])
        return 3 * bigram - words

    return float(brentq(gap, 0.01, 2.0))


def check_noise_width(answer: float) -> Answer:
    """Width at which the product of five different tokens has a relative kernel noise of ten per cent.

    Example:
        >>> check_noise_width(100)
        Not yet. That is for noise 1/sqrt(n), as if nothing were multiplied; here it is sqrt((3^T - 1)/n).
    """
    if close(answer, _noise_width(), 0.01):
        return Answer(True, "Each further token asks for a network three times as wide.")
    mistakes = {
        100: "That is for noise 1/sqrt(n), as if nothing were multiplied; here it is sqrt((3^T - 1)/n).",
        2420: "Noise 0.1 means n = (3^T - 1) / 0.1^2; you divided by 0.1.",
        8000: "That is for four tokens.",
        72800: "That is for six tokens.",
        200: "The factor is 3^T - 1, from E z^4 = 3 for each factor, not T or 2.",
    }
    found = next((text for value, text in mistakes.items() if close(answer, value, 0.01)), None)
    return Answer(False, found or "Solve sqrt((3^5 - 1) / n) = 0.1.")


def _noise_width() -> float:
    return (3**5 - 1) / 0.1**2


def _verdict(answer: float, mistakes: Mapping[float, str], otherwise: str) -> Answer:
    return Answer(False, next((text for value, text in mistakes.items() if close(answer, value)), otherwise))


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_substrings": _substrings,
    "check_subsequences": _subsequences,
    "check_symmetric_mv": _symmetric_mv,
    "check_balance": _balance,
    "check_noise_width": _noise_width,
}
