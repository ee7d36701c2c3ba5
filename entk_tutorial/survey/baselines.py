"""What a kernel must beat: the layer's own activations, by principal components or in random directions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from entk_tutorial.empirical.errors import InputError, ModelError
from entk_tutorial.empirical.functional import Inputs, RawInputs, in_own_context
from entk_tutorial.features.alignment import orthonormal_basis
from entk_tutorial.survey.readout import Select, chosen, pooled


@in_own_context
def layer_activations(
    model: nn.Module,
    x: RawInputs,
    modules: Mapping[str, str],
    *,
    select: Select = None,
    pool: str | None = "mean",
    mask: str | int | None = None,
    batch_size: int = 64,
    progress: bool = False,
) -> dict[str, Tensor]:
    """What modules put out on each input, pooled over tokens: (N, H) each, by forward hooks.

    Args:
        model: the module that is called; its mode is left as it is.
        x: inputs as for :func:`~entk_tutorial.empirical_ntk`.
        modules: name -> path of a module inside ``model``, as in ``named_modules()``.
        select: what to take of a module's output; None for the output itself, or the first entry of a tuple.
        pool: for outputs (N, T, H); outputs (N, H) are taken as they are, others flattened.
        mask: name of the input that is 0 at padding.
        batch_size: inputs a forward pass.
        progress: show a bar on stderr.

    Raises:
        ModelError: no module of that name, one that is not called, or called more than once a pass; active dropout.
        InputError: no inputs, or inputs that do not fit together.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> layer_activations(net, torch.ones(5, 2), {"hidden": "1"})["hidden"].shape
        torch.Size([5, 3])

    Chapter: book/beyond/your-own-model
    """
    inputs, known = Inputs(x), dict(model.named_modules())
    for name, path in modules.items():
        if path not in known:
            raise ModelError(f"{name!r}: no module is called {path!r}; named_modules() has {_some(known)}.")
    active = [n for n, m in known.items() if m.training and getattr(m, "p", 0) and "Dropout" in type(m).__name__]
    if active:
        raise ModelError(f"{active[0]} drops units at random in training mode; call model.eval() first.")
    caught: dict[str, list[Any]] = {name: [] for name in modules}
    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    with ExitStack() as stack:
        for name, path in modules.items():
            handle = known[path].register_forward_hook(lambda _, __, out, name=name: caught[name].append(out))
            stack.callback(handle.remove)
        starts = range(0, inputs.n, batch_size)
        for start in tqdm(starts, desc="activations", disable=not progress, leave=False):
            part = inputs.rows(slice(start, start + batch_size))
            args, kwargs = part.arguments(tuple(t.clone() for t in part.tensors))
            with torch.no_grad():
                model(*args, **kwargs)
            for name, outs in caught.items():
                if len(outs) != 1:
                    raise ModelError(f"{modules[name]!r} was called {len(outs)} times in one pass; once is expected.")
                found[name].append(_matrix(outs.pop(), select, pool, mask, args, kwargs, part.n))
    return {name: torch.cat(parts) for name, parts in found.items()}


def layer_cotangents(
    model: nn.Module, x: RawInputs, modules: Mapping[str, str], *, batch_size: int = 64, progress: bool = False
) -> dict[str, Tensor]:
    """What comes back to modules: the gradient of every output with respect to what they put out, (N, C H) each.

    The gradient is summed over tokens. A layer's kernel is made of products of its inputs and these; comparing both
    with it says which of the two a feature comes from.

    Args:
        model: a module with (N, C) outputs, such as :func:`~entk_tutorial.survey.readout` makes.
        x: inputs as for :func:`~entk_tutorial.empirical_ntk`.
        modules: name -> path of a module inside ``model``; inside a ``Readout`` paths begin with ``model.``
        batch_size: inputs a pass.
        progress: show a bar on stderr.

    Raises:
        ModelError: no module of that name, or one whose output is no tensor, or that no output depends on.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1, bias=False))
        >>> back = layer_cotangents(net, torch.ones(5, 2), {"first": "0"})["first"]
        >>> bool(torch.equal(back, net[1].weight.expand(5, 3)))      # the gradient of w.h is w
        True

    Chapter: book/beyond/your-own-model
    """
    inputs, known = Inputs(x), dict(model.named_modules())
    for name, path in modules.items():
        if path not in known:
            raise ModelError(f"{name!r}: no module is called {path!r}; named_modules() has {_some(known)}.")
    outs: dict[str, Any] = {}

    def keep(name: str, out: Any) -> None:
        outs[name] = out[0] if isinstance(out, tuple) else out

    found: dict[str, list[Tensor]] = {name: [] for name in modules}
    with ExitStack() as stack:
        for name, path in modules.items():
            handle = known[path].register_forward_hook(lambda _, __, out, name=name: keep(name, out))
            stack.callback(handle.remove)
        starts = range(0, inputs.n, batch_size)
        for start in tqdm(starts, desc="cotangents", disable=not progress, leave=False):
            part = inputs.rows(slice(start, start + batch_size))
            args, kwargs = part.arguments(tuple(t.clone() for t in part.tensors))
            with torch.enable_grad():
                y = model(*args, **kwargs)
            for name in modules:
                if not isinstance(outs.get(name), Tensor) or not outs[name].requires_grad:
                    raise ModelError(f"{modules[name]!r} puts out nothing that a gradient reaches.")
            columns: dict[str, list[Tensor]] = {name: [] for name in modules}
            for c in range(y.shape[1]):
                wanted = [outs[name] for name in modules]
                grads = torch.autograd.grad(y[:, c].sum(), wanted, retain_graph=True, allow_unused=True)
                for name, g in zip(modules, grads, strict=True):
                    if g is None:
                        raise ModelError(f"no output depends on what {modules[name]!r} puts out.")
                    columns[name].append(g.sum(1) if g.ndim == 3 else g.reshape(part.n, -1))
            for name in modules:
                found[name].append(torch.cat(columns[name], 1).detach())
    return {name: torch.cat(parts) for name, parts in found.items()}


def _matrix(
    out: Any,
    select: Select,
    pool: str | None,
    mask: str | int | None,
    args: tuple[Tensor, ...],
    kwargs: dict[str, Tensor],
    n: int,
) -> Tensor:
    value = chosen(out, 0 if select is None and isinstance(out, tuple) else select)
    if not isinstance(value, Tensor) or value.shape[:1] != (n,):
        raise InputError(f"a module puts out {type(value).__name__}; a tensor (N, ...) is expected: use select=...")
    if value.ndim == 3 and pool is not None:
        value = pooled(value, pool, mask, args, kwargs)
    return value.detach().reshape(n, -1)


def _some(names: Mapping[str, object]) -> str:
    listed = [n for n in names if n]
    return ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")


def random_readouts(values: Tensor, d: int, *, seed: int = 0) -> Tensor:
    """An orthonormal basis of d random linear functions of the values: (N, d), centred.

    A direction of activation space that nobody chose still shows whatever dominates the activations; noise in place of
    activations would be too easy to beat.

    Args:
        values: (N, H), e.g. activations.
        d: how many directions; at most the rank of the centred values.
        seed: of the private generator.

    Raises:
        ValueError: d outside [1, rank].

    Example:
        >>> random_readouts(torch.eye(4), 2).shape
        torch.Size([4, 2])
    """
    generator = torch.Generator().manual_seed(seed)
    v = values.detach().double().cpu()
    v = v - v.mean(0)
    basis = v @ torch.randn(v.shape[1], max(d, 1), generator=generator, dtype=torch.float64)
    out = orthonormal_basis(basis, center=False)
    if out.shape[1] != d:
        raise ValueError(f"d={d}; the centred values have only {out.shape[1]} directions. Ask for at most that.")
    return out
