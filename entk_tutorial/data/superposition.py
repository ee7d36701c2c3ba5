"""Sparse features, their importance, and the loss that weighs them."""

from __future__ import annotations

import torch
from torch import Tensor


def sparse_features(n_samples: int, n_features: int, sparsity: float, seed: int, *, normalise: bool = True) -> Tensor:
    r"""Independent features, each zero with probability S and else uniform on [0, 1].

    Args:
        n_samples: N.
        n_features: n.
        sparsity: S, the probability that a feature is zero, in [0, 1).
        seed: of the private generator.
        normalise: divide each row by its length plus 1e-8. A row of zeros stays zero. The features are then no longer
            quite independent: in a row with few of them, each is larger.

    Returns:
        Tensor (N, n) float32, no entry negative.

    Raises:
        ValueError: S outside [0, 1), or no samples or features.

    Example:
        >>> x = sparse_features(1000, 50, 0.9, seed=0)
        >>> round(float((x == 0).float().mean()), 2), round(float(x.norm(dim=1).max()), 3)
        (0.90, 1.000)

    Source: [Elhage 2022]; rows of length one as in [Lin 2025]. Chapter: book/microscope/superposition.
    """
    if n_samples < 1 or n_features < 1:
        raise ValueError(f"n_samples={n_samples}, n_features={n_features}; at least one of each is expected.")
    if not 0 <= sparsity < 1:
        raise ValueError(
            f"sparsity={sparsity}; the probability that a feature is zero lies in [0, 1) (at 1 there is nothing to "
            "learn). 0.9 means that nine in ten are zero."
        )
    generator = torch.Generator().manual_seed(seed)
    present = torch.rand(n_samples, n_features, generator=generator) >= sparsity
    x = torch.rand(n_samples, n_features, generator=generator) * present
    return x / (x.norm(dim=1, keepdim=True) + 1e-8) if normalise else x


def importance_weights(n_features: int, decay: float = 0.8) -> Tensor:
    r"""Importance of each feature, :math:`I_j = \text{decay}^{\,j}` for j = 0, ..., n-1: (n,) float32.

    Raises:
        ValueError: no features, or a decay outside (0, 1]: an importance must be positive, and the first is the
            largest.

    Example:
        >>> importance_weights(3, 0.5)
        tensor([1.0000, 0.5000, 0.2500])

    Source: [Lin 2025]. Chapter: book/microscope/superposition.
    """
    if n_features < 1 or not 0 < decay <= 1:
        raise ValueError(
            f"n_features={n_features}, decay={decay}; at least one feature, and a decay in (0, 1] are expected (1: all "
            "features are equally important)."
        )
    return decay ** torch.arange(n_features, dtype=torch.float32)


def weighted_loss(outputs: Tensor, targets: Tensor, importance: Tensor) -> Tensor:
    r"""Mean over all N n entries of :math:`I_j (x_j - y_j)^2`.

    Args:
        outputs: (N, n).
        targets: (N, n).
        importance: (n,), every entry positive.

    Raises:
        ValueError: other shapes, or an importance that is not positive.

    Example:
        >>> weighted_loss(torch.zeros(1, 2), torch.tensor([[1.0, 2.0]]), torch.tensor([1.0, 0.5])).item()
        1.5

    Source: [Elhage 2022]. Chapter: book/microscope/superposition.
    """
    if outputs.shape != targets.shape or importance.shape != outputs.shape[1:]:
        raise ValueError(
            f"outputs {tuple(outputs.shape)}, targets {tuple(targets.shape)}, importance {tuple(importance.shape)}; "
            "(N, n), (N, n) and (n,) are expected."
        )
    if not bool((importance > 0).all()):
        raise ValueError(
            f"the smallest importance is {float(importance.min()):g}; each must be positive. Leave a feature of no "
            "importance out of the data instead."
        )
    return (importance * (targets - outputs).square()).mean()
