"""Next-word prediction: contexts and targets from running text, and how often they occur together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.data.corpus import UNKNOWN, vocabulary_of, words_of

__all__ = ["CoOccurrence", "LanguageData", "cooccurrence", "language_modelling", "topics_text", "windows"]


def topics_text() -> tuple[str, ...]:
    """The help texts of Python itself (``pydoc_data.topics``), one a topic: 64,000 words of real English.

    Every Python has them, so no file and no network is needed. They differ between minor versions of Python: numbers
    made with one are not to be compared with another's; see :attr:`LanguageData.fingerprint`.

    Raises:
        FileNotFoundError: if this Python was built without them.

    Example:
        >>> len(topics_text()) > 70
        True
    """
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise FileNotFoundError(
            "this Python has no pydoc_data.topics; some small builds leave it out. Use a full build, or other texts."
        ) from error
    return tuple(topics[name] for name in sorted(topics))


@dataclass(frozen=True)
class LanguageData:
    """Contexts and the word that follows each, for training and test.

    Attributes:
        words: token id -> word; id 0 is the token for rare words.
        contexts: (N, T) int64, the T tokens before the target, in order.
        targets: (N,) int64.
        test_contexts: (N', T) int64, from texts that training does not hold.
        test_targets: (N',) int64.
        unknown_share: share of all tokens of the training texts that became the token for rare words.
    """

    words: tuple[str, ...]
    contexts: Tensor
    targets: Tensor
    test_contexts: Tensor
    test_targets: Tensor
    unknown_share: float

    @property
    def vocabulary(self) -> dict[str, int]:
        """Word -> token id."""
        return {word: i for i, word in enumerate(self.words)}

    @property
    def fingerprint(self) -> str:
        """SHA-256 of words, contexts and targets, which is equal for equal data, whatever made it."""
        digest = hashlib.sha256("\n".join(self.words).encode())
        for part in (self.contexts, self.targets, self.test_contexts, self.test_targets):
            digest.update(str(tuple(part.shape)).encode())
            digest.update(part.contiguous().numpy().astype("<i8").tobytes())
        return digest.hexdigest()


def language_modelling(
    texts: Sequence[str], *, vocabulary: int = 500, context: int = 3, test_fraction: float = 0.1, seed: int = 0
) -> LanguageData:
    """Windows of T words and the word after, from running text.

    Windows never reach over the end of a text, and whole texts go to training or to test, so that no test target is
    part of a training window. Only full windows are made: the first T words of a text are no targets.

    Args:
        texts: such as :func:`topics_text` or the sentences of :func:`entk_tutorial.data.reviews.movie_reviews`.
        vocabulary: number V of words to tell apart, the most frequent ones of the training texts; all others become
            one further token, with id 0.
        context: T, at least 1.
        test_fraction: share of the texts that is left out of training; 0 for none.
        seed: of the split.

    Raises:
        ValueError: for numbers out of range, fewer different words than ``vocabulary``, and texts that are all too
            short for one window.

    Example:
        >>> data = language_modelling(["a b a c"], vocabulary=3, context=2, test_fraction=0)
        >>> [([data.words[i] for i in c], data.words[t]) for c, t in zip(data.contexts, data.targets)]
        [(['a', 'b'], 'a'), (['b', 'a'], 'c')]

    Chapter: book/text/language-model
    """
    if vocabulary < 1 or context < 1:
        raise ValueError(f"vocabulary={vocabulary}, context={context}; expected 1 or more of each.")
    if not 0 <= test_fraction < 1:
        raise ValueError(f"test_fraction={test_fraction}; expected a number from 0 to less than 1.")
    if isinstance(texts, str):
        raise ValueError("found one string; expected a sequence of texts. Pass [text].")
    order = torch.randperm(len(texts), generator=torch.Generator().manual_seed(seed)).tolist()
    cut = round(test_fraction * len(texts))
    test, train = ([words_of(texts[i]) for i in sorted(part)] for part in (order[:cut], order[cut:]))
    counts = Counter(word for words in train for word in words)
    if len(counts) < vocabulary:
        raise ValueError(
            f"vocabulary overflow: vocabulary={vocabulary}, but the training texts have {len(counts)} different words. "
            "Ask for fewer, or add texts."
        )
    words = (UNKNOWN, *vocabulary_of(counts, unknown=False, most=len(counts))[:vocabulary])
    ids = {word: i for i, word in enumerate(words)}
    parts = [_pairs(part, ids, context) for part in (train, test)]
    for name, part, (_, targets) in (("training", train, parts[0]), ("test", test, parts[1])):
        if not len(targets) and (part or name == "training"):
            longest = max(map(len, part), default=0)
            raise ValueError(
                f"no {name} text holds a window: the longest of {len(part)} has {longest} words, and context={context} "
                f"needs {context + 1}. Use longer texts or a shorter context."
            )
    known = sum(counts[word] for word in words[1:])
    return LanguageData(words, *parts[0], *parts[1], unknown_share=1 - known / counts.total())


def windows(length: int, context: int) -> tuple[Tensor, Tensor]:
    """Positions of all windows of a text: the one place where it is settled what a target may be predicted from.

    Args:
        length: words of the text.
        context: T.

    Returns:
        Positions (n, T) of the contexts and (n,) of the targets, n = length - T or 0. Every context position is before
        its target.

    Example:
        >>> contexts, targets = windows(4, 2)
        >>> contexts.tolist(), targets.tolist()
        ([[0, 1], [1, 2]], [2, 3])
    """
    targets = torch.arange(context, max(length, context))
    return targets[:, None] - context + torch.arange(context), targets


def _pairs(texts: list[list[str]], ids: dict[str, int], context: int) -> tuple[Tensor, Tensor]:
    contexts, targets = [torch.zeros(0, context, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)]
    for words in texts:
        tokens = torch.tensor([ids.get(word, 0) for word in words], dtype=torch.int64)
        before, after = windows(len(tokens), context)
        contexts.append(tokens[before])
        targets.append(tokens[after])
    return torch.cat(contexts), torch.cat(targets)


@dataclass(frozen=True)
class CoOccurrence:
    """How often tokens stand before targets.

    Attributes:
        raw: (V, V) float64; row a, column c counts occurrences of a in contexts of target c.
        centred: raw less what targets drawn with equal probability would give, the row's sum divided by V.
    """

    raw: Tensor
    centred: Tensor


def cooccurrence(contexts: Tensor, targets: Tensor, vocabulary: int) -> CoOccurrence:
    r"""Counts of context tokens and targets, raw and centred.

    .. math:: \operatorname{co}(a,c)=\sum_i n_a(x_i)\,[y_i=c],\qquad \operatorname{co}(a,c)-\frac{N_a}{V}

    with :math:`n_a(x)` the count of a in context x, and :math:`N_a` its sum over contexts. A softmax that starts at
    equal probabilities moves its label scores along the centred counts.

    Args:
        contexts: (N, T) token ids.
        targets: (N,) token ids.
        vocabulary: V, the number of tokens; two V x V tables of 8-byte numbers are made.

    Raises:
        ValueError: for shapes that do not fit, or ids from V on.

    Example:
        >>> co = cooccurrence(torch.tensor([[0, 1], [0, 0]]), torch.tensor([1, 0]), 2)
        >>> co.raw.tolist(), co.centred.tolist()
        ([[2.0, 1.0], [0.0, 1.0]], [[0.5, -0.5], [-0.5, 0.5]])

    Chapter: book/text/language-model
    """
    if contexts.ndim != 2 or targets.shape != contexts.shape[:1]:
        raise ValueError(
            f"contexts {tuple(contexts.shape)}, targets {tuple(targets.shape)}; expected (N, T) and (N,) token ids."
        )
    for name, ids in (("contexts", contexts), ("targets", targets)):
        if ids.numel() and not 0 <= int(ids.min()) <= int(ids.max()) < vocabulary:
            raise ValueError(
                f"vocabulary overflow: {name} hold ids {int(ids.min())} to {int(ids.max())}; vocabulary={vocabulary} "
                f"allows 0 to {vocabulary - 1}."
            )
    cells = (contexts * vocabulary + targets[:, None]).flatten()
    raw = torch.bincount(cells, minlength=vocabulary**2).reshape(vocabulary, vocabulary).double()
    return CoOccurrence(raw, raw - raw.sum(1, keepdim=True) / vocabulary)
