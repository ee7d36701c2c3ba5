r"""Models as functions of their parameters, and inputs as batches one can slice.

Everything in :mod:`entk_tutorial.empirical` sees a model through :class:`ModelFunction`: a dictionary of parameters and
a call ``f(params, x) -> (N, C)``. Whatever would make "the gradient of output c at example n" ill-defined is refused
here, once, with its reason.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch
from torch import Tensor, nn
from torch.func import functional_call

from entk_tutorial.empirical.errors import InputError, ModelError

RawInputs = Tensor | tuple[Tensor, ...] | Mapping[str, Tensor]
Params = dict[str, Tensor]
P = ParamSpec("P")
R = TypeVar("R")


def in_own_context(f: Callable[P, R]) -> Callable[P, R]:
    """Decorator: ``f`` differentiates even in inference mode, in full precision, and leaves random state alone.

    Attention's fused fast path is off meanwhile: it is an approximation to rounding that has no derivative.
    """

    @wraps(f)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        devices = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()
        with ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.random.fork_rng(devices=devices))
            stack.enter_context(_slow_attention())
            for kind in ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",):
                stack.enter_context(torch.autocast(kind, enabled=False))
            return f(*args, **kwargs)

    return wrapper


@contextmanager
def _slow_attention() -> Iterator[None]:
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


class Inputs:
    """A batch of N examples: one tensor, or a tuple or dict of tensors with a common first axis.

    ``notes`` is a place for what is worked out once for a model and these inputs; batches cut from them share it.
    """

    def __init__(self, x: RawInputs, name: str = "x") -> None:
        """Check ``x`` and keep its tensors detached."""
        if isinstance(x, Tensor):
            self.keys: tuple[str, ...] | None = None
            tensors: tuple[Tensor, ...] = (x,)
            self.single = True
        elif isinstance(x, Mapping):
            self.keys = tuple(x)
            tensors = tuple(x.values())
            self.single = False
        elif isinstance(x, tuple | list):
            self.keys = None
            tensors = tuple(x)
            self.single = False
        else:
            raise InputError(f"{name} is a {type(x).__name__}; give a tensor, or a tuple or dict of tensors.")
        if not tensors or not all(isinstance(t, Tensor) for t in tensors):
            raise InputError(f"{name} must hold tensors only, at least one; convert arrays with torch.as_tensor.")
        if any(t.ndim == 0 for t in tensors):
            raise InputError(f"{name} has a tensor without axes; the first axis must count the examples.")
        sizes = {t.shape[0] for t in tensors}
        if len(sizes) > 1:
            raise InputError(f"{name}: first axes differ ({sorted(sizes)}); all must count the same N examples.")
        self.n = sizes.pop()
        if self.n == 0:
            raise InputError(f"{name} holds no example (N = 0); the kernel needs at least one.")
        devices = {t.device for t in tensors}
        if len(devices) > 1:
            raise InputError(f"{name}: tensors on {sorted(map(str, devices))}; move them to one device.")
        for t in tensors:
            if t.is_floating_point() and not bool(torch.isfinite(t).all()):
                bad = int((~torch.isfinite(t)).reshape(t.shape[0], -1).any(1).nonzero()[0])
                raise InputError(f"{name}: example {bad} holds a NaN or an infinity; clean the data first.")
        self.name = name
        self.tensors = tuple(t.detach() for t in tensors)
        self.notes: dict[int, tuple[Any, Any]] = {}

    @property
    def device(self) -> torch.device:
        """The device that all tensors share."""
        return self.tensors[0].device

    def rows(self, index: slice | Tensor) -> Inputs:
        """The examples at ``index``, without checking again."""
        part = object.__new__(Inputs)
        part.keys, part.single, part.name, part.notes = self.keys, self.single, self.name, self.notes
        part.tensors = tuple(t[index] for t in self.tensors)
        part.n = part.tensors[0].shape[0]
        return part

    def copy(self) -> RawInputs:
        """The raw inputs again, in memory of their own."""
        tensors = tuple(t.clone() for t in self.tensors)
        if self.keys is not None:
            return dict(zip(self.keys, tensors, strict=True))
        return tensors[0] if self.single else tensors

    def arguments(self, tensors: tuple[Tensor, ...] | None = None) -> tuple[tuple[Tensor, ...], dict[str, Tensor]]:
        """Positional and keyword arguments for a call of the model."""
        values = self.tensors if tensors is None else tensors
        if self.keys is None:
            return values, {}
        return (), dict(zip(self.keys, values, strict=True))


@dataclass(frozen=True)
class ModelFunction:
    """``f(params, x) -> (N, C)``, with the parameters that are differentiated.

    Attributes:
        params: name -> detached tensor. A tied parameter appears once, under its first name.
        call: ``call(params, args, kwargs)``.
        module: the module behind it, if there is one (structured rules need its layers).
        frozen: parameters and buffers that are not differentiated.
    """

    params: Params
    call: Callable[[Params, tuple[Any, ...], dict[str, Any]], Tensor]
    module: nn.Module | None = None
    frozen: Params = field(default_factory=dict)

    def __call__(self, params: Params, x: Inputs, tensors: tuple[Tensor, ...] | None = None) -> Tensor:
        """Outputs (N, C) on a batch."""
        # Copies: a model that overwrites its input in place must leave the caller's, and ours for the next call.
        args, kwargs = x.arguments(tuple(t.clone() for t in (x.tensors if tensors is None else tensors)))
        return self.call(params, args, kwargs)

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return next(iter(self.params.values())).device

    @property
    def dtype(self) -> torch.dtype:
        """Widest dtype among the parameters."""
        dtype = next(iter(self.params.values())).dtype
        for p in self.params.values():
            dtype = torch.promote_types(dtype, p.dtype)
        return dtype

    def layer_of(self, name: str) -> str:
        """Name of the module that directly owns parameter ``name``; ``""`` is the root."""
        return name.rpartition(".")[0]


def functional(f: Callable[..., Tensor], params: Mapping[str, Tensor]) -> ModelFunction:
    r"""Wrap a function of parameters and inputs so that it can stand where a module stands.

    Args:
        f: ``f(params, x) -> (N, C)``; for a tuple of inputs ``f(params, *x)``, for a dict ``f(params, **x)``.
        params: name -> floating-point tensor. All of them are differentiated.

    Returns:
        ModelFunction: accepted by :func:`empirical_ntk`, :func:`jacobian` and the rest.

    Raises:
        ModelError: if ``params`` is empty, or holds something other than floating-point tensors.

    Example:
        >>> import torch
        >>> from entk_tutorial import empirical_ntk
        >>> w = torch.tensor([[2.0], [3.0]], dtype=torch.float64)
        >>> x = torch.tensor([[1.0, 0.0], [1.0, 1.0]], dtype=torch.float64)
        >>> empirical_ntk(functional(lambda q, x: x @ q["w"], {"w": w}), x)      # the Gram matrix of the inputs
        tensor([[1., 1.],
                [1., 2.]], dtype=torch.float64)

    Chapter: book/microscope/computing-entk.
    """
    for name, value in params.items():
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise ModelError(f"parameter {name!r} is not a floating-point tensor; convert it, or close over it in f.")
    own = {name: value.detach() for name, value in params.items()}
    return _checked(ModelFunction(own, lambda p, args, kwargs: f(p, *args, **kwargs)))


def as_function(model: nn.Module | ModelFunction, *, copy: bool = False) -> ModelFunction:
    """The model as a :class:`ModelFunction`; modules in a mode without per-example gradients are refused.

    With ``copy`` it keeps today's parameters and buffers, whatever becomes of the module later.
    """
    if isinstance(model, ModelFunction):
        return replace(model, params={k: p.clone() for k, p in model.params.items()}) if copy else model
    if not isinstance(model, nn.Module):
        raise ModelError(f"model is a {type(model).__name__}; give an nn.Module, or functional(f, params).")
    _refuse_batch_dependence(model)
    # Embedding(max_norm=...) rescales its weight during a forward pass: it must have one of its own to rescale.
    copy = copy or any(getattr(module, "max_norm", None) is not None for module in model.modules())
    params: Params = {}
    frozen: Params = {}
    for name, p in model.named_parameters():
        (params if p.requires_grad else frozen)[name] = p.detach().clone() if copy else p.detach()
    buffers = {name: b.detach().clone() if copy else b.detach() for name, b in model.named_buffers()}
    slots = _slots(model)

    def call(p: Params, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        # Buffers are copied, so that a forward pass that counts or caches leaves the caller's module as it was.
        state = {**frozen, **{k: b.clone() for k, b in buffers.items()}, **p}
        everywhere = {slot: state[name] for slot, name in slots.items()}
        out: Tensor = functional_call(model, everywhere, args, kwargs, tie_weights=False)
        return out

    return _checked(ModelFunction(params, call, model, {**frozen, **buffers}))


def _slots(model: nn.Module) -> dict[str, str]:
    """Every place where a module keeps a parameter or buffer -> the first name of what it keeps there.

    A module registered under two names is one place. ``functional_call`` with ``tie_weights=True`` would fill it twice,
    and put the first filling "back" at the end: the caller's module would be left without its parameters.
    """
    first = {id(t): name for name, t in [*model.named_buffers(), *model.named_parameters()]}
    return {
        f"{prefix}.{attribute}" if prefix else attribute: first[id(t)]
        for prefix, module in model.named_modules()
        for attribute, t in [*module._parameters.items(), *module._buffers.items()]
        if t is not None
    }


def _checked(fn: ModelFunction) -> ModelFunction:
    if not fn.params:
        raise ModelError("no parameter requires a gradient, so the tangent kernel is empty; unfreeze some parameters.")
    devices = {str(p.device) for p in (*fn.params.values(), *fn.frozen.values())}
    if len(devices) > 1:
        raise ModelError(f"parameters and buffers lie on several devices ({sorted(devices)}); move the model to one.")
    for name, p in fn.params.items():
        if not p.is_floating_point():
            raise ModelError(f"parameter {name!r} has dtype {p.dtype}; real floating-point parameters are expected.")
        if not bool(torch.isfinite(p).all()):
            raise ModelError(f"parameter {name!r} holds a NaN or an infinity; the run that made it diverged.")
    return fn


def _refuse_batch_dependence(model: nn.Module) -> None:
    for name, module in model.named_modules():
        where = f"{name or 'the model'} ({type(module).__name__})"
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            if module.training or module.running_mean is None:
                raise ModelError(
                    f"{where} normalises with the statistics of the batch, so one example's output depends on the "
                    "others and has no kernel of its own; call model.eval() (with running statistics)."
                )
        rate = getattr(module, "p", 0) if isinstance(module, nn.modules.dropout._DropoutNd) else None
        if rate is None:
            rate = getattr(module, "dropout", 0.0)
        if module.training and isinstance(rate, float | int) and rate > 0:
            raise ModelError(
                f"{where} drops units at random (rate {rate}) in training mode; call model.eval() before the kernel."
            )


def check_outputs(fn: ModelFunction, x: Inputs) -> int:
    """Number of outputs C, after checking shape, determinism and independence of examples on a few rows."""
    if x.device != fn.device:
        raise InputError(f"{x.name} lies on {x.device}, the parameters on {fn.device}; move them together.")
    probe = torch.linspace(0, x.n - 1, min(x.n, 4)).long().unique()
    few = x.rows(probe.to(x.device))
    with torch.no_grad(), torch.random.fork_rng(devices=_cuda_indices(fn.device)):
        y, again = _run(fn, few), _run(fn, few)
        # First and last: where an example sees those before it only (a cumulative sum), the first one shows nothing.
        alone = [(n, fn(fn.params, few.rows(slice(n, n + 1)))) for n in {0, few.n - 1}]
    if not isinstance(y, Tensor):
        raise ModelError(f"the model returns a {type(y).__name__}; wrap it so that it returns one (N, C) tensor.")
    if y.ndim != 2 or y.shape[0] != few.n or y.shape[1] == 0:
        cure = "add .unsqueeze(-1) for a scalar output" if y.ndim == 1 else "select a position or flatten, in a wrapper"
        raise ModelError(
            f"the model returns shape {tuple(y.shape)} for {few.n} examples; (N, C) with C >= 1 is expected: {cure}."
        )
    if not bool(torch.isfinite(y).all()):
        raise ModelError("the model's output is NaN or infinite on these inputs; its kernel would be, too.")
    if not torch.equal(y, again):
        raise ModelError(
            "two calls on the same inputs differ: the model draws random numbers; fix them or call eval()."
        )
    scale = float(y.abs().max()) + torch.finfo(y.dtype).tiny
    if any(float((y[n] - y_n).abs().max()) > 1e3 * torch.finfo(y.dtype).eps * scale for n, y_n in alone):
        raise ModelError(
            "an example's output changes with the other examples in the batch, so it has no kernel of its own; "
            "remove the coupling (batch statistics, batch-wide attention or normalisation), or set batch_first=True if "
            "a layer takes the first axis for time."
        )
    return int(y.shape[1])


def _run(fn: ModelFunction, x: Inputs) -> Tensor:
    """One forward pass; torch's complaint about shapes or dtypes comes back with what was given."""
    try:
        return fn(fn.params, x)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        given = ", ".join(f"{tuple(t.shape[1:])} of {str(t.dtype).removeprefix('torch.')}" for t in x.tensors)
        raise ModelError(
            f"the model cannot be called on these inputs (per example: {given}; parameters are "
            f"{str(fn.dtype).removeprefix('torch.')}): {str(error).strip().splitlines()[0]}"
        ) from error


def _cuda_indices(device: torch.device) -> list[int]:
    return [device.index or 0] if device.type == "cuda" else []
