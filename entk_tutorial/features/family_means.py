r"""Mean eigenvalue of the modular-addition kernel in each family of functions, from the weights alone."""

from __future__ import annotations

import torch
from torch import Tensor

from entk_tutorial.features.fourier import FAMILIES

MEANS = (*FAMILIES, "rest")
"""The four families, and the functions orthogonal to all of them and to the constant."""


def family_means(fc1: Tensor, fc2: Tensor) -> dict[str, float]:
    r"""Mean of :math:`v^\top K v` over the unit functions v of each family, for the kernel of ``QuadraticMLP``.

    The mean over an orthonormal basis does not depend on the basis; where the family is an eigenspace, it is the mean
    of its eigenvalues. For neuron h let :math:`\tilde A_{nh}, \tilde B_{mh}` be the weights of the two digits less
    their means over the digit, c the sum of those means, a and b the mean squares of :math:`\tilde A` and
    :math:`\tilde B`, w that of its p weights in :math:`W_2`, and :math:`a_k, b_k` the parts of a and b in frequency k.
    With :math:`s = \sum_k a_k b_k` and :math:`\langle\cdot\rangle` the mean over neurons,

    .. math::
        \mu_{\text{sum}} = \mu_{\text{diff}} &= \frac{\langle w(a+b)\rangle}{(p-1)H} +
        \frac{p\,\langle s\rangle}{2(p-1)H}, \qquad
        \mu_{\text{rest}} = \frac{\langle w(a+b)\rangle}{(p-1)H} + \frac{p\,\langle ab - s\rangle}{(p-1)(p-3)H}, \\
        \mu_n &= \frac{\langle w(a + c^2)\rangle}{H} + \frac{\langle wa\rangle}{(p-1)H}
        + \frac{p\,\langle \operatorname{var}_n(\tilde A^2 + 2c\tilde A)\rangle}{4(p-1)H}.

    Exact, for any weights. Only the part of a neuron whose two halves share a frequency makes functions of n + m.

    Args:
        fc1: (H, 2p) first weights.
        fc2: (p, H) second weights; p odd, at least 5.

    Returns:
        dict: one number for each of :data:`MEANS`; ``"balance"``, :math:`\beta = 2\langle s\rangle / \langle
        w(a+b)\rangle`; ``"purity"``, :math:`\kappa = \langle s\rangle / \langle ab\rangle`, which is 1 if both halves
        of every neuron are waves of one frequency and 2/(p-1) on average for random weights.

    Raises:
        ValueError: shapes that do not belong to one network, or p even or below 5.

    Example:
        >>> angle = 2 * torch.pi * torch.arange(5) / 5
        >>> wave = (2**0.5 * torch.cos(angle)).repeat(2)[None]         # one neuron, one wave, a = b = 1
        >>> means = family_means(wave, torch.ones(5, 1))               # w = 1, s = 1
        >>> [round(means[name], 6) for name in ("sum", "rest", "balance", "purity")]
        [1.125, 0.5, 1.0, 1.0]

    Derived in book/beyond/scaling-up.
    """
    p, hidden = fc2.shape
    if fc1.shape != (hidden, 2 * p) or p < 5 or p % 2 == 0:
        raise ValueError(
            f"fc1 {tuple(fc1.shape)} and fc2 {tuple(fc2.shape)}; (H, 2p) and (p, H) with p odd and at least 5 are "
            "expected."
        )
    halves = fc1.detach().double().cpu().reshape(hidden, 2, p)
    shift = halves.mean(2).sum(1)  # c
    waves = halves - halves.mean(2, keepdim=True)
    a, b = waves.square().mean(2).T
    w = fc2.detach().double().cpu().square().mean(0)
    power = torch.fft.rfft(waves, dim=2)[:, :, 1:].abs().square() * (2 / p**2)  # (H, 2, frequencies), adds up to a, b
    shared = (power[:, 0] * power[:, 1]).sum(1)
    bulk = float((w * (a + b)).mean()) / ((p - 1) * hidden)
    together = bulk + p * float(shared.mean()) / (2 * (p - 1) * hidden)
    out = {}
    for i, family in enumerate(("n", "m")):
        size = waves[:, i].square().mean(1)
        square = (waves[:, i].square() + 2 * shift[:, None] * waves[:, i]).var(1, correction=0)
        out[family] = (
            float((w * (size + shift.square())).mean())
            + float((w * size).mean()) / (p - 1)
            + p * float(square.mean()) / (4 * (p - 1))
        ) / hidden
    return out | {
        "sum": together,
        "diff": together,
        "rest": bulk + p * float((a * b - shared).mean()) / ((p - 1) * (p - 3) * hidden),
        "balance": 2 * float(shared.mean()) / float((w * (a + b)).mean()),
        "purity": float(shared.mean()) / float((a * b).mean()),
    }
