"""Gaussian expectations of activations: E[phi(u) phi(u')] and E[phi'(u) phi'(u')], the two numbers a layer needs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from scipy import special
from torch import Tensor

from entk_tutorial.infinite.tokens import Array

Scalarwise = Callable[[Tensor], Tensor]
Activation = str | Scalarwise

CLOSED_FORMS = ("linear", "relu", "erf", "gelu", "quad")
MAX_ORDER = 2048
_EPS = float(np.finfo(np.float64).eps)


@dataclass(frozen=True)
class Dual:
    r"""The two dual activations on a table of covariances.

    Attributes:
        value: :math:`\Phi = \mathbb E\,\phi(u)\phi(u')`.
        derivative: :math:`\dot\Phi = \mathbb E\,\phi'(u)\phi'(u')`.
        error: 0 for closed forms; else the largest difference between two quadrature orders, over both tables.
    """

    value: Array
    derivative: Array
    error: float = 0.0


def dual_activation(
    activation: Activation,
    a: Array | float,
    b: Array | float,
    c: Array | float,
    *,
    derivative: Scalarwise | None = None,
    tolerance: float = 1e-12,
) -> Dual:
    r"""Expectations of an activation over a pair of Gaussians.

    .. math:: \Phi = \mathbb E\,\phi(u)\phi(u'),\quad \dot\Phi = \mathbb E\,\phi'(u)\phi'(u'),\qquad
              (u,u')\sim N\!\Big(0, \begin{pmatrix}a&c\\c&b\end{pmatrix}\Big).

    Closed forms for "linear", "relu", "erf", "gelu" (:math:`u\,P(z<u)`, not its tanh approximation) and "quad"
    (:math:`u^2`). "tanh", "silu" and any function are expanded in Hermite polynomials, with coefficients by
    Gauss-Hermite quadrature:

    .. math:: \Phi = \sum_k h_k(a)\,h_k(b)\,\rho^k,\quad
              h_k(a) = \mathbb E\,\phi(\sqrt a z)\,\mathrm{He}_k(z)/\sqrt{k!},\quad \rho = c/\sqrt{ab},

    which is positive semi-definite by construction. The order doubles from 64 until two orders differ by less than
    ``tolerance`` relative to the largest entry, or reaches 2048; the last difference is returned as ``error``. Kinks
    converge slowly: read it.

    Args:
        activation: a name, or a function that maps a float64 tensor elementwise.
        a: variances of u, any shape, at least 0.
        b: variances of u', broadcastable with ``a``.
        c: covariances, of the broadcast shape; ``c**2 <= a*b`` up to rounding.
        derivative: phi' for a function; by default automatic differentiation.
        tolerance: relative difference of two orders at which quadrature stops.

    Raises:
        ValueError: for an unknown name, a negative variance, or a covariance larger than the variances allow.

    Where u or u' has variance 0, relu' counts as 0 there, as in PyTorch. Inputs whose correlation is 1 up to rounding
    are taken as perfectly correlated: the angle would otherwise turn a rounding error of 1e-16 into one of 1e-8.

    Example:
        >>> d = dual_activation("relu", 1.0, 1.0, 1.0)      # E relu(z)^2 = 1/2, and half of all slopes are 1
        >>> float(d.value), float(d.derivative)
        (0.5, 0.5)

    Chapter: book/infinite/mlp.
    """
    aa, bb, cc = (np.asarray(x, dtype=np.float64) for x in (a, b, c))
    gap = _gap(aa, bb, cc)
    if callable(activation):
        return _hermite(activation, derivative, aa, bb, cc, tolerance)
    if derivative is not None:
        raise ValueError(
            f"derivative was given for the named activation {activation!r}, which has its own; pass a function to use "
            "it"
        )
    if activation == "linear":
        return Dual(_full(cc, gap), np.ones(gap.shape))
    if activation == "quad":
        return Dual(aa * bb + 2 * cc**2, _full(4 * cc, gap))
    if activation == "relu":
        return _relu(aa, bb, cc, gap)
    if activation == "erf":
        root = np.sqrt(1 + 2 * aa + 2 * bb + 4 * gap)  # (1 + 2a)(1 + 2b) - 4 c^2 without its cancellation
        return Dual(2 / np.pi * np.arctan2(2 * cc, root), 4 / np.pi / root)
    if activation == "gelu":
        return _gelu(aa, bb, cc, gap)
    if activation in _SMOOTH:
        function, slope = _SMOOTH[activation]
        return _hermite(function, slope, aa, bb, cc, tolerance)
    raise ValueError(
        f"unknown activation {activation!r}; expected one of {', '.join((*CLOSED_FORMS, *_SMOOTH))}, or a function of "
        "a tensor"
    )


def activation_mean(activation: Activation, variance: Array | float, *, tolerance: float = 1e-12) -> Array:
    r"""The bias constant :math:`\mu_\phi(\nu) = \mathbb E\,\phi(\sqrt\nu z)`.

    Two independent pre-activations have :math:`\Phi(c=0) = \mu_\phi(a)\,\mu_\phi(b)`: this is what makes tokens that
    never met similar to each other. 0 for every odd activation.

    Example:
        >>> float(activation_mean("quad", 3.0))
        3.0

    Chapter: book/infinite/mlp.
    """
    nu = np.asarray(variance, dtype=np.float64)
    if (nu < 0).any():
        raise ValueError(f"variance {nu.min()} is negative; expected 0 or more")
    if activation in ("linear", "erf", "tanh"):
        return np.zeros(nu.shape)
    if activation == "quad":
        return nu.copy()
    if activation == "relu":
        return np.asarray(np.sqrt(nu / (2 * np.pi)))
    if activation == "gelu":
        return np.asarray(nu / np.sqrt(2 * np.pi * (1 + nu)))
    if not callable(activation) and activation not in _SMOOTH:
        dual_activation(activation, nu, nu, nu)  # raises with the list of names
    function = activation if callable(activation) else _SMOOTH[activation][0]
    values = None
    for order in _orders():
        nodes, roots = _nodes(order)
        new = np.einsum("...i,i->...", _apply(function, np.sqrt(nu)[..., None] * nodes), roots**2)
        if values is not None and np.abs(new - values).max() <= tolerance * max(np.abs(new).max(), 1e-300):
            return np.asarray(new)
        values = new
    return np.asarray(values)


def _relu(a: Array, b: Array, c: Array, gap: Array) -> Dual:
    # With theta the angle between u and u': cos = c / sqrt(ab), sin = sqrt(gap / ab). The supplement pi - theta comes
    # from atan2,
    # which is accurate at both ends, where arccos loses half the digits.
    supplement = np.arctan2(np.sqrt(gap), -c)
    value = (np.sqrt(gap) + supplement * c) / (2 * np.pi)
    alive = (a > 0) & (b > 0)
    return Dual(np.where(alive, value, 0.0), np.where(alive, supplement / (2 * np.pi), 0.0))


def _gelu(a: Array, b: Array, c: Array, gap: Array) -> Dual:
    # phi(u) = u N(u). Stein's lemma twice, with E[n(u) n(u')] = 1 / (2 pi sqrt(D)) and both = P(z < u, z' < u').
    d = 1 + a + b + gap  # (1 + a)(1 + b) - c^2
    root = np.sqrt(d)
    both = 0.25 + np.arctan2(c, root) / (2 * np.pi)
    value = c * both + (a * b * d + c**2) / (2 * np.pi * root * (1 + a) * (1 + b))
    slope = both + c / (2 * np.pi * root) * (1 / (1 + a) + 1 / (1 + b) + 1 / d)
    return Dual(value, slope)


def _gap(a: Array, b: Array, c: Array) -> Array:
    """``a*b - c*c``, at least 0, to full relative accuracy: the squared sine of the angle times a*b."""
    if not (np.isfinite(a).all() and np.isfinite(b).all() and np.isfinite(c).all()):
        raise ValueError("found a variance or covariance that is not finite; check the sigmas and the Gram matrix")
    if (a < 0).any() or (b < 0).any():
        raise ValueError(f"variance {min(float(a.min()), float(b.min())):.6g} is negative; expected 0 or more")
    product = a * b
    if (c**2 > product * (1 + 1e-9) + 1e-300).any():
        raise ValueError(
            "a covariance exceeds what its variances allow (c^2 > a b); the Gram matrix is not positive semi-definite"
        )
    gap = np.abs(product) - c**2
    near = gap <= 1e-3 * product
    if (
        near.any()
    ):  # only there does the subtraction cancel; do it with the rounding errors of both products carried along
        aa, bb, cc = (np.broadcast_to(x, gap.shape)[near] for x in (a, b, c))
        first, first_rest = _two_product(aa, bb)
        second, second_rest = _two_product(cc, cc)
        exact = (first - second) + (first_rest - second_rest)
        gap = np.array(gap, ndmin=gap.ndim)
        gap[near] = np.where(exact <= 2 * _EPS * first, 0.0, exact)
    return gap


def _two_product(x: Array, y: Array) -> tuple[Array, Array]:
    """Product and its exact rounding error (Dekker)."""
    splitter = 134217729.0  # 2^27 + 1
    x_high = splitter * x - (splitter * x - x)
    y_high = splitter * y - (splitter * y - y)
    x_low, y_low = x - x_high, y - y_high
    product = x * y
    return product, ((x_high * y_high - product) + x_high * y_low + x_low * y_high) + x_low * y_low


def _full(value: Array, like: Array) -> Array:
    return np.array(np.broadcast_to(value, like.shape))


def _tanh_slope(u: Tensor) -> Tensor:
    return 1 - torch.tanh(u) ** 2


def _silu(u: Tensor) -> Tensor:
    return u * torch.sigmoid(u)


def _silu_slope(u: Tensor) -> Tensor:
    s = torch.sigmoid(u)
    return s + u * s * (1 - s)


_SMOOTH: dict[str, tuple[Scalarwise, Scalarwise]] = {"tanh": (torch.tanh, _tanh_slope), "silu": (_silu, _silu_slope)}


def _orders() -> list[int]:
    orders = [64]
    while orders[-1] < MAX_ORDER:
        orders.append(2 * orders[-1])
    return orders


def _hermite(function: Scalarwise, slope: Scalarwise | None, a: Array, b: Array, c: Array, tolerance: float) -> Dual:
    product = np.sqrt(a) * np.sqrt(b)
    # Where a variance is 0 the correlation is free: h_k(0) = 0 for k > 0 makes it irrelevant.
    rho = np.clip(
        np.divide(c, product, out=np.zeros(np.broadcast_shapes(c.shape, product.shape)), where=product > 0), -1.0, 1.0
    )
    rho = np.where(np.abs(rho) > 1 - 4 * _EPS, np.sign(rho), rho)
    derivative = _autograd(function) if slope is None else slope
    last: Dual | None = None
    for order in _orders():
        new = Dual(_series(function, order, a, b, rho), _series(derivative, order, a, b, rho))
        if last is not None:
            pairs = ((new.value, last.value), (new.derivative, last.derivative))
            error = max(float(np.abs(x - y).max(initial=0.0)) for x, y in pairs)
            scale = max(float(np.abs(x).max(initial=0.0)) for x, _ in pairs)
            new = Dual(new.value, new.derivative, error)
            if error <= tolerance * scale:
                return new
        last = new
    assert last is not None
    return last


def _series(function: Scalarwise, order: int, a: Array, b: Array, rho: Array) -> Array:
    """Sum over k of h_k(a) h_k(b) rho^k, by Horner's rule."""
    left, right = _coefficients(function, order, a), _coefficients(function, order, b)
    # Coefficients decay: drop the tail that is below rounding, so that smooth functions cost little.
    size = np.abs(left).reshape(order, -1).max(axis=1) * np.abs(right).reshape(order, -1).max(axis=1)
    tail = np.cumsum(size[::-1])[::-1]
    keep = max(1, int((tail > 1e-18 * tail[0]).sum()))
    total = np.zeros(np.broadcast_shapes(a.shape, b.shape, rho.shape))
    for k in range(keep - 1, -1, -1):
        total *= rho
        total += left[k] * right[k]
    return total


def _coefficients(function: Scalarwise, order: int, variance: Array) -> Array:
    """(order, *shape) Hermite coefficients h_k, computed once for each distinct variance."""
    distinct, inverse = np.unique(variance, return_inverse=True)
    nodes, roots = _nodes(order)
    values = _apply(function, np.sqrt(distinct)[:, None] * nodes) * roots  # (D, order)
    return np.asarray((_basis(order) @ values.T)[:, inverse].reshape(order, *variance.shape))


@lru_cache(maxsize=8)
def _nodes(order: int) -> tuple[Array, Array]:
    """Gauss-Hermite nodes for N(0, 1), and the square roots of their weights (which sum to 1)."""
    nodes, weights = special.roots_hermitenorm(order)
    return nodes, np.sqrt(weights / weights.sum())


@lru_cache(maxsize=8)
def _basis(order: int) -> Array:
    """(order, order) orthonormal Hermite polynomials at the nodes, times the root weights.

    Orthogonal, except that beyond |z| = 38 the weights underflow to 0, where no activation of polynomial growth
    contributes.
    """
    nodes, roots = _nodes(order)
    table = np.empty((order, order))
    table[0] = roots
    table[1] = nodes * roots
    for k in range(1, order - 1):
        table[k + 1] = (nodes * table[k] - np.sqrt(k) * table[k - 1]) / np.sqrt(k + 1)
    return table


def _apply(function: Scalarwise, values: Array) -> Array:
    out = function(torch.from_numpy(np.ascontiguousarray(values)))
    if not isinstance(out, Tensor) or out.shape != values.shape:
        raise ValueError("the activation must map a tensor to a tensor of the same shape, elementwise")
    return np.asarray(out.detach().numpy())


def _autograd(function: Scalarwise) -> Scalarwise:
    def slope(u: Tensor) -> Tensor:
        point = u.detach().requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(function(point).sum(), point)
        return gradient

    return slope
