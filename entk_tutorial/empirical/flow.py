r"""Gradient flow of a finite network, and the two kernels that could govern it: the eNTK and a preconditioned one.

For the summed squared error :math:`\tfrac12\lVert f - y\rVert^2`, plain gradient descent with small steps moves the
outputs by :math:`\dot f = -J J^\top (f - y)`. An optimiser that divides the gradient by :math:`D`, coordinate by
coordinate, moves them by :math:`-J D^{-1} J^\top (f - y)` instead. Kernels are only multiplied here, never formed.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn
from torch.func import functional_call, jvp, vjp

from entk_tutorial.training import History, TrainingError

Params = dict[str, Tensor]


def kernel_product(
    model: nn.Module, x: Tensor, x_train: Tensor, v: Tensor, *, preconditioner: Params | None = None
) -> Tensor:
    r"""The flat kernel times a vector, :math:`J(x)\, D^{-1} J(X)^\top v`, by one backward and one forward derivative.

    Args:
        model: (N, ...) -> (N, C).
        x: (M, ...) where the result is wanted.
        x_train: (N, ...) where ``v`` lives.
        v: (N, C).
        preconditioner: the diagonal of D by parameter name, positive; None for the identity, which is the eNTK.

    Returns:
        Tensor (M, C).

    Raises:
        ValueError: ``v`` of another shape than the outputs, or a preconditioner without an entry for each parameter.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False)
        >>> x = torch.tensor([[1.0, 2.0]])
        >>> kernel_product(layer, x, x, torch.ones(1, 1))      # x . x = 5
        tensor([[5.]])
        >>> kernel_product(layer, x, x, torch.ones(1, 1), preconditioner={"weight": torch.tensor([[1.0, 4.0]])})
        tensor([[2.]])

    Chapter: book/microscope/lazy-to-rich.
    """
    params = {name: p.detach() for name, p in model.named_parameters()}
    # vjp and jvp return a third value only with has_aux, which their types do not know.
    out, pull = vjp(lambda q: functional_call(model, q, (x_train,)), params)[:2]
    if out.shape != v.shape:
        raise ValueError(f"v has shape {tuple(v.shape)}; {tuple(out.shape)}, that of the outputs, is expected.")
    direction: Params = pull(v.to(out.dtype))[0]
    if preconditioner is not None:
        missing = sorted(set(params) ^ set(preconditioner))
        if missing or not all(bool((d > 0).all()) for d in preconditioner.values()):
            raise ValueError(f"the preconditioner needs one positive entry a parameter; look at {missing or 'zeros'}.")
        direction = {name: g / preconditioner[name] for name, g in direction.items()}
    return output_change(model, x, direction)


def output_change(model: nn.Module, x: Tensor, direction: Params) -> Tensor:
    r"""First-order change of the outputs when the parameters move along ``direction``: :math:`J(x)\,\delta\theta`."""
    params = {name: p.detach() for name, p in model.named_parameters()}
    with warnings.catch_warnings():
        # The first jvp of a process makes torch import a module that uses a function torch itself has deprecated.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.")
        change: Tensor = jvp(lambda q: functional_call(model, q, (x,)), (params,), (direction,))[1]
    return change


def linearized_limit(
    model: nn.Module, x: Tensor, x_train: Tensor, y_train: Tensor, *, tolerance: float = 1e-3, max_steps: int = 2000
) -> Tensor:
    r"""What the network linearised around its present weights predicts at the end of training.

    :math:`K(x, X)\,K(X, X)^{-1} y`, by conjugate gradients on products with the kernel. For targets that are what is
    to be added to the present output. :class:`~entk_tutorial.empirical.linearized.LinearizedModel` forms the kernel.

    Args:
        model: (N, ...) -> (N, C); best in float64.
        x: (M, ...).
        x_train: (N, ...).
        y_train: (N, C).
        tolerance: relative size of the residual on the training set at which to stop.
        max_steps: products before giving up.

    Returns:
        Tensor (M, C).

    Raises:
        RuntimeError: if the residual is still larger: the kernel is singular or badly conditioned.

    Example:
        >>> layer = nn.Linear(2, 1, bias=False).double()
        >>> x, y = torch.eye(2).double(), torch.tensor([[1.0], [5.0]]).double()
        >>> linearized_limit(layer, torch.ones(1, 2).double(), x, y).round(decimals=6)
        tensor([[6.]], dtype=torch.float64)

    Chapter: book/microscope/lazy-to-rich.
    """
    weights, residual = torch.zeros_like(y_train), y_train.clone()
    direction, size = residual.clone(), float(residual.square().sum())
    goal = tolerance**2 * size
    for _ in range(max_steps):
        if size <= goal:
            return kernel_product(model, x, x_train, weights)
        moved = kernel_product(model, x_train, x_train, direction)
        length = size / float((direction * moved).sum())
        weights, residual = weights + length * direction, residual - length * moved
        new = float(residual.square().sum())
        direction, size = residual + (new / size) * direction, new
    raise RuntimeError(
        f"after {max_steps} products the residual is {math.sqrt(size / goal) * tolerance:.2g} of the targets, "
        f"{tolerance:g} was asked for: raise tolerance or max_steps, or look for repeated inputs."
    )


@dataclass
class FlowHistory:
    """What a gradient flow left behind.

    Attributes:
        steps: steps taken before each record.
        times: flow time of each record: the sum of the step sizes.
        losses: training loss at each record, as a share of the first one.
        metrics: name -> one value a record.
        reached: whether the loss fell below ``stop``; otherwise the budget of steps ended the run.
    """

    steps: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    reached: bool = False


def gradient_flow(
    model: nn.Module,
    x: Tensor,
    y: Tensor,
    *,
    stop: float,
    max_steps: int,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    record_every: int = 10,
    share: float = 1.0,
    largest_move: float = 0.02,
    refresh: int = 4,
    seed: int = 0,
) -> FlowHistory:
    r"""Full-batch gradient descent on :math:`\tfrac12 \lVert f(X) - y \rVert^2`, with steps as long as the flow allows.

    A step is the smaller of ``share`` / (largest eigenvalue of the tangent kernel) and the length at which the weights
    move by ``largest_move`` of the largest norm they have had. The kernel of a network that learns features grows a
    hundredfold on the way: a fixed step that is stable at the end would be wasted at the beginning. No momentum, no
    weight decay, so that the kernel of this flow is the eNTK.

    Args:
        model: trained in place.
        x: (N, ...) inputs, all in one batch.
        y: (N, C) targets.
        stop: loss, as a share of the first one, at which to stop.
        max_steps: budget.
        evaluate: numbers to record, computed without gradients.
        record_every: steps between records; the last step is always recorded.
        share: of the step 1/eigenvalue; below 2 for stability.
        largest_move: of the weights' norm, in one step.
        refresh: steps between two updates of the eigenvalue, by one power iteration each.
        seed: of the iteration's first vector, through a private generator.

    Returns:
        FlowHistory.

    Raises:
        ValueError: settings outside their range.
        TrainingError: if the loss is not finite.

    Example:
        >>> layer = nn.Linear(1, 1, bias=False)
        >>> _ = layer.weight.data.fill_(-0.5)
        >>> past = gradient_flow(layer, torch.ones(1, 1), torch.ones(1, 1), stop=1e-6, max_steps=1000)
        >>> past.reached, round(float(layer.weight.detach()), 2)
        (True, 1.0)

    Chapter: book/microscope/lazy-to-rich.
    """
    if not (0 < stop < 1 and max_steps >= 1 and 0 < share < 2 and largest_move > 0 and refresh >= 1):
        raise ValueError(
            f"stop={stop}, max_steps={max_steps}, share={share}, largest_move={largest_move}, refresh={refresh}: "
            "expected 0 < stop < 1, 0 < share < 2, and the others positive."
        )
    if record_every < 1:
        raise ValueError(f"record_every={record_every}; at least 1 is expected.")
    parameters = list(model.parameters())
    probe = torch.randn(y.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(y)
    history, time, eigenvalue, first, norm = FlowHistory(), 0.0, 0.0, 0.0, 0.0
    for step in range(max_steps + 1):
        loss = 0.5 * (model(x) - y).square().sum()
        first = first or float(loss.detach())
        share_left = float(loss.detach()) / first if first else 0.0
        if not math.isfinite(share_left):
            done = History(history.steps, history.metrics)
            raise TrainingError(
                f"the loss is {share_left} of the first one at step {step}; lower share or largest_move.", done
            )
        history.reached = share_left <= stop
        last = history.reached or step == max_steps
        if last or step % record_every == 0:
            history.steps.append(step)
            history.times.append(time)
            history.losses.append(share_left)
            with torch.no_grad():
                for name, value in (evaluate(model) if evaluate else {}).items():
                    history.metrics.setdefault(name, []).append(value)
        if last:
            break
        if step % refresh == 0:
            for _ in range(1 if step else 20):
                probe = probe / probe.norm()
                image = kernel_product(model, x, x, probe)
                eigenvalue, probe = float((probe * image).sum()), image
        gradients = torch.autograd.grad(loss, parameters)
        with torch.no_grad():
            slope = math.sqrt(sum(float(g.square().sum()) for g in gradients))
            # Never less than at the start: a weight on its way through zero must not stop there.
            norm = max(norm, math.sqrt(sum(float(p.detach().square().sum()) for p in parameters)))
            size = min(share / eigenvalue, largest_move * max(norm, 1e-12) / max(slope, 1e-300))
            for p, g in zip(parameters, gradients, strict=True):
                p.sub_(g, alpha=size)
        time += size
    return history
