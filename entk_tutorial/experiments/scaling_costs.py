r"""What a tangent kernel costs, counted: operations and bytes of three ways at modulus p, and of a language model.

An operation is a multiplication or an addition; a number takes four bytes. Chapter: book/beyond/scaling-up.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence

NUMBER = 4
"""Bytes of a number in single precision."""


def modular_costs(p: int, hidden: int, *, train_fraction: float = 0.7, basis: int = 3) -> dict[str, dict[str, float]]:
    r"""Operations and bytes of the modular MLP's trace kernel on all :math:`N = p^2` pairs, leading terms only.

    Args:
        p: modulus; C = p classes.
        hidden: H.
        train_fraction: share of the pairs in a training step.
        basis: block Krylov holds this many times the 4p + 8 vectors asked for.

    Returns:
        dict: way -> ``{"operations", "bytes"}``:

        * ``"training step"``: three matrix products of p x H numbers a pair;
        * ``"table, class by class"``: the second layer once, the first for each of the p classes, half by symmetry;
        * ``"table, shared factor"``: one product of the N x H factors a layer;
        * ``"products"``: 4p + 8 leading eigenpairs by block Krylov: products with four p x p tables and the N x H
          factor, and orthogonalisation twice against all that came before.

    Example:
        >>> at = {p: modular_costs(p, 18 * (p - 1))["table, shared factor"]["operations"] for p in (1001, 2001)}
        >>> round(math.log2(at[2001] / at[1001]), 2)            # H grows with p: exponent 5
        5.0
    """
    n, vectors = p * p, basis * (4 * p + 8)
    pairs = train_fraction * n
    product = 2 * (4 * p**3 + 2 * n * hidden)
    return {
        "training step": {"operations": 6 * pairs * p * hidden, "bytes": NUMBER * 3 * hidden * 3 * p},
        "table, class by class": {"operations": n * n * hidden * (p + 1), "bytes": NUMBER * (2 * n * n + n * hidden)},
        "table, shared factor": {"operations": 2 * n * n * hidden, "bytes": NUMBER * 2 * (n * n + n * hidden)},
        "products": {
            "operations": vectors * product + 4 * n * vectors**2,
            "bytes": NUMBER * (n * hidden + 2 * n * vectors),
        },
    }


def transformer_parameters(layers: int, width: int, vocabulary: int, context: int) -> int:
    """Parameters of a GPT-2-like model: tied embedding, positions, 12 d^2 + 13 d a layer, and a last LayerNorm.

    Example:
        >>> transformer_parameters(12, 768, 50257, 1024)      # the published "small" sizes
        124439808
    """
    return (vocabulary + context) * width + layers * (12 * width**2 + 13 * width) + 2 * width


def language_model_costs(
    n: int, outputs: int, parameters: int, tokens: int, *, directions: int, dimension: int
) -> dict[str, dict[str, float]]:
    r"""Operations and bytes of the kernel of a language model on n texts, by what is asked of it.

    Assumptions: a forward pass takes 2 operations a parameter and token, a reverse pass twice that; attention scores
    are left out; a kernel entry takes 2P operations a pair of gradients, half of them by symmetry. Outputs are the
    logits at the last position.

    Args:
        n: texts.
        outputs: C, the vocabulary.
        parameters: P.
        tokens: T, of each text.
        directions: r, random mixtures of the outputs.
        dimension: d, numbers that a gradient is projected to.

    Returns:
        dict: way -> ``{"operations", "bytes"}``, bytes being what must be held at once if nothing is computed twice.

    Example:
        >>> costs = language_model_costs(10, 100, 1000, 5, directions=2, dimension=20)
        >>> costs["trace, exact"]["bytes"] / costs["one output"]["bytes"]      # C gradients a text instead of one
        100.0
    """
    reverse = 4.0 * parameters * tokens
    out = {}
    for way, each in (("one output", 1), ("trace, r mixtures", directions), ("trace, exact", outputs)):
        gradients = float(n * each)
        products = float(n * n * each * parameters)
        out[way] = {"operations": gradients * reverse + products, "bytes": NUMBER * gradients * parameters}
    gradients = float(n * directions)
    out["trace, r mixtures, projected"] = {
        "operations": gradients * (reverse + 2.0 * parameters * dimension) + n * n * directions * dimension,
        "bytes": NUMBER * gradients * dimension,
    }
    flat = float(n * outputs)
    out["flat, exact"] = {"operations": flat * reverse + flat * flat * parameters, "bytes": NUMBER * flat * flat}
    return out


def processor_seconds(call: Callable[[], object], repeats: int = 3) -> float:
    """Least processor time of a few calls: on a busy machine the clock on the wall measures the others.

    Raises:
        ValueError: fewer than one repeat.
    """
    if repeats < 1:
        raise ValueError(f"repeats={repeats}; at least one call is needed.")
    times = []
    for _ in range(repeats):
        start = time.process_time()
        call()
        times.append(time.process_time() - start)
    return min(times)


def fitted_exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the best line through log cost against log size.

    Raises:
        ValueError: fewer than two sizes, lengths that differ, or numbers that are not positive.

    Example:
        >>> round(fitted_exponent([1, 2, 4], [3, 24, 192]), 6)
        3.0
    """
    if len(sizes) != len(costs) or len(set(sizes)) < 2 or min(*sizes, *costs) <= 0:
        raise ValueError(f"sizes={list(sizes)}, costs={list(costs)}: two or more sizes, and positive numbers, please.")
    x, y = [math.log(s) for s in sizes], [math.log(c) for c in costs]
    mean_x, mean_y = sum(x) / len(x), sum(y) / len(y)
    slope = sum((a - mean_x) * (b - mean_y) for a, b in zip(x, y, strict=True))
    return slope / sum((a - mean_x) ** 2 for a in x)
