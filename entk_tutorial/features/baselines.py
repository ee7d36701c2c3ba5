r"""What other methods find without a kernel: directions over the pairs from inputs, weights and outputs, and at random.

Each returns directions over the p*p pairs, so that all methods can be compared at the same dimension.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entk_tutorial.features.families import without_digits
from entk_tutorial.features.fourier import check_modulus, modular_pairs


def leading_directions(values: Tensor, d: int) -> Tensor:
    """The d leading principal directions over the rows of centred values, or as many as there are: (N, <= d).

    Args:
        values: (N, k), e.g. inputs, activations or outputs on the N inputs.
        d: how many; where the centred values have a smaller rank, that many.

    Raises:
        ValueError: values without variation, or d below 1.

    Example:
        >>> leading_directions(torch.eye(3), 5).shape       # the constant is taken out
        torch.Size([3, 2])
    """
    if values.ndim != 2 or d < 1:
        raise ValueError(f"values {tuple(values.shape)} should be (N, k), and d={d} at least 1.")
    v = values.detach().double()
    scale = float(v.norm())
    left, s, _ = torch.linalg.svd(v - v.mean(0), full_matrices=False)
    rank = int((s > max(v.shape) * torch.finfo(values.dtype).eps * scale).sum())
    if not rank:
        raise ValueError("the values do not vary over the rows; there is no direction.")
    return left[:, : min(d, rank)]


def input_weight_directions(weight: Tensor, x: Tensor, d: int) -> Tensor:
    r"""Functions :math:`x \mapsto v \cdot x` of the leading right singular vectors v of the first layer's weights.

    For one-hot digits they are sums of a function of n and a function of m, whatever the weights. Where the weights
    have full rank, 2(p-1) of them span *all* such functions with zero mean.

    Args:
        weight: (H, 2p) first layer.
        x: (N, 2p) inputs.
        d: how many.

    Returns:
        Tensor (N, <= d), orthonormal, in the order of the projections' size.
    """
    right = torch.linalg.svd(weight.detach().double(), full_matrices=False)[2]
    return leading_directions(x.double() @ right.T, d)


def weight_wave_directions(weight: Tensor, p: int, d: int, *, order: Tensor | None = None) -> Tensor:
    r"""The plane waves in both digits that the DFT of the first layer's weights says are in the squared neurons.

    A neuron's square holds :math:`2\,\alpha(n)\,\beta(m)`, its two halves of weights multiplied. Its energy in the
    product of frequency a in n and b in m is :math:`|\hat\alpha(a)|^2 |\hat\beta(b)|^2`, summed over neurons; the
    waves :math:`(a, b)` and :math:`(a, -b)` get the same. The d/2 strongest planes are kept.

    Args:
        weight: (H, 2p) first layer.
        p: modulus, odd.
        d: how many directions; even.
        order: (p,) permutation; the transform runs over the digits in that order. It should be no permutation at
            all: the control shows that this method needs to know the order of the digits.

    Returns:
        Tensor (p*p, d), orthonormal.

    Raises:
        ValueError: weights of another shape, or d odd, or more than there are waves.

    Example:
        >>> angle = 2 * torch.pi * torch.arange(5) / 5
        >>> neuron = torch.cat([angle.cos(), angle.cos()])[None]
        >>> weight_wave_directions(neuron, 5, 4).shape       # cos, sin of n + m and of n - m
        torch.Size([25, 4])
    """
    check_modulus(p)
    half = (p - 1) // 2
    if weight.ndim != 2 or weight.shape[1] != 2 * p or d < 2 or d % 2 or d > (p - 1) ** 2:
        raise ValueError(
            f"weight {tuple(weight.shape)}, d={d}: (H, {2 * p}) and an even d up to {(p - 1) ** 2} are expected."
        )
    w = weight.detach().double().reshape(-1, 2, p)
    order = torch.arange(p) if order is None else order
    power = torch.fft.rfft(w[:, :, order], dim=2)[:, :, 1:].abs().square()  # (H, 2, half)
    energy = torch.einsum("ha,hb->ab", power[:, 0], power[:, 1])
    best = energy.flatten().argsort(descending=True, stable=True)[: -(-d // 4)].tolist()
    planes = [(i // half + 1, sign * (i % half + 1)) for i in best for sign in (1, -1)]
    return _plane_waves(p, planes[: d // 2], order)


def random_directions(p: int, d: int, seed: int, *, beyond_digits: bool = False) -> Tensor:
    """Random orthonormal directions over the pairs, without their means; or without all functions of single digits.

    Args:
        p: modulus.
        d: how many.
        seed: of the private generator.
        beyond_digits: whether the functions of n and of m are taken out first.

    Example:
        >>> random_directions(5, 3, seed=0).shape
        torch.Size([25, 3])
    """
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(p * p, d, generator=generator, dtype=torch.float64)
    return torch.linalg.qr(without_digits(u, p) if beyond_digits else u - u.mean(0))[0]


def random_waves(p: int, d: int, seed: int) -> Tensor:
    """Cosine and sine of d/2 random plane waves that vary along both digits: (p*p, d), orthonormal.

    Pure Fourier modes, of families that nobody asked for.

    Raises:
        ValueError: d odd, or more than there are such waves.

    Example:
        >>> random_waves(5, 4, seed=0).shape
        torch.Size([25, 4])
    """
    check_modulus(p)
    if d < 2 or d % 2 or d > (p - 1) ** 2:
        raise ValueError(f"d={d}; an even number from 2 to {(p - 1) ** 2} is expected.")
    planes = [(a, b) for a in range(1, (p - 1) // 2 + 1) for b in range(1, p)]
    order = torch.randperm(len(planes), generator=torch.Generator().manual_seed(seed))[: d // 2]
    return _plane_waves(p, [planes[i] for i in order.tolist()], torch.arange(p))


def _plane_waves(p: int, planes: list[tuple[int, int]], order: Tensor) -> Tensor:
    place = torch.argsort(order)
    n, m = modular_pairs(p).T
    columns = []
    for a, b in planes:
        angle = 2 * math.pi * ((a * place[n] + b * place[m]) % p).double() / p
        columns += [angle.cos(), angle.sin()]
    return torch.stack(columns, 1) * (math.sqrt(2) / p)
