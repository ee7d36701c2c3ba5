r"""Key frequencies of a trained embedding, and the windows of a spectrum that go with them.

A Transformer that adds modulo p does it with a few frequencies, others for every seed. Which ones is read off the
embedding, so that nothing about them has to be typed in.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from entk_tutorial.features.alignment import subspace_overlap
from entk_tutorial.features.fourier import check_modulus, fourier_features

FLOOR_FACTOR = 5.0
"""A key frequency has at least this many times the median frequency's power."""


def embedding_power(embedding: Tensor, p: int) -> Tensor:
    r"""Share of an embedding's variation in each frequency.

    .. math:: \pi_k = \frac{\lVert \hat W(k) \rVert^2}{\sum_{j=1}^{(p-1)/2} \lVert \hat W(j) \rVert^2}, \qquad
              \hat W(k) = \sum_n W_E[n]\, e^{-2\pi i k n/p}

    Args:
        embedding: (V, d), the vectors of the digits in the first p rows; others ("=") are left out, and so is the
            mean over the digits, which is frequency 0.
        p: modulus, odd.

    Returns:
        Tensor ((p-1)/2,) float64, adding up to 1; entry k-1 belongs to frequency k.

    Raises:
        ValueError: fewer than p rows, numbers that are not finite, or an embedding that is the same for all digits.

    Example:
        >>> angle = 2 * torch.pi * 2 * torch.arange(5) / 5
        >>> embedding_power(torch.stack([angle.cos(), angle.sin()], 1), 5).round(decimals=6).tolist()
        [0.0, 1.0]

    Source: [Nanda 2023]. Chapter: book/microscope/modular-transformer.
    """
    check_modulus(p)
    if embedding.ndim != 2 or embedding.shape[0] < p:
        raise ValueError(f"embedding has shape {tuple(embedding.shape)}; at least one row for each of {p} digits.")
    digits = embedding[:p].detach().double().cpu()
    if not bool(torch.isfinite(digits).all()):
        raise ValueError("the embedding holds a NaN or an infinity; it has no spectrum.")
    power = torch.fft.rfft(digits, dim=0)[1:].abs().square().sum(1)
    total = float(power.sum())
    if total <= 1e-20 * p * float(digits.square().sum()):  # rounding of a constant
        raise ValueError("the embedding is the same for all digits; it has no frequency.")
    return power / total


def key_frequencies(embedding: Tensor, p: int, *, factor: float = FLOOR_FACTOR) -> list[int]:
    """Frequencies that stand out of an embedding's floor, in ascending order; an empty list if none does.

    The floor is the median over frequencies, which no key frequency moves as long as fewer than half of them are key.

    Args:
        embedding: (V, d), the digits in the first p rows.
        p: modulus, odd, at least 7 (below that there are too few frequencies for a floor).
        factor: times the median from which on a frequency is key, above 1.

    Raises:
        ValueError: as :func:`embedding_power`; p below 7; a factor of at most 1.

    Example:
        >>> angle = 2 * torch.pi * 3 * torch.arange(11) / 11
        >>> wave = torch.stack([angle.cos(), angle.sin()], 1)
        >>> key_frequencies(wave + 0.01 * torch.eye(11)[:, :2], 11)
        [3]
        >>> key_frequencies(torch.eye(11), 11)      # all frequencies alike: none is key
        []

    Chapter: book/microscope/modular-transformer.
    """
    if p < 7:
        raise ValueError(f"p={p} has {(p - 1) // 2} frequencies, too few for a floor; take an odd p from 7 on.")
    if not factor > 1:
        raise ValueError(f"factor={factor}; more than 1 times the median is expected.")
    power = embedding_power(embedding, p)
    floor = float(power.quantile(0.5))
    return [k + 1 for k, share in enumerate(power.tolist()) if share >= factor * floor]


def frequency_columns(keys: list[int], p: int) -> list[int]:
    """Columns of :func:`fourier_features` that hold cosine and sine of these frequencies.

    Raises:
        ValueError: a frequency outside 1..(p-1)/2, or one given twice.

    Example:
        >>> frequency_columns([1, 3], 7)
        [0, 1, 4, 5]
    """
    wrong = [k for k in keys if not 1 <= k <= (p - 1) // 2]
    if wrong or len(set(keys)) < len(keys):
        raise ValueError(f"keys={keys}; distinct frequencies from 1 to {(p - 1) // 2} are expected.")
    return [column for k in keys for column in (2 * k - 2, 2 * k - 1)]


@dataclass(frozen=True)
class KeyWindows:
    """Windows of a spectrum for K key frequencies; both count from 0, and the first holds the constant mode.

    Attributes:
        first: the first 1 + 2K eigenvectors.
        second: the 2K after those.
    """

    first: slice
    second: slice


def key_windows(n_keys: int) -> KeyWindows:
    """The windows for K key frequencies: [0, 1+2K) and [1+2K, 1+4K).

    Example:
        >>> key_windows(2)      # the slices that were published
        KeyWindows(first=slice(0, 5, None), second=slice(5, 9, None))

    Source: [Lin 2025]. Chapter: book/microscope/modular-transformer.
    """
    if n_keys < 0:
        raise ValueError(f"n_keys={n_keys}; a count is expected.")
    return KeyWindows(slice(0, 1 + 2 * n_keys), slice(1 + 2 * n_keys, 1 + 4 * n_keys))


def window_shares(
    vectors: Tensor, p: int, keys: list[int], *, windows: KeyWindows | None = None, rows: Tensor | None = None
) -> dict[str, float]:
    r"""Shares of the key frequencies' modes that two windows hold.

    A share is :func:`subspace_overlap` divided by 2K, the number of modes: 1 if the window holds all of them.

    Args:
        vectors: (N, d) eigenvectors, leading first, at least 1 + 4K of them; N = p*p, or the rows named.
        p: modulus.
        keys: key frequencies; with none, every share is 0.
        windows: other slices than those of :func:`key_windows`, e.g. the published ones.
        rows: (N,) the inputs that the vectors live on, if not all p*p.

    Returns:
        dict: ``window1_sum`` ... ``window2_axis``: windows 1 and 2 with the families sum, diff, ``axis`` (cos kn +
        cos km and the like) and ``axis_diff``.

    Raises:
        ValueError: fewer eigenvectors than the windows reach.

    Example:
        >>> f = fourier_features(7)
        >>> one = torch.ones(49, 1, dtype=torch.float64)
        >>> u = torch.cat([one, f["sum"][:, 2:4], f["axis_sum"][:, 2:4]], 1)
        >>> shares = window_shares(u, 7, [2])
        >>> round(shares["window1_sum"], 6), round(shares["window2_axis"], 6), abs(round(shares["window1_axis"], 6))
        (1.0, 1.0, 0.0)

    Source: [Lin 2025]. Chapter: book/microscope/modular-transformer.
    """
    windows = key_windows(len(keys)) if windows is None else windows
    reach = max(windows.first.stop, windows.second.stop)
    if vectors.shape[1] < reach:
        raise ValueError(f"{vectors.shape[1]} eigenvectors given; windows for {len(keys)} frequencies need {reach}.")
    columns, features = frequency_columns(keys, p), fourier_features(p)
    out = {}
    for name, family in (("sum", "sum"), ("diff", "diff"), ("axis", "axis_sum"), ("axis_diff", "axis_diff")):
        modes = features[family][:, columns]
        modes = modes if rows is None else modes[rows]
        for number, part in ((1, windows.first), (2, windows.second)):
            found = subspace_overlap(vectors[:, part], modes).value if keys else 0.0
            out[f"window{number}_{name}"] = found / max(1, len(columns))
    return out
