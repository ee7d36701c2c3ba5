"""Next-word data: no context holds its target's position, no test target is seen in training, counts by hand."""

from collections import Counter

import pytest
import torch

from entk_tutorial.data.corpus import UNKNOWN, words_of
from entk_tutorial.data.language import cooccurrence, language_modelling, topics_text, windows


def letters(i):
    return "".join(chr(97 + int(digit)) for digit in f"{i:04d}")


@pytest.mark.parametrize("length, context", [(2, 1), (7, 3), (20, 19), (3, 3), (1, 4), (0, 1)])
def test_no_position_sees_its_target(length, context):
    contexts, targets = windows(length, context)
    assert contexts.shape == (max(0, length - context), context) and targets.shape == contexts.shape[:1]
    for row, target in zip(contexts.tolist(), targets.tolist(), strict=True):
        assert row == list(range(target - context, target)) and 0 <= row[0] and target < length


@pytest.mark.parametrize("context", [1, 4])
def test_where_every_word_is_another_the_target_is_never_in_the_context(context):
    """Each word occurs once, so a token id tells its position: a leak of any kind would show."""
    texts = [" ".join(letters(100 * t + i) for i in range(30)) for t in range(10)]
    data = language_modelling(texts, vocabulary=270, context=context)
    assert data.unknown_share == 0 and len(data.targets) == 9 * (30 - context)
    order = {word: i for i, word in enumerate(" ".join(texts).split())}
    for row, target in zip(data.contexts.tolist(), data.targets.tolist(), strict=True):
        places = [order[data.words[i]] for i in row]
        goal = order[data.words[target]]
        assert places == list(range(goal - context, goal)) and places[0] // 30 == goal // 30


def test_no_test_text_is_in_training():
    texts = [f"{letters(i)} same same same same" for i in range(20)]
    data = language_modelling(texts, vocabulary=19, context=1, test_fraction=0.1, seed=5)
    assert len(data.test_targets) == 2 * 4 and len(data.targets) == 18 * 4
    first = {data.words[i] for i in data.contexts[:, 0].tolist()} - {"same"}
    assert len(first) == 18 and UNKNOWN not in first  # 18 training texts, and none of the words of the two others
    assert (data.test_contexts[::4, 0] == 0).all()


def test_vocabulary_is_the_most_frequent_and_the_rest_is_one_token():
    data = language_modelling(["c b a b a a"], vocabulary=2, context=1, test_fraction=0)
    assert data.words == (UNKNOWN, "a", "b") and data.unknown_share == pytest.approx(1 / 6)
    assert data.contexts[:, 0].tolist() == [0, 2, 1, 2, 1] and data.targets.tolist() == [2, 1, 2, 1, 1]


def test_seed_and_fingerprint():
    texts = topics_text()
    first, again, other = (language_modelling(texts, vocabulary=50, seed=s) for s in (0, 0, 1))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    assert int(first.contexts.max()) == 50 and first.vocabulary[first.words[7]] == 7


def test_topics_are_real_english_of_useful_size():
    found = Counter(word for text in topics_text() for word in words_of(text))
    assert found.total() > 40_000 and found.most_common(1)[0][0] == "the" and found["function"] > 20


def test_cooccurrence_against_a_slow_count():
    generator = torch.Generator().manual_seed(0)
    contexts, targets = (torch.randint(6, shape, generator=generator) for shape in ((50, 3), (50,)))
    found = cooccurrence(contexts, targets, 7)
    slow = torch.zeros(7, 7, dtype=torch.float64)
    for row, target in zip(contexts.tolist(), targets.tolist(), strict=True):
        for token in row:
            slow[token, target] += 1
    assert torch.equal(found.raw, slow) and found.raw.sum() == 150
    torch.testing.assert_close(found.centred, slow - slow.sum(1, keepdim=True) / 7)
    torch.testing.assert_close(found.centred.sum(1), torch.zeros(7, dtype=torch.float64))


@pytest.mark.parametrize(
    "texts, options, message",
    [
        (["a b c"], {"vocabulary": 0}, "vocabulary=0"),
        (["a b c"], {"context": 0}, "context=0"),
        (["a b c"], {"test_fraction": 1.0}, "test_fraction=1.0"),
        (["a b c"], {"vocabulary": 4}, "vocabulary overflow: vocabulary=4, but .* 3 different"),
        (["a b", "c d"], {"context": 2}, "no training text holds a window"),
        (["a b c"] * 3 + ["d"], {"context": 1, "test_fraction": 0.25, "seed": 0}, None),
        ("a b c", {}, "found one string"),
        ([], {}, "vocabulary overflow"),
    ],
)
def test_mistakes(texts, options, message):
    options = {"vocabulary": 2, "context": 1, "test_fraction": 0} | options
    if message is None:  # whichever text the seed leaves out, "d" alone is no window
        messages = []
        for seed in range(20):
            try:
                language_modelling(texts, **(options | {"seed": seed}))
            except ValueError as error:
                messages.append(str(error))
        assert messages and all("no test text holds a window" in m for m in messages)
        return
    with pytest.raises(ValueError, match=message):
        language_modelling(texts, **options)


@pytest.mark.parametrize(
    "contexts, targets, message",
    [
        (torch.zeros(2, 1, dtype=torch.int64), torch.zeros(3, dtype=torch.int64), "expected"),
        (torch.tensor([[5]]), torch.tensor([0]), "vocabulary overflow: contexts"),
        (torch.tensor([[0]]), torch.tensor([-1]), "vocabulary overflow: targets"),
    ],
)
def test_counts_of_what_does_not_fit(contexts, targets, message):
    with pytest.raises(ValueError, match=message):
        cooccurrence(contexts, targets, 5)
