"""Candidate families, scores and the naming rule: right on planted directions, silent on noise."""

import pytest
import torch

from entk_tutorial.features import fourier_features, modular_pairs
from entk_tutorial.features.families import (
    CANDIDATES,
    NONE,
    PARTNERS,
    beyond_digits,
    family_basis,
    family_labels,
    family_scores,
    name_family,
    without_digits,
)

P = 11


def noise(columns, seed=0):
    u = torch.randn(P * P, columns, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return without_digits(u, P)


@pytest.mark.parametrize("family", CANDIDATES)
def test_a_planted_family_is_named(family):
    mixed = family_basis(P, family) @ torch.linalg.qr(noise(10)[:10])[0] + 1e-3 * noise(10, 1)
    naming = name_family(family_scores(mixed, P))
    assert naming.name == family and naming.scores[family] > 0.95


def test_noise_is_none_and_scores_average_to_zero():
    scores = [family_scores(noise(20, seed), P) for seed in range(30)]
    assert all(name_family(s).name == NONE for s in scores)
    for family in CANDIDATES:
        assert abs(sum(s[family] for s in scores) / 30) < 0.02


def test_bases_hold_no_function_of_digits():
    features = fourier_features(P)
    for family in CANDIDATES:
        q = family_basis(P, family)
        assert float((q.T @ torch.cat([features["n"], features["m"]], 1)).abs().max()) < 1e-10
        torch.testing.assert_close(q.T @ q, torch.eye(q.shape[1], dtype=torch.float64))
    q = family_basis(P, "n+m")
    torch.testing.assert_close(q @ (q.T @ features["sum"]), features["sum"])


def test_labels_mean_what_they_say():
    n, m = (int(v) for v in modular_pairs(P)[5 * P + 3])
    row = 5 * P + 3
    assert (n, m) == (5, 3)
    found = {f: int(family_labels(P, f)[row]) for f in CANDIDATES}
    assert found == {
        "n+m": 8, "n-m": 2, "n*m": 4, "n/m": 9, "n^2+m^2": 1, "n^2-m^2": 5, "2n+m": 2, "2n-m": 7, "n+2m": 0,
        "n-2m": 10, "n^2+m": 6, "n+m^2": 3,
    }  # fmt: skip
    assert all(PARTNERS[PARTNERS[f]] == f for f in PARTNERS)


def test_division_by_zero_has_labels_of_its_own():
    labels = family_labels(P, "n/m").reshape(P, P)
    assert int(labels[0, 0]) == P + 1 and bool((labels[1:, 0] == P).all()) and int(labels[:, 1:].max()) < P


def test_eigenvectors_beyond_digits_against_a_projector():
    a = noise(30) + 10 * fourier_features(P)["n"][:, :1]
    kernel = a @ a.T
    u = beyond_digits(kernel, P, 5)
    known = torch.cat([torch.ones(P * P, 1), fourier_features(P)["n"], fourier_features(P)["m"]], 1).double()
    q = torch.linalg.qr(known)[0]
    left = torch.eye(P * P, dtype=torch.float64) - q @ q.T
    slow = torch.linalg.eigh(left @ kernel @ left)[1].flip(1)[:, :5]
    torch.testing.assert_close((u.T @ slow).abs(), torch.eye(5, dtype=torch.float64), rtol=0, atol=1e-8)


@pytest.mark.parametrize(
    ("call", "phrase"),
    [
        (lambda: family_labels(15, "n+m"), "not prime"),
        (lambda: family_labels(P, "n^3"), "unknown"),
        (lambda: family_basis(P, modular_pairs(P)[:, 0]), "nothing is left"),
        (lambda: family_basis(P, torch.zeros(5, dtype=torch.long)), "one integer for each"),
        (lambda: family_scores(fourier_features(P)["n"], P), "without_digits"),
        (lambda: beyond_digits(torch.eye(5), P, 2), "needed"),
        (lambda: beyond_digits(torch.eye(P * P), P, 101), "at most 100"),
        (lambda: without_digits(torch.ones(5, 1), P), "one row for each pair"),
        (lambda: name_family({"n+m": 1.0}), "at least two"),
    ],
)
def test_mistakes_are_named(call, phrase):
    with pytest.raises(ValueError, match=phrase):
        call()
