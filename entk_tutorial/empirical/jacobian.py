r"""Per-example Jacobians: slow, obviously right, and the reference for everything faster."""

from __future__ import annotations

import warnings
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import jacrev, vmap

from entk_tutorial.empirical.errors import FallbackWarning
from entk_tutorial.empirical.functional import (
    Inputs,
    ModelFunction,
    Params,
    RawInputs,
    as_function,
    check_outputs,
    in_own_context,
)


@in_own_context
def jacobian(
    model: nn.Module | ModelFunction,
    x: RawInputs,
    *,
    by: str | None = None,
    chunk_size: int | None = None,
) -> Tensor | dict[str, Tensor]:
    r"""Derivatives of every output at every example with respect to every parameter.

    .. math:: J_{nci} = \frac{\partial f_c(x_n)}{\partial \theta_i}

    Args:
        model: module or :func:`functional` with outputs (N, C).
        x: the N examples; see :func:`empirical_ntk`.
        by: ``None`` for one tensor; ``"layer"`` or ``"parameter"`` for a dict of tensors.
        chunk_size: examples differentiated at once; ``None`` for all.

    Returns:
        Tensor (N, C, P), parameters flattened in the order of ``named_parameters``; or a dict of (N, C, P_i).
        Memory is 4 N C P bytes in float32, which is why :func:`empirical_ntk` avoids it.

    Raises:
        ModelError: if the model has no per-example gradient (see :func:`empirical_ntk`).
        ValueError: if ``by`` is unknown or ``chunk_size`` is not positive.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 1, bias=False).double()
        >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
        >>> bool(torch.equal(jacobian(layer, x)[:, 0], x))      # the gradient of w.x is x
        True

    Chapter: book/microscope/computing-entk.
    """
    if by not in (None, "layer", "parameter"):
        raise ValueError(f"by={by!r} is unknown; expected None, 'layer' or 'parameter'.")
    if chunk_size is not None and chunk_size < 1:
        raise ValueError(f"chunk_size={chunk_size}; a positive number of examples is expected.")
    fn, inputs = as_function(model), Inputs(x)
    n_outputs = check_outputs(fn, inputs)
    projection = torch.eye(n_outputs, dtype=fn.dtype, device=fn.device)
    parts = projected_jacobian(fn, inputs, projection, fn.params, chunk_size=chunk_size, stacklevel=4)
    flat = {name: j.reshape(*j.shape[:2], -1) for name, j in parts.items()}
    if by == "parameter":
        return flat
    if by is None:
        return torch.cat(list(flat.values()), dim=2)
    layers: dict[str, list[Tensor]] = {}
    for name, j in flat.items():
        layers.setdefault(fn.layer_of(name), []).append(j)
    return {layer: torch.cat(js, dim=2) for layer, js in layers.items()}


def projected_jacobian(
    fn: ModelFunction,
    x: Inputs,
    projection: Tensor,
    names: Iterable[str],
    *,
    chunk_size: int | None = None,
    stacklevel: int = 5,
) -> dict[str, Tensor]:
    """Jacobians of the projected outputs ``f @ projection.T``, for the parameters ``names``: (N, A, *shape) each.

    ``stacklevel`` counts the frames up to the user's line, where a warning belongs.
    """
    wanted = {name: fn.params[name] for name in names}
    rest = {name: p for name, p in fn.params.items() if name not in wanted}

    def single(params: Params, *tensors: Tensor) -> Tensor:
        y = fn({**rest, **params}, x, tuple(t.unsqueeze(0) for t in tensors))
        return (y.to(projection.dtype) @ projection.T).squeeze(0)

    try:
        axes = (None,) + (0,) * len(x.tensors)
        with warnings.catch_warnings():
            # An operation without a batching rule is looped over by torch: slower inside, and nothing to act on.
            warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
            out: dict[str, Tensor] = vmap(jacrev(single), in_dims=axes, chunk_size=chunk_size)(wanted, *x.tensors)
        out = {name: (j.to_dense() if j.is_sparse else j).detach() for name, j in out.items()}
        reason = _contradiction(fn, x, projection, wanted, rest, out)
    except (RuntimeError, NotImplementedError) as error:
        reason = str(error).strip().splitlines()[0]
    if not reason:
        return out
    operation = _operation(reason)
    warnings.warn(
        f"the model cannot be vectorised over examples ({reason}); taking one backward pass an example and output. "
        f"Exact, but slow: {operation}.",
        FallbackWarning,
        stacklevel=stacklevel,
    )
    return _loop(fn, x, projection, wanted, rest)


_CAUSES = {
    "item()": "the model reads a value out of a tensor (.item(), a Python branch, a size that depends on data); "
    "torch.where or a mask would keep it vectorised",
    "data-dependent control flow": "the model branches in Python on a value; torch.where would keep it vectorised",
    "dynamic shape": "the model's shapes depend on values (boolean indexing, nonzero, routing); a mask would keep it "
    "vectorised",
    "autograd.Function": "a custom autograd.Function lacks setup_context or a vmap rule (generate_vmap_rule = True)",
    "requires_grad_()": "the model differentiates inside its forward pass; torch.func.grad would keep it vectorised",
    "inplace": "an in-place operation writes an example's values into a tensor that has no examples",
}


def _operation(reason: str) -> str:
    """What a reader can do about torch's reason."""
    known = (cure for part, cure in _CAUSES.items() if part in reason)
    return next(known, "an operation of the model works on whole batches only")


def _contradiction(
    fn: ModelFunction, x: Inputs, projection: Tensor, wanted: Params, rest: Params, found: dict[str, Tensor]
) -> str:
    """Where the vectorised Jacobians differ from a plain backward pass on the first or the last example; else empty.

    A wrong batching rule is wrong by much more than half the digits. A gradient that is zero but for rounding (a bias
    of attention keys) has no digits of its own: it is measured by the largest gradient of the model.
    """
    generator = torch.Generator().manual_seed(0)
    seed = torch.randn(len(projection), generator=generator, dtype=torch.float64).to(projection)
    for n in {0, x.n - 1}:
        live = {k: p.detach().requires_grad_() for k, p in {**wanted, **rest}.items()}
        with torch.enable_grad():
            y = fn(live, x.rows(slice(n, n + 1))).to(projection.dtype) @ projection.T
        grads: tuple[Tensor | None, ...] = (None,) * len(live)
        if y.requires_grad:
            grads = torch.autograd.grad(y[0], list(live.values()), seed, allow_unused=True)
        truths = {k: g.to_dense() if g.is_sparse else g for k, g in zip(live, grads, strict=True) if g is not None}
        largest = max((float(g.norm()) for g in truths.values()), default=0.0)
        for name, j in found.items():
            mine = torch.einsum("a,a...->...", seed.to(j.dtype), j[n])
            truth = truths.get(name, torch.zeros_like(mine))
            eps = torch.finfo(j.dtype).eps
            if bool((mine - truth).norm() > eps**0.5 * (mine.norm() + truth.norm()) + 1e2 * eps * largest):
                return f"torch.vmap gives a wrong gradient of {name!r}: found by a plain backward pass"
    return ""


def _loop(fn: ModelFunction, x: Inputs, projection: Tensor, wanted: Params, rest: Params) -> dict[str, Tensor]:
    """One backward pass for each example and output."""
    out = {k: p.new_zeros((x.n, projection.shape[0], *p.shape)) for k, p in wanted.items()}
    for n in range(x.n):
        live = {k: p.detach().requires_grad_() for k, p in wanted.items()}
        with torch.enable_grad():
            y = fn({**rest, **live}, x.rows(slice(n, n + 1))).to(projection.dtype) @ projection.T
        for a in range(y.shape[1] if y.requires_grad else 0):  # an example may take a branch without parameters
            grads = torch.autograd.grad(y[0, a], list(live.values()), retain_graph=True, allow_unused=True)
            for k, g in zip(live, grads, strict=True):
                if g is not None:
                    out[k][n, a] = g.to_dense() if g.is_sparse else g
    return out
