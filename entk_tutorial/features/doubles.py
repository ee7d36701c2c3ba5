r"""Frequencies that are twice another: what a ReLU, or a square, makes of a wave.

Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

from torch import Tensor

from entk_tutorial.features.fourier import FAMILIES, plane_energy

__all__ = ["leading_frequencies", "split_doubles"]


def split_doubles(keys: list[int], p: int) -> tuple[list[int], dict[int, int]]:
    r"""Keys that are not twice another one, and each other key with the one that it is twice of.

    Twice k is :math:`2k` or, for waves on p points the same, :math:`p - 2k`.

    Args:
        keys: frequencies from 1 to (p - 1) / 2.
        p: modulus.

    Raises:
        ValueError: a frequency outside that range.

    Example:
        >>> split_doubles([2, 4, 42, 29], 113)        # 113 - 84 = 29
        ([2, 42], {4: 2, 29: 42})
    """
    wrong = [k for k in keys if not 1 <= k <= (p - 1) // 2]
    if wrong:
        raise ValueError(f"frequencies {wrong} lie outside 1 to {(p - 1) // 2}, those of waves on p={p} points.")
    halves = {min(2 * k, p - 2 * k): k for k in keys}
    doubles = {k: halves[k] for k in keys if k in halves}
    return [k for k in keys if k not in doubles], doubles


def leading_frequencies(vectors: Tensor, p: int, *, at_least: float = 0.02) -> dict[str, dict[int, float]]:
    """Where the variance of some vectors lies: family -> frequency -> its share, those above a level, largest first.

    Args:
        vectors: (p*p, d) orthonormal columns.
        p: modulus.
        at_least: shares below this are left out.

    Example:
        >>> from entk_tutorial.features.fourier import fourier_features
        >>> waves = fourier_features(7)["sum"][:, 2:4]          # cosine and sine of frequency 2
        >>> leading_frequencies(waves / waves.norm(dim=0), 7)
        {'sum': {2: 1.0}}
    """
    shares = plane_energy(vectors, p).mean(2)  # family, frequency
    out: dict[str, dict[int, float]] = {}
    for family, row in zip(FAMILIES, shares, strict=True):
        found = {k: float(v) for k, v in enumerate(row.tolist(), start=1) if v >= at_least}
        if found:
            out[family] = {k: round(v, 3) for k, v in sorted(found.items(), key=lambda item: -item[1])}
    return out
