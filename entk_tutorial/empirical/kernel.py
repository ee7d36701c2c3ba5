r"""The empirical neural tangent kernel of a finite network, exactly."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from entk_tutorial.empirical.assembly import BrokenTapsError, assemble
from entk_tutorial.empirical.costs import demand_of
from entk_tutorial.empirical.errors import FallbackWarning, InputError, ModelError
from entk_tutorial.empirical.functional import (
    Inputs,
    ModelFunction,
    RawInputs,
    as_function,
    check_outputs,
    in_own_context,
)
from entk_tutorial.empirical.planning import Plan, fit_tiles, memory_limit
from entk_tutorial.empirical.reductions import Reduce, Reduction, parse_reduction
from entk_tutorial.empirical.structured import certified_parameters
from entk_tutorial.empirical.structured.shared import FEWEST_CLASSES, RejectedError, SharedFactors

METHODS = ("auto", "jacobian", "structured")


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
            takes rules where they exist and were certified (no rule counts more operations than the Jacobian that it
            stands for), and Jacobians for the rest. All agree to rounding.
        max_bytes: peak extra memory allowed; by default half of what is free. Work is tiled to fit, over examples and
            over outputs; :func:`plan` shows how.
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
    work = torch.float64 if accumulate == "float64" else fn.dtype
    structured = _structured(fn, a, b, method)
    shared = _shared(fn, a, reduction, structured, max_bytes)
    while True:
        the_plan = _plan(fn, a, b, reduction, groups, structured, shared, max_bytes, work)
        try:
            kernels = assemble(fn, a, b, reduction, groups, the_plan, shared, work, progress=progress)
        except RejectedError as rejected:
            assert shared is not None
            shared.reject(rejected)
            continue
        except BrokenTapsError as broken:
            # Routing by value: a layer that saw all probe examples may see only some of a tile.
            structured = {name: kind for name, kind in structured.items() if name not in broken.names}
            shared = _shared(fn, a, reduction, structured, max_bytes)
            warnings.warn(
                f"{', '.join(sorted(broken.names))}: used otherwise here than on the examples that were tried (values "
                "decide where data go), so its rule does not apply; taking Jacobians for it.",
                FallbackWarning,
                stacklevel=3,
            )
            continue
        finished = {group: reduction.finish(k).to(fn.dtype) for group, k in kernels.items()}
        _refuse_non_finite(finished, a.n, None if b is None else b.n)
        return finished["total"] if by is None else finished


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
    """What :func:`empirical_ntk` would do: each parameter's way, operations and bytes, and the tiles.

    One line a parameter: the way that is taken; multiply-adds that way, and with Jacobians; bytes kept
    for one example that way, and with Jacobians. Where a factor that all classes share was certified, it is counted.

    Args:
        model: as for :func:`empirical_ntk`, and so are the others.
        x1: N1 examples.
        x2: N2 examples, or None for ``x1`` again.
        reduce: which reduction.
        by: how the kernel is split.
        max_bytes: peak extra memory allowed.

    Raises:
        The same errors as :func:`empirical_ntk`, before any work is done.

    Example:
        >>> import torch
        >>> print(plan(torch.nn.Linear(3, 2), torch.ones(4, 3), max_bytes=10**6))
        parameter  way            operations    Jacobian       kept   Jacobian
        weight     tokens                 70         168     28.0 B     48.0 B
        bias       rows                   40          56     16.0 B     16.0 B
        all                              110         224
        by rule: weight, bias
        by Jacobian: none
        tiles of 4 examples and 2 outputs; tiles are kept
        result 64.0 B, work 640.0 B, limit 976.6 KiB

    Chapter: book/microscope/computing-entk.
    """
    fn, a, b, reduction = _prepare(model, x1, x2, reduce)
    structured = _structured(fn, a, b, "auto")
    shared = _shared(fn, a, reduction, structured, max_bytes)
    return _plan(fn, a, b, reduction, _groups(fn, by), structured, shared, max_bytes, fn.dtype)


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


def _refuse_non_finite(kernels: dict[str, Tensor], n1: int, n2: int | None) -> None:
    """Raise with the examples whose rows or columns are NaN or infinite; ``n2`` is None for one set of inputs."""
    for group, k in kernels.items():
        if bool(torch.isfinite(k.sum())):
            continue  # and nothing of the kernel's size was allocated; a sum may overflow where no entry does
        bad = ~torch.isfinite(k)
        if not bool(bad.any()):
            continue
        sides = [("x1", bad.flatten(1).float().mean(1).reshape(n1, -1).amax(1))]
        if n2 is not None:
            sides.append(("x2", bad.movedim(1, 0).flatten(1).float().mean(1).reshape(n2, -1).amax(1)))
        # A bad example spoils its whole row; a good one only the columns of bad ones.
        name, share = max(sides, key=lambda side: float(side[1].max()))
        which = (share == share.max()).nonzero().flatten().tolist()
        more = f" and {len(which) - 5} more" if len(which) > 5 else ""
        raise ModelError(
            f"the kernel ({group or 'root'}) holds {int(bad.sum())} entries that are NaN or infinite, at examples "
            f"{', '.join(map(str, which[:5]))}{more} of {name}: an output or a derivative is not finite there (log or "
            "sqrt of 0?), or it overflows this dtype. Leave these examples out, or keep the model away from the pole "
            "(an epsilon under the root)."
        )


def _groups(fn: ModelFunction, by: str | None) -> dict[str, str]:
    """Parameter name -> name of the group it is added to."""
    rule: dict[str | None, Callable[[str], str]] = {
        None: lambda name: "total",
        "layer": fn.layer_of,
        "parameter": lambda name: name,
    }
    return {name: rule[by](name) for name in fn.params}


def _structured(fn: ModelFunction, a: Inputs, b: Inputs | None, method: str) -> dict[str, str]:
    """Parameters that go by rule, name -> kind."""
    structured = {} if method == "jacobian" else certified_parameters(fn, a)
    if structured and b is not None:  # one example alone cannot show which axis is the batch: ask the other inputs, too
        also = certified_parameters(fn, b)
        structured = {name: kind for name, kind in structured.items() if also.get(name) == kind}
    general = [name for name in fn.params if name not in structured]
    if method == "structured" and general:
        raise ModelError(
            f"method='structured': no certified rule for {', '.join(general)}; rules cover linear, embedding, "
            "convolution, normalisation and attention layers, and parameters in einsum, matmul, indexing, sums and "
            "products with a batch of examples, but no functions of a parameter alone. Take method='auto'."
        )
    return structured


def _shared(
    fn: ModelFunction, a: Inputs, reduction: Reduction, structured: dict[str, str], max_bytes: int | None
) -> SharedFactors | None:
    """What is known of factors that all classes share, where there are enough classes for it to pay."""
    if not structured or reduction.name != "trace" or reduction.count < FEWEST_CLASSES:
        return None
    most = memory_limit(max_bytes, fn.device) // 16 // (torch.finfo(fn.dtype).bits // 8)
    return SharedFactors(fn, structured, a, reduction.count, most)


def _plan(
    fn: ModelFunction,
    a: Inputs,
    b: Inputs | None,
    reduction: Reduction,
    groups: dict[str, str],
    structured: dict[str, str],
    shared: SharedFactors | None,
    max_bytes: int | None,
    work: torch.dtype,
) -> Plan:
    demand, parameters = demand_of(fn, a, b, reduction, structured, shared, work, n_groups=len(set(groups.values())))
    tile, classes, hold, tile_bytes, limit = fit_tiles(demand, max_bytes=max_bytes, device=fn.device)
    general = tuple(name for name in fn.params if name not in structured)
    return Plan(structured, general, tile, classes, hold, demand.result_bytes, tile_bytes, limit, parameters)
