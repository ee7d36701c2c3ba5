"""Exercises of the chapter on language models: checks that name the likely mistake; solutions by computation."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch

from entk_tutorial.exercises.base import Answer, close, number
from entk_tutorial.features.language_scores import matched_pairs
from entk_tutorial.infinite import mlp_constants
from entk_tutorial.infinite.language import score_velocity
from entk_tutorial.models.language import TransformerLanguage

TEXT = "the cat the dog the cat the cat a dog"
"""Nine pairs of a word and the next one, over four different words."""
PRIOR = {"pairs": 50_000, "words": 300, "of": 1_500, "the": 4_500, "of the": 600}
"""What was counted in some text, among it the pairs that start with of, that end in the, and that are both."""
FREQUENCY = (90.0, 88.0, 9.0, 8.0)
"""How often each of these targets occurs."""
COUNTS = (40.0, 10.0, 0.0, 2.0)
"""How often each follows w."""
SCORES = (3.0, 2.0, 0.5, 0.4)
"""Score of each of four targets after a word w."""
SUSPECTS = {"A": 1, "B": 0, "C": 7}
"""How many later tokens the models of :func:`suspects` see at each position; look only after you have tried."""
LENGTH = 8


def check_centring(answer: float) -> Answer:
    """Velocity of the score of "dog" after "the" in :data:`TEXT` at the start, for A = 1 and B = 0.

    Example:
        >>> check_centring(1)
        Not yet. That is the count. A softmax at equal probabilities already expects
        N_a / V of them.
    """
    if close(answer, _centring()):
        return Answer(True, "Once in four is what equal probabilities expect, so nothing moves.")
    mistakes = {
        1.0: "That is the count. A softmax at equal probabilities already expects N_a / V of them.",
        -1.25: "You took all nine pairs for N_a, and 9/4 from the count; N_a counts the pairs that start with the.",
        0.25: "That is the share of dog after the. The velocity is a count less an expected count.",
        0.75: "N_a / V, not its inverse or N_a / N: the occurs four times as a context, and there are four words.",
    }
    return _verdict(answer, mistakes, "Count the pairs the-dog, and take N_a / V from it.")


def _pairs() -> tuple[torch.Tensor, torch.Tensor, dict[str, int]]:
    words = TEXT.split()
    ids = {word: i for i, word in enumerate(dict.fromkeys(words))}
    tokens = torch.tensor([ids[w] for w in words])
    return tokens[:-1, None], tokens[1:], ids


def _centring() -> float:
    contexts, targets, ids = _pairs()
    return float(score_velocity(contexts, targets, len(ids), 1.0, 0.0)[ids["the"], ids["dog"]])


def check_prior_share(answer: float) -> Answer:
    """Share of the class prior in the first velocity of "the" after "of", ReLU, scales 1, counts :data:`PRIOR`.

    Example:
        >>> check_prior_share(0.5)
        Not yet. Own part: (A - B)(600 - 1500/300); prior: B (4500 - 50000/300). Which
        share of their sum is the second?
    """
    if close(answer, _prior_share(), 0.002):
        return Answer(True, "Nearly half of what looks like the pull of 'of' is said of every word.")
    a, b = mlp_constants("relu")
    own, prior = _own_and_prior(1.0, 1.0)
    mistakes = {
        prior / (own + prior): "You left out A - B and B: the two terms do not have the same weight.",
        b * prior / (a * own + b * prior): "The own part has the weight A - B, not A.",
        1 - _prior_share(): "That is the share of the other term.",
        b / (a - b): "That is the ratio of the weights alone; the counts are not equal.",
        b * 4500 / ((a - b) * 600 + b * 4500): "Close, but centre both counts: less N_a / V and N / V.",
    }
    hint = "Own part: (A - B)(600 - 1500/300); prior: B (4500 - 50000/300). Which share of their sum is the second?"
    return Answer(False, next((text for value, text in mistakes.items() if close(answer, value, 1e-3)), hint))


def _own_and_prior(own: float, prior: float) -> tuple[float, float]:
    n = PRIOR
    return own * (n["of the"] - n["of"] / n["words"]), prior * (n["the"] - n["pairs"] / n["words"])


def _prior_share() -> float:
    a, b = mlp_constants("relu")
    own, prior = _own_and_prior(a - b, b)
    return prior / (own + prior)


def check_matched(answer: float) -> Answer:
    """Share of matched pairs in the right order, for :data:`FREQUENCY`, :data:`COUNTS` and :data:`SCORES`.

    Example:
        >>> check_matched(1)
        Not yet. The order by score is the order by frequency; look inside the pair of
        rare targets.
    """
    if close(answer, _matched()):
        return Answer(True, "One of two, which is chance: these scores know nothing but frequency.")
    mistakes = {
        1.0: "The order by score is the order by frequency; look inside the pair of rare targets.",
        5 / 6: "You compared all six pairs. Four of them differ in frequency, and there a prior is right for free.",
        0.0: "In the frequent pair the first follows w more often, and scores higher.",
        2.0: "A share: divide by the number of pairs.",
    }
    return _verdict(answer, mistakes, "Pair neighbours in frequency: first with second, third with fourth.")


def _matched() -> float:
    tables = [torch.tensor([row]) for row in (SCORES, COUNTS)]
    return matched_pairs(tables[0], tables[1], torch.tensor(FREQUENCY), torch.tensor([0]), skip=0)


def suspects() -> dict[str, TransformerLanguage]:
    """Three untrained Transformers, from windows of eight tokens out of 50 to logits; which of them look ahead?

    Example:
        >>> {name: tuple(model(torch.zeros(1, 8, dtype=torch.int64)).shape) for name, model in suspects().items()}
        {'A': (1, 8, 50), 'B': (1, 8, 50), 'C': (1, 8, 50)}
    """
    return {
        name: TransformerLanguage(50, LENGTH, d_model=16, heads=2, ahead=ahead, seed=i)
        for i, (name, ahead) in enumerate(SUSPECTS.items())
    }


def check_leak(answer: Mapping[str, float]) -> Answer:
    """How many tokens after its own the first position of each of the :func:`suspects` sees: a number by name.

    Example:
        >>> check_leak({"A": 0, "B": 0, "C": 7})
        Not yet. A leaks, too: change token 1 alone and look at the logits of position 0.
    """
    if not isinstance(answer, Mapping) or set(answer) != set(SUSPECTS):
        return Answer(False, 'Give a number for each of the three, such as {"A": 0, "B": 0, "C": 0}.')
    true = _leak()
    given = {name: number(value) for name, value in answer.items()}
    if given == true:
        return Answer(True, "A sees exactly its target, C the whole window, and B is a language model.")
    if given == {name: reach + 1 for name, reach in true.items()}:
        return Answer(False, "Everything is one too high: a position may see its own token. Count later ones only.")
    if given["B"] != 0:
        return Answer(False, "B is innocent: change any later token, and the logits before it stay the same.")
    if given["A"] == 0:
        return Answer(False, "A leaks, too: change token 1 alone and look at the logits of position 0.")
    if given["A"] != true["A"]:
        return Answer(False, "A leaks, but not that far: change one token at a time.")
    return Answer(False, "C has no mask: position 0 of 8 sees all that come after.")


def _leak() -> dict[str, float]:
    """Change one later token at a time, and find the last whose change reaches the first position."""
    window = torch.zeros(1, LENGTH, dtype=torch.int64)
    reach: dict[str, float] = {}
    for name, model in suspects().items():
        with torch.no_grad():
            before = model(window)[0, 0]
            changed = [0]
            for place in range(1, LENGTH):
                other = window.clone()
                other[0, place] = 1
                if not torch.equal(model(other)[0, 0], before):
                    changed.append(place)
        reach[name] = float(max(changed))
    return reach


def _verdict(answer: float, mistakes: dict[float, str], otherwise: str) -> Answer:
    return Answer(False, next((text for value, text in mistakes.items() if close(answer, value)), otherwise))


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_centring": _centring,
    "check_prior_share": _prior_share,
    "check_matched": _matched,
    "check_leak": _leak,
}
"""What each check takes for right; the tests hand them in."""
