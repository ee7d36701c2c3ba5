"""Checks of the chapter on controls, and the mysteries of blind discovery."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from copy import deepcopy
from functools import lru_cache

import torch
from torch import Tensor

from entk_tutorial.data import modular_task
from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.exercises.base import Answer, close
from entk_tutorial.experiments.blind_discovery import MYSTERY_SEED, mystery_order
from entk_tutorial.features import subspace_overlap
from entk_tutorial.features.families import (
    CANDIDATES,
    NONE,
    PARTNERS,
    family_basis,
    family_scores,
    name_family,
)
from entk_tutorial.models.analytic import analytic_mlp, grid_is_exact
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.results import load_stored_checkpoint


def check_limit(ratio: float) -> Answer:
    """Ratio of the scales at which the order of the windows flips, for p towards infinity.

    Example:
        >>> bool(check_limit(1.632993))
        True
    """
    right = math.sqrt(8 / 3)
    if close(ratio, right, 1e-3):
        return Answer(True, "The part 2p s_2^2 of the first layer dies out against p^2, and 3/8 of s_1^2 is left.")
    if close(ratio, right**2, 1e-3):
        return Answer(False, "That is the square of the ratio: the eigenvalues hold s_1^2 and s_2^2.")
    if close(ratio, math.sqrt(2), 1e-3):
        return Answer(False, "You left out the second layer's share in the functions of digits, s_1^2/8.")
    if close(ratio, math.sqrt(8 * 27 / 87), 2e-3):
        return Answer(False, "That is the value at p = 29. What does (p-2)/p tend to?")
    if close(ratio, right, 5e-3):
        return Answer(False, "Nearly, or rounded: give the formula itself, or four digits.")
    return Answer(False, "Set the two eigenvalues equal, divide by p^2, and let p grow.")


def check_lattices(sizes: Iterable[int]) -> Answer:
    """Which lattices of 2 to 8 phases a circle give the exact kernel.

    Raises:
        ValueError: not a list of sizes.

    Example:
        >>> check_lattices([2, 3, 4, 5, 6, 7, 8])
        Not yet. 2 is not exact. Which harmonics of a phase does a product of two squares
        hold, and what is the average of the highest of them over these points?
    """
    if not isinstance(sizes, Iterable):
        raise ValueError(f"found {sizes!r}; a list of sizes from 2 to 8 is expected, e.g. [2, 4].")
    given = set(sizes)
    exact = {g for g in range(2, 9) if grid_is_exact(g)}
    if given == exact:
        return Answer(True, "A harmonic of order 4 averages to zero unless all points see it at its crest: 2 and 4 do.")
    if wrong := sorted(given - exact):
        hint = "the average of the highest of them over these points?"
        return Answer(
            False,
            f"{wrong[0]} is not exact. Which harmonics of a phase does a product of two squares hold, and what is "
            f"{hint}",
        )
    return Answer(
        False,
        f"{min(exact - given)} is exact, too. Not every harmonic up to the fourth occurs: list the differences.",
    )


def check_output_chance(value: float, p: int = 29) -> Answer:
    """Chance level of the overlap of p centred output directions with the functions of the sum.

    Example:
        >>> bool(check_output_chance(29 * 28 / 840))
        True
    """
    full = p * p
    if close(value, p * (p - 1) / (full - 1), 1e-4):
        return Answer(True, "Centred directions, centred features: only the constant is out. Outputs may hold digits.")
    if close(value, p * (p - 1) / full, 1e-4):
        return Answer(False, "Nearly: the directions are centred, so they live in one dimension less than N.")
    if close(value, p / (p - 1), 1e-4):
        return Answer(
            False, "You took out the functions of digits as well. Nothing keeps the outputs orthogonal to those."
        )
    if close(value, 2 * (p - 1) ** 2 / (full - 1), 1e-4) or close(value, 2.0, 1e-4):
        return Answer(False, "That is for 2(p-1) directions; the second layer has p rows, so p directions.")
    if close(value, p * (p - 1) / (full - 1), 5e-3):
        return Answer(False, "Nearly, or rounded: give the formula itself, or four digits.")
    return Answer(False, "d k / (dimensions that both can live in): count the three numbers.")


def check_same_kernel(one: QuadraticMLP, two: QuadraticMLP) -> Answer:
    """Two networks that answer differently on most inputs, and have the same trace kernel.

    Example:
        >>> check_same_kernel(analytic_mlp(5), analytic_mlp(5))
        Not yet. They give the same answer on 100 % of the inputs: they must differ on
        at least three quarters.
    """
    for model in (one, two):
        if not isinstance(model, QuadraticMLP):
            raise ValueError(f"found a {type(model).__name__}; two QuadraticMLP are expected.")
    if one.p != two.p:
        return Answer(False, f"They have different inputs: p = {one.p} and p = {two.p}.")
    one, two = (deepcopy(model).double() for model in (one, two))  # the caller's networks keep their precision
    x = modular_task(one.p, 0.5, 0).inputs.double()
    with torch.no_grad():
        first, second = (m(x).argmax(1) for m in (one, two))
    same = float((first == second).double().mean())
    if min(len(first.unique()), len(second.unique())) < one.p:
        return Answer(False, "One of them never gives some of the answers. A constant network is too easy.")
    if same > 0.25:
        return Answer(
            False,
            f"They give the same answer on {same:.0%} of the inputs: they must differ on at least three "
            "quarters.".replace("%", " %"),
        )
    a, b = (empirical_ntk(m, x) for m in (one, two))
    assert isinstance(a, Tensor) and isinstance(b, Tensor)
    change = float((a - b).norm() / a.norm())
    if change > 1e-9:
        return Answer(
            False,
            f"Their kernels differ by {change:.1e} of the norm. The kernel depends on the first layer, and on the "
            "second through the lengths of its columns only: change what leaves both alone.",
        )
    return Answer(True, "The trace sums over the outputs, so it cannot know which output is which, nor their phases.")


def load_mystery(k: int) -> Tensor:
    """The 56 leading eigenvectors, beyond functions of digits, of a network that was trained on you do not know what.

    Args:
        k: number of the mystery, from 1.

    Returns:
        Tensor (841, 56) float64, orthonormal, largest eigenvalue first; rows in the order of ``modular_pairs(29)``.

    Raises:
        ValueError: there is no such mystery.

    Example:
        >>> load_mystery(1).shape
        torch.Size([841, 56])
    """
    if k not in mystery_order():
        raise ValueError(f"there is no mystery {k!r}; there are those from 1 to {len(mystery_order())}.")
    return _mysteries()[f"mystery-{k}"].double()


@lru_cache(maxsize=1)
def _mysteries() -> dict[str, Tensor]:
    return dict(load_stored_checkpoint("blind_discovery", MYSTERY_SEED))


def check_mystery(k: int, answer: str | Tensor) -> Answer:
    """Your answer to a mystery: a name from the list, "none", or your own label for every pair.

    Args:
        k: number of the mystery, from 1.
        answer: one of ``families.CANDIDATES``, or "none", or (p*p,) or (p, p) integers, n first.

    Raises:
        ValueError: there is no such mystery; a name that is not on the list; labels of another shape.

    Example:
        >>> check_mystery(1, "n+m").right
        False
    """
    u = load_mystery(k)
    p = math.isqrt(u.shape[0])
    if not isinstance(answer, str | Tensor):
        raise ValueError(f"found a {type(answer).__name__}; a name, or labels as a tensor, is expected.")
    if isinstance(answer, str) and answer not in (*CANDIDATES, NONE):
        raise ValueError(f"{answer!r} is not on the list: {', '.join(CANDIDATES)}, or {NONE!r}, or labels of your own.")
    # The label of a task outside the list is not stored: "none of these" is what can be said of it.
    truth = mystery_order()[k]
    truth = truth if truth in CANDIDATES else NONE
    if isinstance(answer, Tensor):
        basis = family_basis(p, answer.flatten().long())
    elif answer == NONE:
        if truth == NONE:
            best = max(family_scores(u, p).values())
            return Answer(
                True,
                f"No candidate scores above {max(best, 0):.2f}. Note what this does not say: that nothing was learned. "
                "Look again at the order of these heat maps, and at the concentration; is it noise?",
            )
        return Answer(
            False, "There is a family from the list in here. Follow a line of equal colour from pair to pair."
        )
    else:
        basis = family_basis(p, answer)
    overlap = subspace_overlap(u, basis, center=False).value
    k_dim, by_chance = basis.shape[1], u.shape[1] * basis.shape[1] / (p - 1) ** 2
    found = (
        f"{overlap:.1f} of {k_dim} dimensions of its functions are in these eigenvectors; chance gives {by_chance:.1f}."
    )
    if isinstance(answer, Tensor):
        if overlap <= 0.85 * k_dim:
            return Answer(False, found)
        if truth == NONE:
            return Answer(True, found + " You have found what is on no list: digits under other names.")
        if float((family_basis(p, truth).T @ basis).square().sum()) > k_dim - 0.1:
            return Answer(True, found)
        return Answer(False, found + " That is a lot, but its partner has more.")
    if answer == truth:
        rivals = family_scores(u, p)
        margin = name_family(rivals).margin
        return Answer(True, f"{found} Its partner is there, too; the margin between the two scores is {margin:.2f}.")
    if PARTNERS.get(answer) == truth:
        return Answer(
            False,
            found + " So it is really there. But squares make two families at once: which other one, and has it more?",
        )
    if overlap > 1.5 * by_chance:
        return Answer(False, found + " More than chance: it shares a symmetry with the answer. Which?")
    return Answer(False, found + " Not this one. Are lines of equal value straight? Is the map the same at n and -n?")


def _pair() -> tuple[QuadraticMLP, QuadraticMLP]:
    return analytic_mlp(7, operation="sum"), analytic_mlp(7, operation="diff")


def _rule() -> tuple[int, str]:
    return 1, name_family(family_scores(load_mystery(1), 29)).name


SOLUTIONS: dict[str, Callable[[], tuple[object, ...]]] = {
    "check_limit": lambda: (math.sqrt(8 / 3),),
    "check_lattices": lambda: ([g for g in range(2, 9) if g not in (2, 4)],),
    "check_output_chance": lambda: (29 * 28 / (841 - 1),),
    "check_same_kernel": _pair,
    "check_mystery": _rule,
}
"""Check -> a function that computes the arguments of a right answer with the package."""
