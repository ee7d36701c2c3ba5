r"""Networks that add modulo p without training: weights that are waves, with phases on a grid or at random."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from entk_tutorial.models.modular import QuadraticMLP

SIGNS = {"sum": 1, "diff": -1}
"""Which sign the second phase has in the readout; the network answers n + m, or n - m."""


def grid_is_exact(grid: int) -> bool:
    r"""Whether averages over a ``grid`` x ``grid`` lattice of phases equal averages over all phases.

    A squared neuron holds phases with the harmonics 0, (±2, 0), (0, ±2), ±(1, 1), ±(1, -1). Products of two neurons
    average like the continuum if no two different harmonics differ by a multiple of the grid in both entries. Two
    and four points fail: :math:`\cos 4\varphi` is 1 at every quarter turn.

    Raises:
        ValueError: no point at all.

    Example:
        >>> [g for g in range(1, 9) if grid_is_exact(g)]
        [3, 5, 6, 7, 8]

    Chapter: book/microscope/controls.
    """
    if grid < 1:
        raise ValueError(f"grid={grid}; at least one phase is expected.")
    harmonics = [(0, 0)] + [(s * a, s * b) for a, b in ((2, 0), (0, 2), (1, 1), (1, -1)) for s in (1, -1)]
    differences = {(a - c, b - d) for a, b in harmonics for c, d in harmonics} - {(0, 0)}
    return not any(a % grid == 0 and b % grid == 0 for a, b in differences)


def wave_mlp(
    p: int,
    frequency: Tensor,
    phi: Tensor,
    psi: Tensor,
    *,
    scales: tuple[float, float] = (1.0, 1.0),
    operation: str = "sum",
) -> QuadraticMLP:
    r"""The network whose neuron h has frequency k and phases phi and psi: a wave in each digit, a wave in the answer.

    .. math::
        W_{1,h,n} = s_1 \cos(\omega_h n + \varphi_h), \quad W_{1,h,p+m} = s_1 \cos(\omega_h m + \psi_h), \quad
        W_{2,q,h} = s_2 \cos(\omega_h q + \varphi_h \pm \psi_h), \qquad \omega_h = 2\pi k_h / p

    with plus for n + m and minus for n - m.

    Args:
        p: modulus, odd.
        frequency: (H,) integers from 1 to p-1.
        phi: (H,) phases of the first digit.
        psi: (H,) phases of the second digit.
        scales: (s_1, s_2), both positive.
        operation: ``"sum"`` or ``"diff"``.

    Returns:
        QuadraticMLP in float64.

    Raises:
        ValueError: shapes that differ, a frequency that is no wave, a scale that is not positive, another operation.

    Example:
        >>> k, turn = torch.tensor([1]), torch.zeros(1)
        >>> wave_mlp(5, k, turn, turn).fc1.weight[0, 0].item()
        1.0

    Source: [Gromov 2023]. Chapter: book/microscope/controls.
    """
    if not (frequency.ndim == 1 and frequency.shape == phi.shape == psi.shape):
        raise ValueError(
            f"frequency {tuple(frequency.shape)}, phi {tuple(phi.shape)} and psi {tuple(psi.shape)} must be (H,)."
        )
    if not bool(((frequency > 0) & (frequency < p)).all()):
        raise ValueError(f"frequencies from 1 to {p - 1} are expected; others are constants or repeat.")
    if not all(0 < s < math.inf for s in scales):
        raise ValueError(f"scales={scales}; two positive numbers are expected.")
    if operation not in SIGNS:
        raise ValueError(f"operation={operation!r} is unknown; expected one of {', '.join(SIGNS)}.")
    model = QuadraticMLP(p, len(frequency), seed=0).double()
    turns = (frequency.long()[:, None] * torch.arange(p)) % p  # integers first: exact angles
    angle = 2 * math.pi * turns.double() / p
    a, b = phi.double()[:, None], psi.double()[:, None]
    with torch.no_grad():
        model.fc1.weight.copy_(scales[0] * torch.cat([(angle + a).cos(), (angle + b).cos()], 1))  # (H, 2p)
        model.fc2.weight.copy_(scales[1] * (angle + a + SIGNS[operation] * b).cos().T)  # (p, H)
    return model


def analytic_mlp(
    p: int,
    *,
    grid: int = 3,
    scales: tuple[float, float] = (1.0, 1.0),
    operation: str = "sum",
    seed: int | None = None,
) -> QuadraticMLP:
    r"""All frequencies, each with a complete lattice of phases: H = (p-1)/2 * grid^2 neurons, no randomness needed.

    For an exact grid (:func:`grid_is_exact`) its outputs and its kernels equal those of infinite width: output q is
    :math:`s_1^2 s_2\,(p\,[q = n \pm m] - 1) / (4p(p-1))`.

    Args:
        p: modulus, odd.
        grid: phases a circle.
        scales: (s_1, s_2).
        operation: ``"sum"`` or ``"diff"``.
        seed: shifts the lattice of each frequency by random phases, which changes weights and no kernel; None does
            not shift.

    Example:
        >>> model = analytic_mlp(5)
        >>> x = torch.eye(10, dtype=torch.float64)
        >>> model(x[[3]] + x[[5 + 4]]).argmax().item()      # 3 + 4 = 7 = 2 modulo 5
        2

    Source: [Gromov 2023]. Chapter: book/microscope/controls.
    """
    if grid < 1:
        raise ValueError(f"grid={grid}; at least one phase is expected.")
    k, a, b = torch.cartesian_prod(torch.arange(1, (p - 1) // 2 + 1), torch.arange(grid), torch.arange(grid)).T
    phi, psi = 2 * math.pi * a.double() / grid, 2 * math.pi * b.double() / grid
    if seed is not None:
        generator = torch.Generator().manual_seed(seed)
        shift = 2 * math.pi * torch.rand(2, (p - 1) // 2, generator=generator, dtype=torch.float64)
        phi, psi = phi + shift[0, k - 1], psi + shift[1, k - 1]
    return wave_mlp(p, k, phi, psi, scales=scales, operation=operation)


def random_phase_mlp(
    p: int, hidden: int, seed: int, *, scales: tuple[float, float] = (1.0, 1.0), operation: str = "sum"
) -> QuadraticMLP:
    """Waves with random phases; the frequencies take turns. Its mean kernel is that of :func:`analytic_mlp`.

    Args:
        p: modulus, odd.
        hidden: H, at least one neuron a frequency.
        seed: of the phases.
        scales: (s_1, s_2).
        operation: ``"sum"`` or ``"diff"``.

    Raises:
        ValueError: fewer neurons than frequencies.

    Example:
        >>> random_phase_mlp(5, 8, seed=0).fc1.weight.shape
        torch.Size([8, 10])

    Chapter: book/microscope/controls.
    """
    count = (p - 1) // 2
    if hidden < count:
        raise ValueError(f"hidden={hidden}; at least one neuron for each of the {count} frequencies is expected.")
    generator = torch.Generator().manual_seed(seed)
    phi, psi = 2 * math.pi * torch.rand(2, hidden, generator=generator, dtype=torch.float64)
    return wave_mlp(p, torch.arange(hidden) % count + 1, phi, psi, scales=scales, operation=operation)
