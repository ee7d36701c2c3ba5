"""One very short step of an optimiser, and which kernel foretells what it does to outputs elsewhere."""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from entk_tutorial.empirical.flow import Params, kernel_product, output_change

SHORT = 1e-4
"""Factor by which the learning rate is cut, so that the step is first order."""


def correlation(a: Tensor, b: Tensor) -> float:
    """Pearson correlation of all entries of two tensors of one shape.

    Example:
        >>> round(correlation(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([5.0, 7.0, 9.0])), 6)
        1.0
    """
    return float(torch.corrcoef(torch.stack([a.flatten(), b.flatten()]).double())[0, 1])


def adamw_diagonal(model: nn.Module, optimizer: torch.optim.AdamW) -> Params:
    r"""What AdamW divides the gradient by in the step just taken: :math:`\sqrt{\hat v} + \epsilon`, by parameter name.

    Raises:
        ValueError: if the optimiser has taken no step, or does not hold all parameters.
    """
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    diagonal: Params = {}
    for name, parameter in model.named_parameters():
        state, group = optimizer.state.get(parameter, {}), group_of.get(id(parameter))
        if group is None or "exp_avg_sq" not in state:
            raise ValueError(
                f"the optimiser has no second moment of {name}: give the one that trains it, after a step."
            )
        corrected = state["exp_avg_sq"] / (1 - group["betas"][1] ** float(state["step"]))
        diagonal[name] = corrected.sqrt() + group["eps"]
    return diagonal


def short_step(
    model: nn.Module,
    optimizer: torch.optim.SGD | torch.optim.AdamW,
    inputs: Tensor,
    targets: Tensor,
    probe: Tensor,
    *,
    memory: bool = True,
) -> dict[str, float]:
    r"""How well each kernel foretells the next step of the optimiser, cut short until it is first order.

    Copies of model and optimiser take the step on the mean squared error; its effect on the outputs at ``probe`` is
    correlated with what is predicted from today's residual :math:`r = y - f(X)`.

    Args:
        model: (N, ...) -> (N, C); left as it is. Best in float64.
        optimizer: with the state it has reached; left as it is.
        inputs: (N, ...) training inputs.
        targets: (N, C).
        probe: (M, ...) inputs at which the outputs are watched.
        memory: False takes AdamW's step without average of past gradients and without weight decay.

    Returns:
        dict: ``"entk"``, correlation with :math:`J J^\top r`; for AdamW also ``"preconditioned"``, with
        :math:`J D^{-1} J^\top r`, D by :func:`adamw_diagonal`, and ``"direction"``, with :math:`J\,\delta\theta` for
        the step itself: what first order can explain at all.

    Example:
        >>> layer = nn.Linear(3, 1, bias=False).double()
        >>> x = torch.randn(5, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
        >>> found = short_step(layer, torch.optim.SGD(layer.parameters(), lr=0.1), x, x[:, :1], x)
        >>> round(found["entk"], 6)
        1.0

    Chapter: book/microscope/lazy-to-rich.
    """
    twin = copy.deepcopy(model)
    kind = torch.optim.AdamW if isinstance(optimizer, torch.optim.AdamW) else torch.optim.SGD
    own: torch.optim.Optimizer = kind(twin.parameters(), lr=1.0)
    own.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    for group in own.param_groups:
        group["lr"] *= SHORT
        if not memory:
            group |= {"betas": (0.0, group["betas"][1]), "weight_decay": 0.0} if "betas" in group else {"momentum": 0.0}
    own.zero_grad()
    mse_loss(twin(inputs), targets).backward()
    own.step()
    with torch.no_grad():
        change = twin(probe) - model(probe)
        residual = targets - model(inputs)
    found = {"entk": correlation(change, kernel_product(model, probe, inputs, residual))}
    if isinstance(own, torch.optim.AdamW):
        diagonal = adamw_diagonal(twin, own)
        predicted = kernel_product(model, probe, inputs, residual, preconditioner=diagonal)
        start = dict(model.named_parameters())
        moved = {name: (q - start[name]).detach() for name, q in twin.named_parameters()}
        found["preconditioned"] = correlation(change, predicted)
        found["direction"] = correlation(change, output_change(model, probe, moved))
    return found
