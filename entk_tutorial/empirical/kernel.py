r"""The empirical neural tangent kernel of a finite network, exactly."""

from __future__ import annotations

import importlib
import math
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from tqdm import tqdm

from entk_tutorial.empirical.errors import FallbackWarning, InputError, ModelError
from entk_tutorial.empirical.functional import (
    Inputs,
    ModelFunction,
    RawInputs,
    as_function,
    check_outputs,
    in_own_context,
)
from entk_tutorial.empirical.jacobian import projected_jacobian
from entk_tutorial.empirical.planning import Plan, fit_tiles
from entk_tutorial.empirical.reductions import Reduce, Reduction, contract, parse_reduction
from entk_tutorial.empirical.structured import (
    LAYER_KINDS,
    TOKEN_GRAM_LIMIT,
    JointFactors,
    ParameterTap,
    Tap,
    certified_parameters,
    factors_of,
    record,
    rule_operations,
)

METHODS = ("auto", "jacobian", "structured")
Tile = dict[str, JointFactors | Tensor]


@in_own_context
def empirical_ntk(
    model: nn.Module | ModelFunction,
    x1: RawInputs,
    x2: RawInputs | None = None,
    *,
    reduce: Reduce = "trace",
    by: str | None = None,
    method: str = "auto",
    max_bytes: int | None = None,
    accumulate: str = "native",
    progress: bool = False,
    backend: Any = None,
) -> Tensor | dict[str, Tensor]:
    r"""Empirical neural tangent kernel between two sets of inputs.

    .. math:: K_{nc, n'c'} = \sum_i \frac{\partial f_c(x_n)}{\partial\theta_i}
              \frac{\partial f_{c'}(x'_{n'})}{\partial\theta_i}

    summed over all parameters that require a gradient. Sums and means are exactly as named:

    ================  ================  =====================================================================
    ``reduce``        shape             meaning
    ================  ================  =====================================================================
    ``"full"``        (N1, N2, C, C)    every entry
    ``"flat"``        (N1 C, N2 C)      the same as a matrix, sample-major: row n C + c
    ``"trace"``       (N1, N2)          *sum* over c of K[..., c, c]; the mean over classes is trace / C
    ``"mean_logit"``  (N1, N2)          mean over all (c, c'): the kernel of the mean output
    ``(c, d)``        (N1, N2)          one entry of the class block
    ================  ================  =====================================================================

    Args:
        model: an ``nn.Module`` with outputs (N, C), or :func:`functional`. Its mode and buffers are left as they are.
        x1: N1 examples: a tensor (N1, ...), or a tuple (``model(*x)``) or dict (``model(**x)``) of tensors.
        x2: N2 examples, or None for ``x1`` again, which halves the work.
        reduce: see above.
        by: None for one tensor; ``"layer"`` for a dict keyed by the module that directly owns the parameter (``""`` is
            the root), ``"parameter"`` for a dict by parameter name. The values add up to the total. A tied parameter
            is one parameter, under its first name, cross terms included.
        method: ``"jacobian"`` forms per-example Jacobians; ``"structured"`` insists on contraction rules; ``"auto"``
            takes rules where they exist and were certified, and Jacobians for the rest. All agree to rounding.
        max_bytes: peak extra memory allowed; by default half of what is free. Work is tiled to fit.
        accumulate: ``"native"``, or ``"float64"`` to multiply and add in double precision.
        progress: show a bar over the tiles on stderr.
        backend: None for this process; a ``distributed.Client``, ``"local"``, a number of local processes, or the
            address of a scheduler: see :func:`entk_tutorial.distributed.connect`. ``max_bytes`` then holds for each
            worker.

    Returns:
        Tensor, or dict of tensors, detached, in the parameters' dtype and on their device.

    Raises:
        ModelError: outputs that are not (N, C), active dropout, batch statistics, examples that influence each other,
            non-finite parameters; for ``method="structured"`` also parameters without a rule.
        InputError: N = 0, axes or devices that differ, non-finite inputs.
        MemoryPlanError: if it cannot fit, before anything large is allocated.
        BackendError: a cluster that does not answer, or whose workers lack this package.
        ValueError: an unknown ``reduce``, ``by``, ``method`` or ``accumulate``.

    Example:
        >>> import torch
        >>> layer = torch.nn.Linear(2, 3, bias=False).double()
        >>> x = torch.tensor([[1.0, 2.0], [3.0, 4.0]], dtype=torch.float64)
        >>> bool(torch.equal(empirical_ntk(layer, x), 3 * x @ x.T))      # each of 3 outputs has gradient x
        True

    Source: [Jacot 2018]; contraction of layer inputs and cotangents: [Novak 2022].
    Chapter: book/microscope/computing-entk.
    """
    _check_choice("method", method, METHODS)
    _check_choice("accumulate", accumulate, ("native", "float64"))
    if by not in (None, "layer", "parameter"):
        raise ValueError(f"by={by!r} is unknown; expected None, 'layer' or 'parameter'.")
    if backend is not None:
        # By name: that room builds on this one, and its workers call this function.
        blocks = importlib.import_module("entk_tutorial.distributed.blocks")
        options = {"reduce": reduce, "by": by, "method": method, "accumulate": accumulate, "max_bytes": max_bytes}
        gathered: Tensor | dict[str, Tensor] = blocks.gathered_ntk(model, x1, x2, backend, progress=progress, **options)
        return gathered
    fn, a, b, reduction = _prepare(model, x1, x2, reduce)
    groups = _groups(fn, by)
    without_rule: set[str] = set()
    while True:
        the_plan = _plan(fn, a, b, reduction, groups, method, max_bytes, accumulate, without_rule)
        work = torch.float64 if accumulate == "float64" else fn.dtype
        try:
            kernels = _assemble(fn, a, b, reduction, groups, the_plan, work, progress=progress)
        except _BrokenTapsError as broken:
            # Routing by value: a layer that saw all probe examples may see only some of a tile.
            without_rule |= broken.names
            warnings.warn(
                f"{', '.join(sorted(broken.names))}: the layer does not see every example of a batch, so its rule does "
                "not apply; taking Jacobians for it.",
                FallbackWarning,
                stacklevel=3,
            )
            continue
        return kernels["total"] if by is None else kernels


class _BrokenTapsError(Exception):
    """A layer with a certified rule saw another batch than the one it was given."""

    def __init__(self, names: set[str]) -> None:
        super().__init__(names)
        self.names = names


def _assemble(
    fn: ModelFunction,
    a: Inputs,
    b: Inputs | None,
    reduction: Reduction,
    groups: dict[str, str],
    the_plan: Plan,
    work: torch.dtype,
    *,
    progress: bool,
) -> dict[str, Tensor]:
    """Add up the products of all pairs of tiles, group by group."""
    symmetric = b is None and reduction.symmetric
    second = a if b is None else b
    axes = (a.n, second.n) if reduction.paired else (a.n, len(reduction.left), second.n, len(reduction.right))
    out = {g: torch.zeros(axes, dtype=work, device=fn.device) for g in groups.values()}
    pairs = list(_tile_pairs(a.n, second.n, the_plan.tile, symmetric=symmetric))
    held: tuple[slice | None, Tile] = (None, {})
    for rows, columns in tqdm(pairs, desc="kernel tiles", disable=not progress, leave=False):
        if held[0] != rows:
            held = (rows, _tile(fn, a.rows(rows), reduction.left, the_plan, work))
        left = held[1]
        same = b is None and rows == columns and reduction.symmetric
        right = left if same else _tile(fn, second.rows(columns), reduction.right, the_plan, work)
        for name, group in groups.items():
            if name not in left or name not in right:
                continue  # a parameter that the outputs do not depend on
            block = _products(left[name], right[name], reduction)
            if block is None:
                continue  # none of these outputs depends on it
            target = out[group]
            index = (rows, columns) if reduction.paired else (rows, slice(None), columns, slice(None))
            mirror = block.T if reduction.paired else block.permute(2, 3, 0, 1)
            if symmetric and rows == columns:
                block = (block + mirror).div_(
                    2
                )  # matrix products are symmetric to rounding only; the result is exactly
            target[index] += block
            if symmetric and rows != columns:
                target[(columns, rows) if reduction.paired else (columns, slice(None), rows, slice(None))] += mirror
    finished = {g: reduction.finish(k).to(fn.dtype) for g, k in out.items()}
    _refuse_non_finite(finished)
    return finished


@in_own_context
def plan(
    model: nn.Module | ModelFunction,
    x1: RawInputs,
    x2: RawInputs | None = None,
    *,
    reduce: Reduce = "trace",
    by: str | None = None,
    max_bytes: int | None = None,
) -> Plan:
    """What :func:`empirical_ntk` would do: which parameters go by rule, the tiles, and the bytes.

    Raises:
        The same errors as :func:`empirical_ntk`, before any work is done.

    Example:
        >>> import torch
        >>> print(plan(torch.nn.Linear(3, 2), torch.ones(4, 3), max_bytes=10**6))
        by rule: weight, bias
        by Jacobian: none
        tiles of 4 examples; result 64.0 B, work 1.0 KiB, limit 976.6 KiB

    Chapter: book/microscope/computing-entk.
    """
    fn, a, b, reduction = _prepare(model, x1, x2, reduce)
    return _plan(fn, a, b, reduction, _groups(fn, by), "auto", max_bytes, "native", set())


def _check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    if value not in choices:
        raise ValueError(f"{name}={value!r} is unknown; expected one of {', '.join(map(repr, choices))}.")


def _prepare(
    model: nn.Module | ModelFunction, x1: RawInputs, x2: RawInputs | None, reduce: Reduce
) -> tuple[ModelFunction, Inputs, Inputs | None, Reduction]:
    fn = as_function(model)
    a = Inputs(x1, "x1")
    b = None if x2 is None else Inputs(x2, "x2")
    n_outputs = check_outputs(fn, a)
    if b is not None and check_outputs(fn, b) != n_outputs:
        raise InputError("the model returns different numbers of outputs for x1 and x2; their kernel is not defined.")
    return fn, a, b, parse_reduction(reduce, n_outputs, dtype=fn.dtype, device=fn.device)


def _refuse_non_finite(kernels: dict[str, Tensor]) -> None:
    for group, k in kernels.items():
        if bool(torch.isfinite(k.sum())):
            continue  # and nothing of the kernel's size was allocated; a sum may overflow where no entry does
        if not bool(torch.isfinite(k).all()):
            count = int((~torch.isfinite(k)).sum())
            raise ModelError(
                f"the kernel ({group or 'root'}) holds {count} entries that are NaN or infinite: an output or a "
                "derivative is not finite on some examples (log or sqrt of 0?), or it overflows this dtype."
            )


def _groups(fn: ModelFunction, by: str | None) -> dict[str, str]:
    """Parameter name -> name of the group it is added to."""
    rule: dict[str | None, Callable[[str], str]] = {
        None: lambda name: "total",
        "layer": fn.layer_of,
        "parameter": lambda name: name,
    }
    return {name: rule[by](name) for name in fn.params}


def _plan(
    fn: ModelFunction,
    a: Inputs,
    b: Inputs | None,
    reduction: Reduction,
    groups: dict[str, str],
    method: str,
    max_bytes: int | None,
    accumulate: str,
    without_rule: set[str],
) -> Plan:
    structured = {} if method == "jacobian" else certified_parameters(fn, a)
    structured = {name: kind for name, kind in structured.items() if name not in without_rule}
    if structured and b is not None:  # one example alone cannot show which axis is the batch: ask the other inputs, too
        also = certified_parameters(fn, b)
        structured = {name: kind for name, kind in structured.items() if also.get(name) == kind}
    general = tuple(name for name in fn.params if name not in structured)
    if method == "structured" and general:
        raise ModelError(
            f"method='structured': no certified rule for {', '.join(general)}; rules cover the weights and biases of "
            "Linear and Embedding layers used in the ordinary way, and parameters in einsum, matmul, F.linear, "
            "indexing, sums and products with a batch whose first axis counts the examples. Take method='auto'."
        )
    size = 8 if accumulate == "float64" else torch.finfo(fn.dtype).bits // 8
    outputs = max(len(reduction.left), len(reduction.right))
    second = a if b is None else b
    block = 1 if reduction.paired else len(reduction.left) * len(reduction.right)
    token_pairs = 0
    per_example = 3 * outputs * sum(fn.params[name].numel() for name in general) * size
    if structured:
        y, taps, _ = record(fn, a.rows(slice(0, 1)), structured)
        seen = {id(t): t for ts in taps.values() for t in ts}
        leaves = {id(t.leaf): t.leaf for t in seen.values()}
        per_example += size * (3 * outputs * sum(leaf.numel() for leaf in leaves.values()) + y.numel())
        per_example += 3 * size * sum(t.source.numel() for t in seen.values())
        written, token_pairs = _rule_elements(fn, structured, taps, reduction, second.n)
        per_example += 2 * written * size
    return fit_tiles(
        structured=structured,
        general=general,
        n=max(a.n, second.n),
        bytes_per_example=per_example,
        bytes_per_pair=3 * size * block,
        bytes_per_token_gram=2 * size * token_pairs,
        token_gram_cap=2 * size * TOKEN_GRAM_LIMIT,
        result_bytes=len(set(groups.values())) * a.n * second.n * block * size,
        copy_bytes=a.n * second.n * block * size if reduction.name == "full" else 0,
        max_bytes=max_bytes,
        device=fn.device,
    )


def _rule_elements(
    fn: ModelFunction, structured: dict[str, str], taps: dict[str, list[Tap]], reduction: Reduction, n: int
) -> tuple[int, int]:
    """Largest temporaries of the rules: gradients written down for one example, token pairs of one pair of examples."""
    written, token_pairs = 0, 0
    outputs = max(len(reduction.left), len(reduction.right))
    for name, kind in structured.items():
        mine = taps.get(name, [])
        bare = kind not in LAYER_KINDS
        if kind == "bias" or not mine:
            continue
        for tap in mine if bare else mine[:1]:
            if tap.kind == "bias":
                written = max(written, outputs * fn.params[name].numel())
                continue
            size = tuple(tap.positions.shape) if isinstance(tap, ParameterTap) else tuple(fn.params[name].shape)
            alike = (
                [t for t in mine if not bare or t.cotangent(None).shape[-1] == size[0]]
                if tap.kind == "linear"
                else mine
            )
            tokens = sum(t.cotangent(None).shape[1] for t in alike)
            g = (n, outputs, tokens, tap.cotangent(None).shape[-1])
            by_token, by_row = rule_operations(tap.kind, g, g, size, paired=reduction.paired)
            if by_row < by_token:
                written = max(written, (1 if reduction.paired else outputs) * math.prod(size))
            if (by_token <= by_row or bare) and reduction.paired:
                token_pairs = max(token_pairs, tokens * tokens)
    return written, token_pairs


def _tile_pairs(n1: int, n2: int, tile: int, *, symmetric: bool) -> Iterator[tuple[slice, slice]]:
    for i in range(0, n1, tile):
        for j in range(i if symmetric else 0, n2, tile):
            yield slice(i, min(i + tile, n1)), slice(j, min(j + tile, n2))


def _tile(fn: ModelFunction, x: Inputs, projection: Tensor, the_plan: Plan, work: torch.dtype) -> Tile:
    """Factors, or Jacobians (n, A, P), of every parameter on one tile of examples."""
    tile: Tile = {}
    if the_plan.structured:
        y, taps, broken = record(fn, x, the_plan.structured)
        if broken & set(the_plan.structured):
            raise _BrokenTapsError(broken & set(the_plan.structured))
        used = {id(t): t for name in the_plan.structured for t in taps.get(name, [])}
        g: dict[int, list[Tensor]] = {key: [] for key in used}
        leaves = {id(t.leaf): t.leaf for t in used.values()}
        for row in projection if used and y.requires_grad else ():
            seed = row.to(y.dtype).expand_as(y)  # not a projected y: under no_grad that would have no graph
            grads = torch.autograd.grad(y, list(leaves.values()), seed, retain_graph=True, allow_unused=True)
            by_leaf = dict(zip(leaves, grads, strict=True))
            for key, tap in used.items():
                g[key].append(tap.cotangent(by_leaf[id(tap.leaf)]))
        stacked = {key: torch.stack(values, 1) for key, values in g.items() if values}
        for name, kind in the_plan.structured.items():
            mine = [t for t in taps.get(name, []) if id(t) in stacked]
            if mine:
                tile[name] = factors_of(name, kind, mine, stacked, tuple(fn.params[name].shape), work)
    if the_plan.general:
        jacobians = projected_jacobian(fn, x, projection, the_plan.general)
        tile.update({name: j.reshape(*j.shape[:2], -1).to(work) for name, j in jacobians.items()})
    return tile


def _products(left: JointFactors | Tensor, right: JointFactors | Tensor, reduction: Reduction) -> Tensor | None:
    if isinstance(left, JointFactors) and isinstance(right, JointFactors):
        return left.products(right, paired=reduction.paired)
    assert isinstance(left, Tensor) and isinstance(right, Tensor)
    return contract(left, right, paired=reduction.paired)
