r"""Products with a Jacobian by passes through the model: reverse for J^T u, forward for J d.

One reverse pass costs about two forward ones, one forward derivative about two, whatever the number of outputs: no
Jacobian and no kernel is formed. Several vectors go through at once where the model's operations allow it. Where they
do not, a slower and equally exact way is taken, once, with a warning that repeats torch's reason.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor
from torch.autograd import forward_ad
from torch.func import jvp, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from entk_tutorial.empirical.errors import FallbackWarning, ModelError, users_line
from entk_tutorial.empirical.functional import Inputs, ModelFunction, Params

Directions = dict[str, Tensor]
"""Parameter name -> (q, *shape): q directions in the space of the parameters."""
_FAILURES = (RuntimeError, NotImplementedError)
_FORWARD = ("batched", "single", "double")


class Passes:
    """Forward and reverse products of one model, for some of its parameters.

    Attributes:
        names: the parameters that are differentiated.
        reverse: how J^T u is taken: ``"batched"`` or ``"single"``.
        forward: how J d is taken: ``"batched"``, ``"single"``, or ``"double"`` for reverse over reverse.
    """

    def __init__(self, fn: ModelFunction, names: tuple[str, ...]) -> None:
        """Start with the fastest way; each failure moves on to the next."""
        self.fn = fn
        self.names = names
        self.reverse = "batched"
        self.forward = "batched"
        self._certified: set[str] = set()
        self._wanted = {name: fn.params[name] for name in names}
        self._rest = {name: p for name, p in fn.params.items() if name not in self._wanted}

    def outputs(self, x: Inputs) -> tuple[Tensor, Params]:
        """Outputs (n, C) with their graph, and the leaves they hang on. A view, so that it has a graph of its own."""
        live = {name: p.detach().requires_grad_() for name, p in self._wanted.items()}
        with torch.enable_grad():
            return self.fn({**self._rest, **live}, x), live

    def pull(self, y: Tensor, live: Params, seeds: Tensor) -> Directions:
        """J^T u for each of the q seeds u (q, n, C); y and its leaves as :meth:`outputs` returned them."""
        if not y.requires_grad:  # no output depends on these parameters
            return {name: p.new_zeros((len(seeds), *p.shape)) for name, p in live.items()}
        seeds = seeds.to(y.dtype)
        leaves = list(live.values())
        if self.reverse == "batched" and len(seeds) > 1:
            try:
                with _quiet():
                    grads = torch.autograd.grad(
                        y, leaves, seeds, retain_graph=True, allow_unused=True, is_grads_batched=True
                    )
                return _dense(live, grads, len(seeds))
            except _FAILURES as error:
                self.reverse = "single"
                _warn("several reverse passes at once", error, "taking one at a time")
        rows = [torch.autograd.grad(y, leaves, seed, retain_graph=True, allow_unused=True) for seed in seeds]
        each = [_dense(live, [g if g is None else g.unsqueeze(0) for g in grads], 1) for grads in rows]
        return {name: torch.cat([one[name] for one in each]) for name in live}

    def push(self, x: Inputs, directions: Directions) -> Tensor:
        """J d for each of the q directions: (q, n, C)."""
        count = len(directions[self.names[0]])
        first: Exception | None = None
        for way in _FORWARD[_FORWARD.index(self.forward) :]:
            if way == "batched" and count == 1:
                continue  # nothing to batch
            try:
                # Fused attention has neither of the derivatives needed here; its definition has both.
                with _quiet(), sdpa_kernel(SDPBackend.MATH), _without_fast_path():
                    moved: Tensor = getattr(self, f"_push_{way}")(x, directions)
                    self._certify(way, x, directions, moved)
            except _FAILURES as error:
                first = first or error
                continue
            if first is not None:
                self.forward = way
                what = "several forward derivatives at once" if way == "single" else "forward derivatives"
                _warn(what, first, "taking one at a time" if way == "single" else "differentiating the reverse pass")
            return moved.detach()
        raise ModelError(
            f"products without the kernel need forward derivatives or second reverse passes, and this model has "
            f"neither: {_reason(first)}. Form the kernel with empirical_ntk, which needs reverse passes only."
        ) from first

    def _certify(self, way: str, x: Inputs, directions: Directions, moved: Tensor) -> None:
        """u.(J d) = (J^T u).d for a random u, once for each way.

        A custom function's forward derivative may be wrong, and one whose backward was not made to be differentiated
        leaves its path out of the double reverse pass in silence.
        """
        if way in self._certified or not bool(moved[0].any()):
            return
        y, live = self.outputs(x)
        u = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(y)
        pulled = self.pull(y, live, u.unsqueeze(0))
        left = float((u.double() * moved[0].detach().double()).sum())
        right = sum(float((pulled[name][0].double() * directions[name][0].double()).sum()) for name in self.names)
        size = float(u.double().norm() * moved[0].detach().double().norm())
        if abs(left - right) > 1e2 * torch.finfo(y.dtype).eps * size:
            raise RuntimeError(
                "a derivative of a custom operation disagrees with its backward, or its backward cannot be "
                "differentiated again"
            )
        self._certified.add(way)

    def _push_batched(self, x: Inputs, directions: Directions) -> Tensor:
        def one(direction: Params) -> Tensor:
            tangent: Tensor = jvp(lambda q: self.fn({**self._rest, **q}, x), (self._wanted,), (direction,))[1]
            return tangent

        out: Tensor = vmap(one, randomness="same")(directions)
        return out

    def _push_single(self, x: Inputs, directions: Directions) -> Tensor:
        rows = []
        for i in range(len(directions[self.names[0]])):
            with forward_ad.dual_level():
                dual = {name: forward_ad.make_dual(p, directions[name][i]) for name, p in self._wanted.items()}
                y, tangent = forward_ad.unpack_dual(self.fn({**self._rest, **dual}, x))
                rows.append(torch.zeros_like(y) if tangent is None else tangent)
        return torch.stack(rows)

    def _push_double(self, x: Inputs, directions: Directions) -> Tensor:
        """The reverse pass is linear in its seed u: the derivative of <J^T u, d> in u is J d."""
        y, live = self.outputs(x)
        count = len(directions[self.names[0]])
        if not y.requires_grad:
            return y.new_zeros((count, *y.shape))
        with torch.enable_grad():
            seed = torch.zeros_like(y, requires_grad=True)
            pulled = torch.autograd.grad(y, list(live.values()), seed, create_graph=True, allow_unused=True)
        reached = {name: g for name, g in zip(live, pulled, strict=True) if g is not None and g.requires_grad}
        rows = []
        for i in range(count):
            along = [directions[name][i] for name in reached]
            rows.append(
                torch.autograd.grad(list(reached.values()), seed, along, retain_graph=True)[0]
                if reached
                else torch.zeros_like(y)
            )
        return torch.stack(rows)


def saved_bytes(fn: ModelFunction, x: Inputs, names: tuple[str, ...]) -> int:
    """Bytes that one example's reverse pass holds on to, parameters apart: the size of what a pass works on."""
    own = {p.untyped_storage().data_ptr() for p in (*fn.params.values(), *fn.frozen.values())}
    seen: dict[int, int] = {}

    def note(t: Tensor) -> Tensor:
        if t.layout == torch.strided and t.untyped_storage().data_ptr() not in own:
            seen[t.data_ptr()] = max(seen.get(t.data_ptr(), 0), t.numel() * t.element_size())
        return t

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        y, _ = Passes(fn, names).outputs(x.rows(slice(0, 1)))
    inputs = sum(t[:1].numel() * t.element_size() for t in x.tensors)
    return sum(seen.values()) + y.numel() * y.element_size() + inputs


def _dense(live: Params, grads: list[Tensor | None] | tuple[Tensor | None, ...], count: int) -> Directions:
    return {
        name: p.new_zeros((count, *p.shape)) if g is None else (g.to_dense() if g.is_sparse else g).to(p.dtype)
        for (name, p), g in zip(live.items(), grads, strict=True)
    }


@contextmanager
def _without_fast_path() -> Iterator[None]:
    """Attention and Transformer layers in eval mode, by their definition and not in one fused call."""
    before = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(before)


@contextmanager
def _quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        # An operation without a batching rule is looped over by torch: slower inside, and nothing to act on.
        warnings.filterwarnings("ignore", message="There is a performance drop", category=UserWarning)
        # The first jvp of a process makes torch import a module that uses a function torch itself has deprecated.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module=r"torch\.")
        yield


def _reason(error: Exception | None) -> str:
    """Torch's own first line, which names the operation."""
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__).rstrip(".")


def _warn(what: str, error: Exception, instead: str) -> None:
    warnings.warn(
        f"the model does not allow {what} ({_reason(error)}); {instead}, which is slower and as exact.",
        FallbackWarning,
        stacklevel=users_line(),
    )
