"""Training in the kernel limit: gradient flow, gradient descent, label scores, interactions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.sparse.linalg import LinearOperator, eigsh
from torch import Tensor

from entk_tutorial.infinite.feature_maps import FeatureMap

CURVATURE = {"mse": 1.0, "logistic": 0.25, "softmax": 0.5}


@dataclass(frozen=True)
class Flow:
    """Outputs under gradient flow.

    Attributes:
        times: (S,) times.
        train: (S, N) or (S, N, C) training outputs.
        test: (S, M) or (S, M, C) test outputs, None without a test kernel.
    """

    times: Tensor
    train: Tensor
    test: Tensor | None


def gradient_flow(
    kernel_train: Tensor,
    y: Tensor,
    times: Tensor | Sequence[float],
    kernel_test: Tensor | None = None,
    f0: Tensor | None = None,
    f0_test: Tensor | None = None,
) -> Flow:
    r"""Exact outputs under gradient flow with a constant kernel and squared loss.

    The loss is the sum :math:`L = \tfrac12\sum_i(f_i-y_i)^2` (not the mean: for the mean, divide times by N). Then

    .. math:: \dot f = -\Theta(f-y)\;\Rightarrow\; f(t) = y+e^{-\Theta t}(f_0-y),\qquad
              f_*(t) = f_{*0}+\Theta_*\,\frac{1-e^{-\Theta t}}{\Theta}\,(y-f_0),

    through the eigenvectors of the kernel: each one learns at its own rate, its eigenvalue. A zero eigenvalue is never
    learned.

    Args:
        kernel_train: (N, N) symmetric kernel.
        y: (N,) or (N, C) targets.
        times: S times, at least 0, in units of 1 / learning rate; ``inf`` is allowed.
        kernel_test: (M, N) kernel between test and training inputs.
        f0: outputs at t = 0 on the training inputs, shaped like ``y``; default 0.
        f0_test: outputs at t = 0 on the test inputs; default 0.

    Raises:
        ValueError: for shapes that do not fit, a kernel that is not symmetric, negative times.

    Example:
        >>> flow = gradient_flow(torch.eye(1, dtype=torch.float64), torch.ones(1), [0.0, 1.0])
        >>> bool(torch.isclose(flow.train[1, 0], 1 - torch.exp(torch.tensor(-1.0, dtype=torch.float64))))
        True

    Chapter: book/infinite/tangent-kernel.
    """
    kernel, target = kernel_train.double(), y.double()
    n = _square(kernel)
    _rows("y", target, n)
    moments = torch.as_tensor(times, dtype=torch.float64)
    if moments.ndim != 1 or bool((moments < 0).any()) or bool(moments.isnan().any()):
        raise ValueError(f"times must be a list of numbers, 0 or more; found {moments.tolist()}")
    start = _initial("f0", f0, target)
    values, vectors = torch.linalg.eigh(kernel)
    gap = target - start
    gap = gap[:, None] if gap.ndim == 1 else gap  # (N, C)
    modes = vectors.T @ gap
    # A kernel is positive semi-definite; eigenvalues below rounding are zero modes, which must not move at infinite
    # time.
    alive = values > n * torch.finfo(torch.float64).eps * values.abs().max()
    rate = torch.where(alive, values, 0.0)
    exponent = torch.where(rate > 0, -moments[:, None] * rate, 0.0)  # (S, N); keeps inf * 0 out
    learned = -torch.expm1(exponent)[:, :, None] * modes  # (S, N, C)
    train = start + (vectors @ learned).reshape(len(moments), *target.shape)
    if kernel_test is None:
        if f0_test is not None:
            raise ValueError(
                "f0_test was given without kernel_test; give the (M, N) kernel between test and training inputs"
            )
        return Flow(moments, train, None)
    if kernel_test.ndim != 2 or kernel_test.shape[1] != n:
        raise ValueError(
            f"kernel_test has shape {tuple(kernel_test.shape)}; expected (M, {n}): test inputs by training inputs"
        )
    path = torch.where(rate > 0, -torch.expm1(exponent) / torch.where(rate > 0, rate, 1.0), 0.0)
    moved = kernel_test.double() @ (vectors @ (path[:, :, None] * modes))  # (S, M, C)
    moved = moved.reshape(len(moments), kernel_test.shape[0], *target.shape[1:])
    return Flow(moments, train, _initial("f0_test", f0_test, moved[0]) + moved)


@dataclass(frozen=True)
class Descent:
    """A run of kernel gradient descent.

    Attributes:
        outputs: (N,) or (N, C) training outputs at the end.
        coefficients: same shape; the outputs on any other inputs move by ``kernel(inputs, train) @ coefficients``.
        losses: (steps + 1,) training loss before each step and at the end.
    """

    outputs: Tensor
    coefficients: Tensor
    losses: Tensor

    def predict(self, kernel_test: Tensor | FeatureMap, f0: Tensor | None = None) -> Tensor:
        """Outputs on other inputs.

        Args:
            kernel_test: (M, N) kernel between them and the training inputs.
            f0: (M,) or (M, C) their outputs before training; default 0. With one-token documents and no f0 these are
                label scores.
        """
        if kernel_test.shape[1] != self.coefficients.shape[0]:
            raise ValueError(
                f"kernel_test has shape {tuple(kernel_test.shape)}; expected (M, {self.coefficients.shape[0]}): other "
                "inputs by training inputs"
            )
        moved = kernel_test @ self.coefficients
        return moved if f0 is None else f0 + moved


def kernel_gradient_descent(
    kernel: Tensor | FeatureMap,
    y: Tensor,
    loss: str = "mse",
    lr: float = 0.1,
    steps: int = 100,
    *,
    f0: Tensor | None = None,
    reduction: str = "sum",
    callback: Callable[[int, Tensor, Tensor], None] | None = None,
) -> Descent:
    r"""Full-batch gradient descent of an infinitely wide network: its kernel stays what it was at the start.

    .. math:: f \leftarrow f-\eta\,\Theta\,\partial L/\partial f,\qquad L = \sum_i\ell(f_i,y_i)\ \text{or}\
              \tfrac1N\sum_i\ell(f_i,y_i)

    * "mse": :math:`\ell = \tfrac12(f-y)^2`, y (N,) or (N, C) numbers, :math:`-\partial\ell/\partial f = y-f`
    * "logistic": :math:`\ell = \log(1+e^f)-yf`, y (N,) of 0 and 1, :math:`y-\sigma(f)`
    * "softmax": :math:`\ell = \log\sum_ce^{f_c}-f_y`, y one-hot (N, C), or classes (N,) with ``f0`` (N, C);
      one-hot minus softmax

    Args:
        kernel: (N, N) kernel, or a :class:`FeatureMap` of the training documents. Classes share it: independent readout
            rows.
        y: targets, as above; for "softmax" class numbers need ``f0`` or are given as one-hot rows.
        loss: "mse", "logistic" or "softmax".
        lr: learning rate; see :func:`critical_learning_rate`.
        steps: number of steps.
        f0: outputs before training; default 0.
        reduction: "sum" or "mean" over training inputs.
        callback: called with (step, outputs, coefficients) before each step and at the end.

    Raises:
        ValueError: for targets that do not fit the loss, and if the outputs stop being finite (lr too large).

    Example:
        >>> kernel, y = torch.eye(1, dtype=torch.float64), torch.tensor([1])
        >>> run = kernel_gradient_descent(kernel, y, "logistic", lr=1.0, steps=1)
        >>> run.outputs.tolist()                # one step from f = 0: y - sigmoid(0)
        [0.5]

    Chapter: book/text/label-scores.
    """
    _reduction(reduction)
    if kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"kernel has shape {tuple(kernel.shape)}; expected (N, N): training inputs by training inputs")
    if steps < 0 or lr <= 0 or not np.isfinite(lr):
        raise ValueError(
            f"steps = {steps}, lr = {lr}; expected steps of 0 or more and a positive, finite learning rate"
        )
    target = targets(y, loss, int(kernel.shape[0]), f0)
    table = kernel.double() if isinstance(kernel, Tensor) else kernel
    outputs = _initial("f0", f0, target).clone()
    coefficients = torch.zeros_like(target)
    rate = lr / target.shape[0] if reduction == "mean" else lr
    losses = []
    for step in range(steps + 1):
        losses.append(_loss(outputs, target, loss) / (target.shape[0] if reduction == "mean" else 1))
        if not bool(torch.isfinite(losses[-1])):
            raise ValueError(
                f"the loss is no longer finite after {step} steps; lower lr below critical_learning_rate(kernel, loss)"
            )
        if callback is not None:
            callback(step, outputs, coefficients)
        if step < steps:
            move = rate * residual(outputs, target, loss)
            coefficients = coefficients + move
            outputs = outputs + table @ move
    return Descent(outputs, coefficients, torch.stack(losses))


def targets(y: Tensor, loss: str, n: int, f0: Tensor | None = None) -> Tensor:
    """Check targets against a loss and bring them to float64 of the outputs' shape."""
    if loss not in CURVATURE:
        raise ValueError(f"unknown loss {loss!r}; expected one of {', '.join(CURVATURE)}")
    _rows("y", y, n)
    if loss == "logistic" and (y.ndim != 1 or not bool(((y == 0) | (y == 1)).all())):
        raise ValueError("logistic targets are a vector of 0 and 1; from -1 and +1 take (y + 1) / 2")
    if loss == "softmax":
        if y.ndim == 1:
            if (
                f0 is None
                or f0.ndim != 2
                or y.is_floating_point()
                or bool((y < 0).any())
                or int(y.max()) >= f0.shape[1]
            ):
                raise ValueError(
                    "softmax targets are (N, C) rows that sum to 1, or integer classes below C together with f0 of "
                    "shape (N, C)"
                )
            y = torch.nn.functional.one_hot(y.long(), f0.shape[1])
        if y.ndim != 2 or bool(((y.double().sum(1) - 1).abs() > 1e-9).any()) or bool((y < 0).any()):
            raise ValueError(
                "softmax targets must be non-negative rows that sum to 1, e.g. torch.nn.functional.one_hot(classes, C)"
            )
    return y.double()


def residual(outputs: Tensor, target: Tensor, loss: str) -> Tensor:
    """Minus the derivative of the loss of each input by its output."""
    if loss == "mse":
        return target - outputs
    if loss == "logistic":
        return target - torch.sigmoid(outputs)
    return target - torch.softmax(outputs, dim=1)


def _loss(outputs: Tensor, target: Tensor, loss: str) -> Tensor:
    if loss == "mse":
        return 0.5 * ((outputs - target) ** 2).sum()
    if loss == "logistic":
        return (torch.nn.functional.softplus(outputs) - target * outputs).sum()
    return (torch.logsumexp(outputs, dim=1) - (target * outputs).sum(dim=1)).sum()


def label_scores(
    kernel_test: Tensor | FeatureMap, y: Tensor, loss: str = "logistic", f: Tensor | None = None
) -> Tensor:
    r"""Label scores after one small step: how fast the outputs on probe documents move, per unit of learning rate.

    .. math:: \dot s_a = \sum_i\Theta(a,x_i)\,(-\partial\ell/\partial f_i)

    with the summed loss. A document of one token gives that token's score; ``y - sigmoid(f)`` at f = 0 is +1/2 for a
    positive document and -1/2 for a negative one, so the score counts co-occurrences with the labels. Scores after a
    whole run: :meth:`Descent.predict`.

    Args:
        kernel_test: (M, N) kernel between probes and training documents.
        y: (N,) or (N, C) targets, as in :func:`kernel_gradient_descent`.
        loss: "mse", "logistic" or "softmax".
        f: current training outputs; default 0.

    Example:
        >>> from entk_tutorial.infinite import linear_kernel
        >>> kernel = linear_kernel([[0], [1]], [[0, 0, 1], [1]]).ntk       # 2 * (count of the token)
        >>> label_scores(kernel, torch.tensor([1, 0])).tolist()           # token 0: 2 * 2/2; token 1: 2 * (1 - 1)/2
        [2.0, 0.0]

    Chapter: book/text/label-scores. Source: [Sun, Li & Lu 2023].
    """
    target = targets(y, loss, int(kernel_test.shape[1]), f)
    pull = residual(_initial("f", f, target), target, loss)
    table = kernel_test.double() if isinstance(kernel_test, Tensor) else kernel_test
    return table @ pull


def critical_learning_rate(kernel: Tensor | FeatureMap, loss: str = "mse", reduction: str = "sum") -> float:
    r"""Largest learning rate at which gradient descent cannot diverge.

    :math:`2/(L\lambda_{\max})` for a summed loss, N times that for a mean loss.

    L bounds the second derivative of the loss: 1 for mse, 1/4 for logistic, 1/2 for softmax.

    Example:
        >>> critical_learning_rate(2 * torch.eye(3, dtype=torch.float64), "logistic")
        4.0
    """
    _reduction(reduction)
    if loss not in CURVATURE:
        raise ValueError(f"unknown loss {loss!r}; expected one of {', '.join(CURVATURE)}")
    n = int(kernel.shape[0])
    if isinstance(kernel, Tensor):
        largest = float(torch.linalg.eigvalsh(kernel.double())[-1]) if _square(kernel) else 0.0
    else:
        largest = _largest_eigenvalue(kernel)
    if largest <= 0:
        raise ValueError("the kernel is 0, so no learning rate is critical; check the sigmas")
    return 2.0 / (CURVATURE[loss] * largest) * (n if reduction == "mean" else 1)


def _largest_eigenvalue(features: FeatureMap) -> float:
    n = features.shape[0]
    if n < 3:
        return float(torch.linalg.eigvalsh(features.to_dense())[-1])
    operator = LinearOperator((n, n), matvec=lambda v: features.first @ (features.first.T @ v), dtype=np.float64)
    return float(eigsh(operator, k=1, which="LA", v0=np.ones(n), return_eigenvectors=False)[0])


def interaction_documents(first: int, second: int, other_first: int, other_second: int) -> list[list[int]]:
    """The four documents of :func:`double_difference`: (first second), (first other), (other second), (other other)."""
    return [[first, second], [first, other_second], [other_first, second], [other_first, other_second]]


def double_difference(outputs: Tensor) -> Tensor:
    r"""Interaction of two tokens: what a pair says beyond its parts.

    .. math:: DD = f(\text{not } w)-f(\text{not } u)-f(z\,w)+f(z\,u)

    with z and u tokens unseen in training. Exactly 0 for every model that adds up what stands in each position;
    :math:`f(\text{not }w)-f(\text{not})-f(w)` is not, since it mixes lengths.

    Args:
        outputs: (..., 4) outputs on the documents of :func:`interaction_documents`.

    Example:
        >>> double_difference(torch.tensor([5.0, 2.0, 3.0, 0.0])).item()       # 2 + 3, nothing more
        0.0

    Chapter: book/text/negation.
    """
    if outputs.shape[-1:] != (4,):
        raise ValueError(
            f"outputs have shape {tuple(outputs.shape)}; expected (..., 4), in the order of interaction_documents"
        )
    return outputs[..., 0] - outputs[..., 1] - outputs[..., 2] + outputs[..., 3]


def _square(kernel: Tensor) -> int:
    if kernel.ndim != 2 or kernel.shape[0] != kernel.shape[1]:
        raise ValueError(f"kernel has shape {tuple(kernel.shape)}; expected (N, N): training inputs by training inputs")
    if float((kernel - kernel.T).abs().max()) > 1e-6 * float(kernel.abs().max()):
        raise ValueError("the kernel is not symmetric; give the kernel of the training inputs with themselves")
    return int(kernel.shape[0])


def _rows(name: str, values: Tensor, n: int) -> None:
    if values.ndim not in (1, 2) or values.shape[0] != n:
        raise ValueError(
            f"{name} has shape {tuple(values.shape)}; expected ({n},) or ({n}, C), one row a training input"
        )


def _initial(name: str, values: Tensor | None, like: Tensor) -> Tensor:
    if values is None:
        return torch.zeros_like(like)
    if values.shape != like.shape:
        raise ValueError(f"{name} has shape {tuple(values.shape)}; expected {tuple(like.shape)}")
    return values.double()


def _reduction(reduction: str) -> None:
    if reduction not in ("sum", "mean"):
        raise ValueError(f"unknown reduction {reduction!r}; expected 'sum' or 'mean'")
