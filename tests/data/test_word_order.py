from __future__ import annotations

import pytest

from entk_tutorial.data.word_order import GROUPS, HELD_OUT, NOT, UNSEEN_FIRST, WORDS, word_order_task


def test_held_out_words_are_never_negated_in_training() -> None:
    for seed in range(4):
        task = word_order_task(seed)
        negated = {d[2] for d in task.train if d[1] == NOT and d[2] in WORDS}
        assert negated == set(WORDS) - set(HELD_OUT)
        assert max(map(max, task.train)) < UNSEEN_FIRST


def test_labels_follow_the_order() -> None:
    task = word_order_task(1)
    for document, label in zip(task.train, task.labels.tolist(), strict=True):
        word = next(t for t in document if t in WORDS)
        flipped = document[1] == NOT and document[2] == word
        assert label == int((word < WORDS[3]) != flipped)


def test_no_test_document_is_trained_on() -> None:
    task = word_order_task(2)
    train = {tuple(d) for d in task.train}
    assert len(train) == len(task.train)
    for group in GROUPS:
        assert task.test[group] and not train & {tuple(d) for d in task.test[group]}


def test_a_fraction_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves both sides something"):
        word_order_task(0, test_fraction=1.0)
