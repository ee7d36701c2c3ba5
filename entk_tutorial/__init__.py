"""Features of neural networks, read from their tangent kernels: a course and a tool.

The public names, grouped:

* kernels of finite networks: :func:`empirical_ntk`, :func:`plan`, :func:`jacobian`, :func:`functional`,
  :class:`LinearizedModel`, :func:`top_eigenpairs`, :func:`cliffs`, :func:`effective_rank`
* ground truth and comparison: :func:`fourier_features`, :func:`modular_pairs`, :func:`subspace_overlap`,
  :func:`overlap_chance`, :func:`permutation_null`, :func:`frequency_concentration`, :func:`rotate`
"""

from entk_tutorial.empirical import (
    Cliffs,
    Eigenpairs,
    FallbackWarning,
    InputError,
    LinearizedModel,
    MemoryPlanError,
    ModelError,
    Plan,
    cliffs,
    effective_rank,
    empirical_ntk,
    functional,
    jacobian,
    plan,
    top_eigenpairs,
)
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
)

__version__ = "0.1.0"

__all__ = [
    "Cliffs",
    "Eigenpairs",
    "FallbackWarning",
    "InputError",
    "LinearizedModel",
    "MemoryPlanError",
    "ModelError",
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
    "permutation_null",
    "plan",
    "plane_energy",
    "residues",
    "rotate",
    "subspace_overlap",
    "top_eigenpairs",
]
