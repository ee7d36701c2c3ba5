from __future__ import annotations

import numpy as np
import pytest
import torch

from entk_tutorial.infinite import Documents, as_documents, linear_kernel
from entk_tutorial.infinite.tokens import check_gram, joint_ids, ngram_counts, token_pair


def test_lists_arrays_tensors_and_documents_mean_the_same() -> None:
    table = np.array([[3, 1, 1], [2, -1, -1]])
    for docs in (
        [[3, 1, 1], [2]],
        [(3, 1, 1), np.array([2])],
        table,
        torch.from_numpy(table),
        np.pad(table, ((0, 0), (0, 4)), constant_values=-1),
    ):
        assert as_documents(docs).tokens.tolist() == table.tolist()
    parsed = as_documents(table)
    assert as_documents(parsed) is parsed
    assert parsed.lengths.tolist() == [3, 1] and len(parsed) == 2


@pytest.mark.parametrize(
    ("docs", "message"),
    [
        ([], "at least one document"),
        ([[0], []], "document 1 is empty"),
        ([0, 1, 2], r"a single document is a list in a list"),
        ("good film", "Map words to ids"),
        ([["good", "film"]], "expected integer token ids"),
        ([[0.5, 1.0]], "expected integer token ids"),
        ([[0, -3]], "token id -3 at position 1"),
        (np.array([[0, -1, 2]]), "padding must come after the last token"),
        (np.array([[-1, 0, 2]]), "padding must come after the last token"),
        (np.array([0, 1]), "one row a document"),
        (np.array([[0.0, 1.0]]), "dtype float64; expected integers"),
        (np.array([[0, 1], [2]], dtype=object), "ragged"),
        (np.zeros((0, 3), dtype=int), "no documents"),
        ([[[0, 1]]], "expected a flat list"),
    ],
)
def test_bad_documents_are_named(docs: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        as_documents(docs)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("gram", "message"),
    [
        (np.ones((2, 3)), "expected \\(V, V\\)"),
        (np.eye(2), "token id 2 is out of range: gram has 2 rows"),
        (np.array([[1.0, 0.5, 0], [0, 1, 0], [0, 0, 1]]), "not symmetric"),
        (np.array([[1.0, 2, 0], [2, 1, 0], [0, 0, 1]]), "not positive semi-definite: smallest eigenvalue -1"),
        (np.full((3, 3), np.nan), "not finite"),
    ],
)
def test_bad_grams_are_named(gram: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_kernel([[0, 1], [2]], gram=gram)


def test_a_gram_of_low_rank_or_zero_is_fine() -> None:
    assert check_gram(np.ones((4, 4)), 4).shape == (4, 4)
    assert float(linear_kernel([[0, 1]], gram=np.zeros((2, 2))).ntk) == 0.0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "max"}, "unknown pooling 'max'; expected 'sum' or 'mean'"),
        ({"sigma_e": -1.0}, "sigma_e = -1.0"),
        ({"sigma_v": float("inf")}, "sigma_v = inf"),
    ],
)
def test_bad_options_are_named(options: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        linear_kernel([[0]], **options)  # type: ignore[arg-type]


def test_ngrams_are_counted_once_each_and_never_across_the_end() -> None:
    pair = token_pair([[0, 1, 0, 1], [1, 0]], [[0, 1]], None)
    overlaps = [(left @ right.T).toarray().ravel().tolist() for left, right in ngram_counts(pair)]
    assert overlaps == [[4.0, 2.0], [2.0, 0.0]]
    suffixes = [(left @ right.T).toarray().ravel().tolist() for left, right in ngram_counts(pair, suffix=True)]
    assert suffixes == [[1.0, 0.0], [1.0, 0.0]]


def test_joint_ids_do_not_overflow_for_long_tuples() -> None:
    rng = np.random.default_rng(0)
    keys = [(rng.integers(0, 10**6, (50, 3)), rng.integers(0, 10**6, (40, 3))) for _ in range(12)]
    one, two, number = joint_ids(keys, [10**6] * 12)
    assert number == len(np.unique(np.concatenate([one.ravel(), two.ravel()]))) == 270


def test_large_token_ids_cost_nothing() -> None:
    assert linear_kernel([[10**12, 3]], [[3, 3]]).ntk.tolist() == [[4.0]]


def test_documents_report_their_mask() -> None:
    docs = Documents(np.array([[1, -1]]), np.array([1]))
    assert docs.mask.tolist() == [[True, False]]
