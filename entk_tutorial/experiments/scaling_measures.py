r"""What is read off the kernel of one modular-addition network, at any p: cliffs, overlaps, means by family."""

from __future__ import annotations

import torch
from torch import Tensor

from entk_tutorial.empirical.krylov import block_krylov
from entk_tutorial.empirical.pairs import Eigenpairs, residual_norms
from entk_tutorial.empirical.spectrum import cliffs
from entk_tutorial.features.family_means import family_means
from entk_tutorial.features.fourier import FAMILIES, fourier_features, plane_energy
from entk_tutorial.features.windows import modular_windows, overlap_on_rows
from entk_tutorial.models.modular import QuadraticMLP
from entk_tutorial.models.quadratic_kernel import QuadraticKernel

BEHIND = 11
"""Eigenvalues kept behind the second window, 4p - 3 + 11, which is 460 for p = 113."""

LOOSE = 1e-4
"""Tolerance for untrained networks; behind their first cliff lies a flat bulk, and any window of it is as good."""

DENSE = 1000
"""Up to this many pairs the kernel is formed and decomposed as a whole."""


def leading_pairs(kernel: QuadraticKernel, k: int, layer: str = "total", *, tolerance: float = 2e-6) -> Eigenpairs:
    r"""The k largest eigenvalues of one layer's kernel, from products: block Krylov, full re-orthogonalisation.

    Args:
        kernel: on all p*p pairs.
        k: how many, fewer than the rank.
        layer: ``"fc1"``, ``"fc2"`` or ``"total"``.
        tolerance: distance :math:`\lVert Kv - \lambda v \rVert` to reach, as a share of the largest eigenvalue. A
            window in a flat bulk has no edges, and is as good with a larger one.

    Raises:
        ValueError: k outside [1, p*p].
        RuntimeError: if the distances do not get that small.

    Chapter: book/beyond/scaling-up.
    """
    n = kernel.size
    if not 1 <= k <= n:
        raise ValueError(f"k={k}; between 1 and N={n} eigenpairs can be asked for.")
    if n <= DENSE:
        table = kernel.columns(torch.arange(n), layer).double()
        values, vectors = torch.linalg.eigh((table + table.T) / 2)
        values, vectors = values.flip(0)[:k], vectors.flip(1)[:, :k]
        return Eigenpairs(values, vectors, (table @ vectors - vectors * values).norm(dim=0), "dense")

    def times(v: Tensor) -> Tensor:
        return kernel.times(v, layer)

    found = block_krylov(times, n, k, dtype=kernel.dtype, device=torch.device("cpu"), tolerance=tolerance, block=64)
    residuals = residual_norms(times, found.values, found.vectors, kernel.dtype)
    if not found.converged:
        raise RuntimeError(
            f"{found.products} products leave residuals up to {float(residuals.max() / found.values[0]):.1e} of the "
            "largest eigenvalue; ask for fewer pairs, or for a number that cuts no group of close eigenvalues."
        )
    return Eigenpairs(found.values, found.vectors, residuals, "krylov")


def measure(
    model: QuadraticMLP, held_out: Tensor, *, layers: bool = False, tolerance: float = 2e-6
) -> tuple[dict[str, float], dict[str, Eigenpairs]]:
    """Numbers of one network, and the leading eigenpairs they were read off.

    Args:
        model: the network.
        held_out: pairs it was not trained on.
        layers: also the leading 2p + 6 eigenpairs of both layers' kernels, and their first window.
        tolerance: of :func:`leading_pairs`.

    Returns:
        dict with

        * ``cliff1``, ``cliff2``: eigenvalue ratios at 2p-1 and 4p-3; ``other``, ``other_index``: the largest at
          another index from 2 to 4p+7;
        * ``window1_n``, ``window1_m``, ``window2_sum``, ``window2_diff`` and the like: *shares* of the family's p-1
          functions that a window holds, in [0, 1]; ``held_out_sum``, ``held_out_diff``: on held-out rows only;
        * ``window2_concentration``: median frequency concentration;
        * ``n_over_sum``, ``sum_over_rest``: ratios of mean eigenvalues of families, ``balance`` and ``purity``: the
          two numbers of the training in them (:func:`family_means`);
        * ``sum_spread``, ``diff_spread``: standard deviation of the eigenvalues inside a family over their mean.

        And a dict ``"total"`` (``"fc1"``, ``"fc2"``) of eigenpairs, 4p + 8 of the total.
    """
    p = model.p
    kernel = QuadraticKernel(model)
    spectra = {"total": leading_pairs(kernel, 4 * p - 3 + BEHIND, tolerance=tolerance)}
    numbers = windows_of(spectra["total"], p)
    u = spectra["total"].vectors[:, modular_windows(p).second]
    numbers |= {f"held_out_{f}": rows_share(u, p, f, held_out) for f in ("sum", "diff")}
    means = family_means(model.fc1.weight, model.fc2.weight)
    numbers |= {name: means[name] for name in ("balance", "purity")}
    numbers["n_over_sum"] = (means["n"] + means["m"]) / (2 * means["sum"])
    numbers["sum_over_rest"] = means["sum"] / means["rest"]
    numbers |= {f"{family}_spread": family_spread(kernel, family) for family in ("sum", "diff")}
    if layers:
        for layer in ("fc1", "fc2"):
            spectra[layer] = leading_pairs(kernel, 2 * p + 6, layer)
            found = windows_of(spectra[layer], p)
            numbers |= {f"{layer}_{name}": value for name, value in found.items() if not name.startswith("other")}
    return numbers, spectra


def windows_of(pairs: Eigenpairs, p: int) -> dict[str, float]:
    """Cliffs of a spectrum, and shares of each family in as many of the two windows as there are vectors for."""
    windows, spectrum = modular_windows(p), cliffs(pairs.values)
    out = {"cliff1": spectrum.ratio(windows.edge1)}
    edges = {1: windows.first}
    if len(spectrum.ratios) >= windows.edge2:
        out["cliff2"], edges[2] = spectrum.ratio(windows.edge2), windows.second
        index, value = spectrum.largest_other((windows.edge1, windows.edge2))
        out["other"], out["other_index"] = value, float(index)
    for number, part in edges.items():
        energy = plane_energy(pairs.vectors[:, part], p)  # (4 families, frequencies, vectors)
        shares = energy.sum((1, 2)) / (p - 1)
        out |= {f"window{number}_{family}": float(share) for family, share in zip(FAMILIES, shares, strict=True)}
        out[f"window{number}_concentration"] = float(energy.flatten(0, 1).amax(0).median())
    return out


def rows_share(u: Tensor, p: int, family: str, rows: Tensor) -> float:
    """Share of a family that a window holds, both seen on some rows only."""
    return overlap_on_rows(u, fourier_features(p)[family], rows) / (p - 1)


def family_spread(kernel: QuadraticKernel, family: str) -> float:
    """Standard deviation over mean of the eigenvalues of the kernel restricted to one family's p - 1 functions."""
    p = kernel.p
    basis = fourier_features(p)[family] * (2**0.5 / p)  # orthonormal
    values = torch.linalg.eigvalsh(basis.T @ kernel.times(basis).double())
    return float(values.std(correction=0) / values.mean())
