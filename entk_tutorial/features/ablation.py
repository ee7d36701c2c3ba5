r"""Taking functions of the input, or directions of a layer, out of a network's tables; and the families to take out.

A layer's values on all N inputs are a table (N, C): its columns are functions of the input, its rows are vectors of
the layer. Two things can be removed from it, and they are not the same:

* functions: project every *column* off a space of functions, :func:`without_functions`. It uses all inputs at once;
* directions: project every *row* off a space of directions, :func:`without_directions`. It acts on one input at a time.

Between two tables with only a linear map, the first is one and the same experiment.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from entk_tutorial.features.alignment import orthonormal_basis
from entk_tutorial.features.fourier import check_modulus, fourier_features, modular_pairs


def line_families(p: int) -> dict[str, Tensor]:
    r"""Functions of one linear form of the two digits: p + 1 families that share out all centred functions.

    For prime p the residues of n + a m, for a = 0..p-1, and of m alone give p + 1 partitions of the pairs into p
    lines. Lines of two partitions meet in exactly one pair, so centred functions of one form are orthogonal to those
    of another, and (p + 1)(p - 1) = p^2 - 1: nothing is left over. Sum and difference are two of them, a = 1 and p-1.

    Args:
        p: modulus, an odd prime.

    Returns:
        dict: ``"m"``, ``"n"``, ``"sum"``, ``"n + 2m"``, ..., ``"diff"`` -> (p*p, p-1) float64 orthonormal columns with
        mean zero; rows in the order of :func:`modular_pairs`.

    Raises:
        ValueError: p even, below 3, or not prime (some lines then meet in several pairs, others in none).

    Example:
        >>> families = line_families(5)
        >>> list(families)
        ['m', 'n', 'sum', 'n + 2m', 'n + 3m', 'diff']
        >>> q = torch.cat(list(families.values()), 1)
        >>> q.shape, bool(torch.allclose(q.T @ q, torch.eye(24, dtype=torch.float64)))
        (torch.Size([25, 24]), True)

    Derived in book/microscope/layers.
    """
    waves = fourier_features(p)["n"][::p] * (math.sqrt(2) / p)  # (p, p-1), by residue
    return {name: waves[residue] for name, residue in line_residues(p).items()}


def line_residues(p: int) -> dict[str, Tensor]:
    """The residue that each family of :func:`line_families` is a function of: name -> (p*p,) int64 in [0, p).

    Raises:
        ValueError: p even, below 3, or not prime.

    Example:
        >>> line_residues(3)["sum"].tolist()
        [0, 1, 2, 1, 2, 0, 2, 0, 1]
    """
    check_modulus(p)
    if any(p % d == 0 for d in range(3, math.isqrt(p) + 1, 2)):
        raise ValueError(f"p={p} is not prime: the lines n + a m do not share out the functions; take a prime.")
    n, m = modular_pairs(p).T
    return {"m": m} | {_line_name(a, p): (n + a * m) % p for a in range(p)}


def _line_name(a: int, p: int) -> str:
    return {0: "n", 1: "sum", p - 1: "diff"}.get(a, f"n + {a}m")


def without_functions(table: Tensor, functions: Tensor) -> Tensor:
    r"""Project every column of a table off the span of some functions of the input.

    .. math:: A \mapsto (1 - Q Q^\top) A

    with an orthonormal basis Q of the centred span, so that means over the inputs stay. It acts from the left. A
    linear map W of the rows acts from the right, and :math:`(1 - QQ^\top)(A W) = ((1 - QQ^\top) A) W`: what is taken
    out of the last hidden layer is taken out of the outputs, and the other way round.

    Args:
        table: (N, C) values on N inputs.
        functions: (N, k) functions on the same inputs, need not be orthonormal; centred here.

    Returns:
        Tensor (N, C) float64.

    Raises:
        ValueError: other row counts, or functions that are all constant.

    Example:
        >>> f = torch.tensor([[1.0], [-1.0], [0.0]])
        >>> without_functions(torch.tensor([[3.0], [1.0], [5.0]]), f).flatten().round(decimals=9).tolist()
        [2.0, 2.0, 5.0]

    Chapter: book/microscope/layers.
    """
    _check_rows(table, functions)
    q = orthonormal_basis(functions)
    table = table.double()
    return table - q @ (q.T @ table)


def only_functions(table: Tensor, functions: Tensor) -> Tensor:
    """The mean of every column and its part in the span of some functions: what :func:`without_functions` takes out.

    Args:
        table: (N, C) values on N inputs.
        functions: (N, k), centred here.

    Example:
        >>> t, f = torch.tensor([[3.0], [1.0], [5.0]]), torch.tensor([[1.0], [-1.0], [0.0]])
        >>> both = only_functions(t, f) + without_functions(t, f)
        >>> bool(torch.allclose(both, t.double() + 3))      # the mean, 3, is in either part
        True
    """
    _check_rows(table, functions)
    table = table.double()
    return table.mean(0) + table - without_functions(table, functions)


def moved_functions(table: Tensor, residue: Tensor, step: int = 1) -> Tensor:
    r"""Give every input the part of its table that belongs to another residue, and leave the rest as it is.

    .. math:: a(x) \mapsto a(x) - \bar a(s) + \bar a(s + \text{step})

    with the mean rows :math:`\bar a(s)` over all inputs of residue s. If an answer follows that part alone, it moves.

    Args:
        table: (N, C) values on N inputs.
        residue: (N,) integers from 0 to p - 1, each of which occurs.
        step: by how much; residues are taken modulo p.

    Returns:
        Tensor (N, C) float64.

    Raises:
        ValueError: other row counts, or a residue that no input has.

    Example:
        >>> table = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 5.0]])
        >>> moved_functions(table, torch.tensor([0, 0, 1])).tolist()
        [[-0.5, 5.0], [0.5, 5.0], [1.5, 0.0]]
    """
    if table.ndim != 2 or residue.shape != table.shape[:1]:
        raise ValueError(f"one residue a row is expected; found {tuple(residue.shape)} for {tuple(table.shape)}.")
    counts = torch.bincount(residue)
    if bool((counts == 0).any()):
        raise ValueError(f"no input has residue {int((counts == 0).nonzero()[0])}: its mean row is not defined.")
    table = table.double()
    means = table.new_zeros(len(counts), table.shape[1]).index_add(0, residue, table) / counts[:, None]
    return table - means[residue] + means[(residue + step) % len(counts)]


def feature_directions(table: Tensor, functions: Tensor) -> Tensor:
    r"""The directions of a layer in which it holds some functions of the input.

    Regress the rows of the table on the functions; the fit moves in the span of :math:`A^\top Q`. For the functions
    of a residue these are the differences between the mean rows of its values.

    Args:
        table: (N, H) activations on N inputs.
        functions: (N, k), centred here.

    Returns:
        Tensor (H, r) float64, orthonormal, r at most min(k, H).

    Raises:
        ValueError: other row counts, or a layer that holds none of the functions.

    Example:
        >>> f = torch.tensor([[1.0], [-1.0]])
        >>> feature_directions(torch.tensor([[0.0, 2.0], [0.0, 4.0]]), f).abs().tolist()
        [[0.0], [1.0]]
    """
    _check_rows(table, functions)
    q = orthonormal_basis(functions)
    moved = table.double().T @ q
    if float(moved.norm()) <= 1e-10 * float(table.double().norm()):
        raise ValueError("the table has no part in these functions: there are no directions to name.")
    return orthonormal_basis(moved, center=False)


def without_directions(table: Tensor, directions: Tensor) -> Tensor:
    r"""Project every row of a table, less the mean row, off the span of some directions.

    .. math:: a \mapsto a - V V^\top (a - \bar a)

    Unlike :func:`without_functions` this needs one input at a time, and takes along whatever else shares the
    directions.

    Args:
        table: (N, H) activations on N inputs.
        directions: (H, r), need not be orthonormal.

    Returns:
        Tensor (N, H) float64.

    Raises:
        ValueError: directions of another length, or zero.

    Example:
        >>> a = torch.tensor([[1.0, 5.0], [3.0, 7.0]])
        >>> without_directions(a, torch.tensor([[1.0], [0.0]])).tolist()
        [[2.0, 5.0], [2.0, 7.0]]
    """
    if directions.ndim != 2 or table.ndim != 2 or directions.shape[0] != table.shape[1]:
        raise ValueError(
            f"directions {tuple(directions.shape)} must be (H, r) for a table (N, H); found {tuple(table.shape)}."
        )
    v = orthonormal_basis(directions, center=False)
    table = table.double()
    return table - (table - table.mean(0)) @ v @ v.T


def random_functions(n: int, d: int, draws: int, *, seed: int) -> Iterator[Tensor]:
    """Random d-dimensional spaces of centred functions on n inputs: (n, d) orthonormal, ``draws`` of them.

    Raises:
        ValueError: more dimensions than centred functions, or no draw.

    Example:
        >>> q = next(random_functions(9, 4, 1, seed=0))
        >>> q.shape, bool(q.sum(0).abs().max() < 1e-12)
        (torch.Size([9, 4]), True)
    """
    if not 1 <= d <= n - 1 or draws < 1:
        raise ValueError(f"d={d}, draws={draws}: 1 to {n - 1} centred dimensions and at least one draw are expected.")
    generator = torch.Generator().manual_seed(seed)
    for _ in range(draws):
        x = torch.randn(n, d, generator=generator, dtype=torch.float64)
        yield torch.linalg.qr(x - x.mean(0))[0]


def energy_share(table: Tensor, functions: Tensor) -> float:
    """Share of a table's centred squared length that lies in the span of some functions, in [0, 1].

    Raises:
        ValueError: a table whose rows are all equal.

    Example:
        >>> f = torch.tensor([[1.0], [-1.0], [0.0]])
        >>> round(energy_share(torch.tensor([[3.0], [1.0], [5.0]]), f), 9)
        0.25
    """
    _check_rows(table, functions)
    centred = table.double() - table.double().mean(0)
    total = float(centred.square().sum())
    if total == 0:
        raise ValueError("all rows are equal: there is no energy to share out.")
    return float((orthonormal_basis(functions).T @ centred).square().sum()) / total


def _check_rows(table: Tensor, functions: Tensor) -> None:
    if table.ndim != 2 or functions.ndim != 2 or table.shape[0] != functions.shape[0]:
        raise ValueError(
            f"a table (N, C) and functions (N, k) over the same inputs are expected; found {tuple(table.shape)} and "
            f"{tuple(functions.shape)}."
        )
