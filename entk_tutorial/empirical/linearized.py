r"""The linearised model: what the network would learn if its tangent kernel stayed as it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from entk_tutorial.empirical.errors import InputError
from entk_tutorial.empirical.functional import Inputs, ModelFunction, RawInputs, as_function, check_outputs
from entk_tutorial.empirical.kernel import empirical_ntk


class LinearizedModel:
    r"""Kernel ridge regression with the frozen empirical NTK.

    .. math:: f_\text{lin}(x) = f_0(x) + K(x, X)\,(K(X, X) + \rho I)^{-1}\,(y - f_0(X))

    with :math:`K` the flat kernel (N C x N C). As :math:`\rho \to 0` this is where gradient flow on the squared error
    takes the network's first-order Taylor expansion around its present parameters.

    Args:
        model: module or :func:`functional`, outputs (N, C).
        x_train: N examples.
        y_train: (N, C) targets.
        ridge: :math:`\rho`, in units of the kernel; 0 is refused if the kernel is singular.
        around: ``"model"`` keeps the model's own output :math:`f_0`; ``"zero"`` drops it (regression with the kernel
            alone).

    Raises:
        InputError: targets of another shape, or not finite.
        ValueError: negative ridge, unknown ``around``, or a kernel too close to singular for the ridge.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1, bias=False).double()
        >>> x, y = torch.eye(2, dtype=torch.float64), torch.tensor([[1.0], [5.0]], dtype=torch.float64)
        >>> LinearizedModel(layer, x, y, ridge=0.0).predict(torch.ones(1, 2, dtype=torch.float64)).round(decimals=6)
        tensor([[6.]], dtype=torch.float64)

    Source: [Lee 2019]. Chapter: book/infinite/tangent-kernel.
    """

    def __init__(
        self,
        model: nn.Module | ModelFunction,
        x_train: RawInputs,
        y_train: Tensor,
        *,
        ridge: float,
        around: str = "model",
    ) -> None:
        """Form and factor the kernel of the training inputs."""
        if around not in ("model", "zero"):
            raise ValueError(f"around={around!r} is unknown; expected 'model' or 'zero'.")
        if not 0 <= ridge < float("inf"):
            raise ValueError(
                f"ridge={ridge}; a finite number is expected, 0 or more (below, the kernel is not definite)."
            )
        self.fn = as_function(model, copy=True)  # the model may be trained on; the linearisation stays where it is
        self.around = around
        inputs = Inputs(x_train, "x_train")
        self.x_train = inputs.copy()
        self.outputs = check_outputs(self.fn, inputs)
        if y_train.shape != (inputs.n, self.outputs):
            raise InputError(f"y_train has shape {tuple(y_train.shape)}; {(inputs.n, self.outputs)} is expected.")
        if not bool(torch.isfinite(y_train).all()):
            raise InputError("y_train holds a NaN or an infinity; clean the targets first.")
        kernel = empirical_ntk(self.fn, x_train, reduce="flat")
        assert isinstance(kernel, Tensor)
        residual = y_train.detach().to(torch.float64) - self._base(inputs)
        regular = kernel.to(torch.float64)
        regular.diagonal().add_(ridge)
        factor, info = torch.linalg.cholesky_ex(regular)
        # Rounding can leave a pivot of a singular kernel just above zero; what follows would be noise, not an answer.
        pivots = factor.diagonal().square()
        rounding = len(kernel) * torch.finfo(kernel.dtype).eps * float(regular.diagonal().max())
        if int(info) != 0 or float(pivots.min()) <= rounding:
            raise ValueError(
                f"the kernel plus ridge {ridge:g} is not positive definite beyond rounding ({rounding:.2g}): repeated "
                "or dependent examples. Raise the ridge."
            )
        self.weights = torch.cholesky_solve(residual.reshape(-1, 1), factor)

    def _base(self, x: Inputs) -> Tensor:
        with torch.no_grad():
            y = self.fn(self.fn.params, x).to(torch.float64)
        return y if self.around == "model" else torch.zeros_like(y)

    def predict(self, x: RawInputs) -> Tensor:
        """Outputs (N, C) of the linearised model, float64."""
        inputs = Inputs(x)
        cross = empirical_ntk(self.fn, x, self.x_train, reduce="flat")
        assert isinstance(cross, Tensor)
        return self._base(inputs) + (cross.to(torch.float64) @ self.weights).reshape(inputs.n, self.outputs)
