"""Features of neural networks, read from their tangent kernels: a course and a tool.

The public names, grouped:

* kernels of finite networks: :func:`empirical_ntk`, :func:`plan`, :func:`jacobian`, :func:`functional`,
  :class:`NTKOperator`, :class:`LinearizedModel`, :func:`top_eigenpairs`, :func:`parameter_gram_eigenpairs`,
  :func:`cliffs`, :func:`effective_rank`
* ground truth and comparison: :func:`fourier_features`, :func:`modular_pairs`, :func:`subspace_overlap`,
  :func:`overlap_chance`, :func:`permutation_null`, :func:`frequency_concentration`, :func:`rotate`
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from entk_tutorial.empirical import (
        Cliffs,
        Eigenpairs,
        FallbackWarning,
        GramEigenpairs,
        InputError,
        LinearizedModel,
        MemoryPlanError,
        ModelError,
        NTKOperator,
        Plan,
        cliffs,
        effective_rank,
        empirical_ntk,
        parameter_gram_eigenpairs,
        plan,
        top_eigenpairs,
    )
    from entk_tutorial.empirical.functional import functional
    from entk_tutorial.empirical.jacobian import jacobian
    from entk_tutorial.features import (
        Overlap,
        Rotation,
        activation_pca,
        concentration_chance,
        cosine_heatmap,
        cycle_laplacian,
        fourier_features,
        frequency_concentration,
        modular_pairs,
        overlap_chance,
        permutation_null,
        plane_energy,
        residues,
        rotate,
        subspace_overlap,
        weight_frequencies,
    )

__version__ = "0.1.0"

__all__ = [
    "Cliffs",
    "Eigenpairs",
    "FallbackWarning",
    "GramEigenpairs",
    "InputError",
    "LinearizedModel",
    "MemoryPlanError",
    "ModelError",
    "NTKOperator",
    "Overlap",
    "Plan",
    "Rotation",
    "__version__",
    "activation_pca",
    "cliffs",
    "concentration_chance",
    "cosine_heatmap",
    "cycle_laplacian",
    "effective_rank",
    "empirical_ntk",
    "fourier_features",
    "frequency_concentration",
    "functional",
    "jacobian",
    "modular_pairs",
    "overlap_chance",
    "parameter_gram_eigenpairs",
    "permutation_null",
    "plan",
    "plane_energy",
    "residues",
    "rotate",
    "subspace_overlap",
    "top_eigenpairs",
    "weight_frequencies",
]

_ROOMS = ("entk_tutorial.empirical", "entk_tutorial.features")


def __getattr__(name: str) -> object:
    """Import a public name when it is first used: the command line then need not wait for torch."""
    if name in __all__:
        for room in _ROOMS:
            module = importlib.import_module(room)
            if name in module.__all__:
                value = getattr(module, name)
                globals()[name] = value
                return value
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}; the public names are in __all__")


def __dir__() -> list[str]:
    """The public names, for completion."""
    return sorted(__all__)
