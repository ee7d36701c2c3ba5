"""Ground-truth features of the toy models, and honest comparison with them."""

from entk_tutorial.features.alignment import (
    Overlap,
    activation_pca,
    cosine_heatmap,
    orthonormal_basis,
    overlap_chance,
    permutation_null,
    subspace_overlap,
)
from entk_tutorial.features.fourier import (
    FAMILIES,
    concentration_chance,
    fourier_features,
    frequency_concentration,
    modular_pairs,
    plane_energy,
    residues,
    weight_frequencies,
)
from entk_tutorial.features.rotation import Rotation, cycle_laplacian, rotate

__all__ = [
    "FAMILIES",
    "Overlap",
    "Rotation",
    "activation_pca",
    "concentration_chance",
    "cosine_heatmap",
    "cycle_laplacian",
    "fourier_features",
    "frequency_concentration",
    "modular_pairs",
    "orthonormal_basis",
    "overlap_chance",
    "permutation_null",
    "plane_energy",
    "residues",
    "rotate",
    "subspace_overlap",
    "weight_frequencies",
]
