r"""Windows of a modular-addition spectrum, and everything that is measured on them.

Eigenvalues are counted from 1. Index 1 is the constant mode. Window 1 holds the next 2(p-1) eigenvectors, where
functions of n and of m belong; window 2 the 2(p-1) after those. Their far edges, 2p-1 and 4p-3, are where the cliffs
are expected: 57 and 113 for p = 29.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.empirical.pairs import Eigenpairs
from entk_tutorial.empirical.spectrum import cliffs
from entk_tutorial.features.alignment import orthonormal_basis, overlap_chance, subspace_overlap
from entk_tutorial.features.fourier import FAMILIES, check_modulus, fourier_features, frequency_concentration


@dataclass(frozen=True)
class Windows:
    """Positions of the two windows, for modulus p.

    Attributes:
        first: slice of window 1, counted from 0.
        second: slice of window 2.
        edge1: index of the last eigenvalue of window 1, counted from 1.
        edge2: index of the last eigenvalue of window 2, counted from 1.
        last: ratios beyond this index are not looked at (200 for p = 29).
    """

    first: slice
    second: slice
    edge1: int
    edge2: int
    last: int


def modular_windows(p: int) -> Windows:
    """The windows for modulus p.

    Example:
        >>> w = modular_windows(29)
        >>> w.first, w.second, w.edge1, w.edge2, w.last
        (slice(1, 57, None), slice(57, 113, None), 57, 113, 200)

    Chapter: book/microscope/modular-mlp.
    """
    check_modulus(p)
    edge1, edge2 = 2 * p - 1, 4 * p - 3
    return Windows(slice(1, edge1), slice(edge1, edge2), edge1, edge2, 7 * p - 3)


def window_chance(p: int, window: int) -> float:
    """Overlap of a random window with one family, given what the window is known to be orthogonal to.

    Window 1 is orthogonal to the constant; window 2 to the constant and to the functions of n and of m.

    Example:
        >>> window_chance(29, 2)
        2.0
    """
    excluded = {1: 1, 2: 2 * p - 1}
    if window not in excluded:
        raise ValueError(f"window={window}; 1 or 2 is expected.")
    return overlap_chance(2 * (p - 1), p - 1, p * p, excluded=excluded[window])


def measure_windows(pairs: Eigenpairs, p: int) -> dict[str, float]:
    """Cliffs, overlaps and concentrations of one kernel's spectrum.

    Args:
        pairs: all or the leading eigenpairs of a kernel over the p*p pairs, at least 7p - 2 of them where the kernel
            has that rank.
        p: modulus.

    Returns:
        dict with

        * ``cliff1_ratio``, ``cliff2_ratio``: eigenvalue ratios at 2p-1 and 4p-3; ``other_ratio_max``: the largest
          ratio at any other index from 2 to 7p-3, ``other_ratio_index`` where; ``constant_ratio``: the ratio at 1. A
          ratio beyond the numerical rank is left out.
        * ``window1_n`` ... ``window2_diff``: overlap of each window with each family, of p - 1.
        * ``window1_concentration``, ``window2_concentration``: medians of the frequency concentration.

    Raises:
        ValueError: fewer eigenvectors than the two windows hold, or rows other than p*p.
    """
    windows = modular_windows(p)
    if pairs.vectors.shape[1] < windows.edge2:
        raise ValueError(f"{pairs.vectors.shape[1]} eigenvectors given; the two windows need {windows.edge2}.")
    spectrum = cliffs(pairs.values)
    out = {"constant_ratio": spectrum.constant}
    if windows.edge1 < spectrum.rank:
        out["cliff1_ratio"] = spectrum.ratio(windows.edge1)
    if windows.edge2 < spectrum.rank:
        out["cliff2_ratio"] = spectrum.ratio(windows.edge2)
    others = spectrum.largest_other((windows.edge1, windows.edge2), last=windows.last)
    out["other_ratio_max"], out["other_ratio_index"] = others[1], float(others[0])
    features = fourier_features(p)
    for number, part in ((1, windows.first), (2, windows.second)):
        u = pairs.vectors[:, part]
        for family in FAMILIES:
            out[f"window{number}_{family}"] = subspace_overlap(u, features[family]).value
        out[f"window{number}_concentration"] = float(frequency_concentration(u, p).median())
    return out


def overlap_on_rows(u: Tensor, f: Tensor, rows: Tensor) -> float:
    """Overlap of two spans of functions, seen on some of the inputs only.

    Restricting to few rows makes any two spans more alike, so the number means nothing without
    :func:`chance_on_rows`.
    """
    return subspace_overlap(u[rows], f[rows]).value


def chance_on_rows(p: int, family: str, rows: Tensor, *, draws: int = 20, seed: int = 0) -> float:
    """Mean of :func:`overlap_on_rows` over random windows orthogonal to the constant and the functions of n and m.

    Args:
        p: modulus.
        family: ``"sum"`` or ``"diff"``.
        rows: the inputs looked at.
        draws: random windows of 2(p-1) directions.
        seed: of the private generator.

    Example:
        >>> import torch
        >>> every = torch.arange(49)
        >>> abs(chance_on_rows(7, "sum", every, draws=200) - window_chance(7, 2)) < 0.1
        True
    """
    features = fourier_features(p)
    if family not in features:
        raise ValueError(f"family={family!r} is unknown; expected one of {', '.join(features)}.")
    if draws < 1:
        raise ValueError(f"draws={draws}; at least one random window is expected.")
    known = torch.cat([torch.ones(p * p, 1, dtype=torch.float64), features["n"], features["m"]], 1)
    basis = orthonormal_basis(known, center=False)
    generator = torch.Generator().manual_seed(seed)
    total = 0.0
    for _ in range(draws):
        u = torch.randn(p * p, 2 * (p - 1), generator=generator, dtype=torch.float64)
        u = torch.linalg.qr(u - basis @ (basis.T @ u))[0]
        total += overlap_on_rows(u, features[family], rows)
    return total / draws


def mixed_frequencies(u: Tensor, p: int, families: tuple[str, str] = ("sum", "diff"), *, seed: int = 0) -> Tensor:
    r"""The same directions with the frequencies inside each family mixed at random: the null for "Fourier".

    Each direction keeps its part in the functions of either family, and the length of that part; inside the family a
    random rotation turns it. A concentration that stays the same says "function of the family", and no more.

    Args:
        u: (p*p, d) directions.
        p: modulus.
        families: two orthogonal families; what lies outside both is left as it is.
        seed: of the private generator.

    Returns:
        Tensor (p*p, d) float64.

    Example:
        >>> import torch
        >>> f = fourier_features(7)["sum"]
        >>> turned = mixed_frequencies(f, 7)
        >>> round(subspace_overlap(turned, f).value, 6), bool(frequency_concentration(turned, 7).median() < 0.9)
        (6.0, True)
    """
    generator = torch.Generator().manual_seed(seed)
    out = u.double().clone()
    features = fourier_features(p)
    for family in families:
        q = orthonormal_basis(features[family])
        k = q.shape[1]
        for j in range(u.shape[1]):
            turn = torch.linalg.qr(torch.randn(k, k, generator=generator, dtype=torch.float64))[0]
            part = q.T @ u[:, j].double()
            out[:, j] += q @ (turn @ part - part)
    return out
