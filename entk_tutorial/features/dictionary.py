"""A sparse dictionary: the usual way to look for features in activations, as a baseline."""

from __future__ import annotations

import warnings

import torch
from sklearn.decomposition import DictionaryLearning
from sklearn.exceptions import ConvergenceWarning
from torch import Tensor


def sparse_codes(activations: Tensor, atoms: int, *, alpha: float = 0.1, seed: int = 0, steps: int = 100) -> Tensor:
    r"""Non-negative sparse codes of activations in a learned dictionary.

    .. math:: \min_{C \ge 0,\, D}\ \tfrac12 \lVert A - C D \rVert_F^2 + \alpha \lVert C \rVert_1,
       \qquad \lVert D_k \rVert \le 1

    by scikit-learn's coordinate descent. A column of C over the samples is a candidate feature; a feature, too, is
    sparse and not negative, so the method is told what kind of thing to look for.

    Args:
        activations: (N, m).
        atoms: K, size of the dictionary; it may be larger than m.
        alpha: price of a non-zero code.
        seed: of the initial dictionary.
        steps: at most so many rounds; one that has not converged by then is taken as it is.

    Returns:
        Tensor (N, K') float64, K' <= K: codes that are zero everywhere are dropped.

    Raises:
        ValueError: no atoms, an alpha that is not positive, or activations that are no finite matrix.

    Example:
        >>> a = torch.eye(3).repeat(4, 1)                          # three directions, one at a time
        >>> codes = sparse_codes(a, 3, seed=0)
        >>> codes.shape, int((codes > 0.5).sum())
        (torch.Size([12, 3]), 12)

    Chapter: book/microscope/superposition.
    """
    if atoms < 1 or not alpha > 0 or activations.ndim != 2 or not bool(torch.isfinite(activations).all()):
        raise ValueError(
            f"atoms={atoms}, alpha={alpha}, activations {tuple(activations.shape)}; at least one atom, a positive "
            "alpha and a finite matrix (N, m) are expected."
        )
    method = DictionaryLearning(
        n_components=atoms,
        alpha=alpha,
        max_iter=steps,
        fit_algorithm="cd",
        transform_algorithm="lasso_cd",
        transform_alpha=alpha,
        positive_code=True,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        found = method.fit_transform(activations.detach().cpu().double().numpy())
    codes = torch.from_numpy(found).double()
    return codes[:, codes.norm(dim=0) > 0]
