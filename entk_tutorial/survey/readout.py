r"""From whatever a model returns to (N, C) outputs that a kernel can be taken of.

An encoder returns vectors, one a token or one an input, in a basis without meaning. The kernel summed over all d output
dimensions does not depend on the basis, and costs d backward passes. With A random directions :math:`r_a` of
independent normal entries of variance 1/A,

.. math:: \mathbb E \sum_a K_{r_a r_a} = \sum_a \mathbb E\, r_a^\top K r_a = \sum_c K_{cc},

so A passes give it without bias; how well, two sets of directions tell (:func:`projector_distance`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from entk_tutorial.empirical.errors import InputError, ModelError
from entk_tutorial.empirical.functional import Inputs, RawInputs

Select = str | int | Callable[[Any], Tensor] | None
POOLS = (None, "mean", "first", "last")


class Readout(nn.Module):
    """A model with one (N, C) output; make it with :func:`readout`.

    Attributes:
        model: the model inside, whose parameters are differentiated.
        directions: (d, A) projection of the output, or None for all d outputs.
    """

    directions: Tensor | None

    def __init__(
        self, model: nn.Module, select: Select, pool: str | None, mask: str | int | None, normalise: bool
    ) -> None:
        super().__init__()
        self.model, self.select, self.pool, self.mask, self.normalise = model, select, pool, mask, normalise
        self.register_buffer("directions", None)
        self.train(model.training)

    def forward(self, *args: Tensor, **kwargs: Tensor) -> Tensor:
        """(N, C): the chosen output, pooled over tokens, normalised and projected, as asked."""
        out = pooled(chosen(self.model(*args, **kwargs), self.select), self.pool, self.mask, args, kwargs)
        if self.normalise:
            out = nn.functional.normalize(out, dim=-1)
        return out if self.directions is None else out @ self.directions.to(out.dtype)


def readout(
    model: nn.Module,
    x: RawInputs,
    *,
    select: Select = None,
    pool: str | None = None,
    mask: str | int | None = None,
    normalise: bool = False,
    directions: int | Tensor | None = None,
    seed: int = 0,
) -> Readout:
    """Wrap a model so that it has one (N, C) output; checked on two examples.

    Args:
        model: any module; it is not changed.
        x: inputs as for :func:`~entk_tutorial.empirical_ntk`; two of them are tried.
        select: what to take of the output: a key or attribute, a position, or a function; None for the output itself.
        pool: what to do with a token axis (N, T, d): ``"mean"``, ``"first"`` or ``"last"``; None if there is none.
        mask: name (or position) of the input that is 0 at padding; ``"mean"`` and ``"last"`` then leave padding out.
        normalise: divide the vector by its length, as sentence encoders do.
        directions: None for all outputs; a number A of random directions, for an unbiased trace over all of them; or a
            (d, A) tensor of one's own.
        seed: of the random directions.

    Raises:
        ModelError: an output that these options do not turn into (N, C), or parameters in half precision.
        ValueError: an unknown pool, or no direction.

    Example:
        >>> x = torch.randn(5, 3, 4)
        >>> readout(nn.Linear(4, 6), x, pool="mean", directions=2)(x).shape
        torch.Size([5, 2])

    Chapter: book/beyond/your-own-model
    """
    if pool not in POOLS:
        raise ValueError(f"pool={pool!r} is unknown; expected one of {POOLS}.")
    refuse_half_precision(model)
    wrapped = Readout(model, select, pool, mask, normalise)
    inputs = Inputs(x)
    args, kwargs = inputs.rows(slice(0, min(2, inputs.n))).arguments()
    with torch.no_grad():
        try:
            y = wrapped(*args, **kwargs)
        except (ModelError, InputError):
            raise
        except (RuntimeError, TypeError, IndexError, ValueError) as error:
            raise ModelError(
                f"the model cannot be called on these inputs ({', '.join(map(str, kwargs)) or len(args)}): "
                f"{str(error).strip().splitlines()[0]}"
            ) from error
    if not isinstance(y, Tensor) or y.ndim != 2:
        raise ModelError(_not_a_matrix(y, pool))
    if isinstance(directions, int):
        if directions < 1:
            raise ValueError(f"directions={directions}; at least one is expected, or None for all outputs.")
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randn(y.shape[1], directions, generator=generator, dtype=torch.float64) / directions**0.5
        wrapped.directions = drawn.to(y)
    elif directions is not None:
        if directions.ndim != 2 or directions.shape[0] != y.shape[1]:
            raise ModelError(f"directions {tuple(directions.shape)}; ({y.shape[1]}, A) fits this output.")
        wrapped.directions = directions.detach().to(y)
    return wrapped


def refuse_half_precision(model: nn.Module) -> None:
    """Refuse parameters of 16 bits: products of gradients would keep two or three digits."""
    half = next((n for n, p in model.named_parameters() if p.dtype in (torch.float16, torch.bfloat16)), None)
    if half is not None:
        raise ModelError(
            f"parameter {half!r} has 16 bits: a kernel adds up products of many gradients, and too few digits would be "
            "left. Use a copy in single precision: copy.deepcopy(model).float()."
        )


def _not_a_matrix(y: Any, pool: str | None) -> str:
    if not isinstance(y, Tensor):
        names = list(y.keys()) if hasattr(y, "keys") else list(range(len(y))) if isinstance(y, tuple | list) else []
        return (
            f"the model returns a {type(y).__name__} with {names or 'no named parts'}; choose one with select=..., for "
            "example select='last_hidden_state', a position, or a function of the output."
        )
    if y.ndim == 3 and pool is None:
        return (
            f"the output has shape {tuple(y.shape)}, a vector a token; how to get one an example? pool='mean' (with "
            "mask='attention_mask' if there is padding), 'first' or 'last'."
        )
    return f"the output has shape {tuple(y.shape)}; (N, C) is expected: choose a part with select=..."


def chosen(out: Any, select: Select) -> Any:
    """The part of a model's output that ``select`` names."""
    if select is None:
        return out
    if callable(select):
        return select(out)
    try:
        return out[select] if isinstance(select, int) or not hasattr(out, str(select)) else getattr(out, select)
    except (KeyError, IndexError, TypeError) as error:
        parts = list(out) if hasattr(out, "keys") else f"a {type(out).__name__}"
        raise ModelError(f"select={select!r} is not in the output, which has {parts}.") from error


def pooled(
    out: Tensor, pool: str | None, mask: str | int | None, args: tuple[Tensor, ...], kwargs: dict[str, Tensor]
) -> Tensor:
    """One vector an example from one a token; padding is left out where a mask names it."""
    if pool is None or not isinstance(out, Tensor):
        return out
    if out.ndim != 3:
        raise ModelError(f"pool={pool!r}, but the output has shape {tuple(out.shape)}: no token axis. Drop pool.")
    if pool == "first":
        return out[:, 0]
    if mask is None:
        return out.mean(1) if pool == "mean" else out[:, -1]
    given = args[mask] if isinstance(mask, int) and mask < len(args) else kwargs.get(str(mask))
    if given is None or given.shape != out.shape[:2]:
        found = f"shape {tuple(given.shape)}" if given is not None else f"inputs {list(kwargs) or len(args)}"
        raise ModelError(f"mask={mask!r}: {found}; an input of shape {tuple(out.shape[:2])} is expected.")
    weight = given.to(out.dtype).unsqueeze(-1)
    if pool == "mean":
        return (out * weight).sum(1) / weight.sum(1).clamp(min=1)
    places = torch.arange(out.shape[1], device=out.device)
    last = (given * places).argmax(1)
    return (out * (places == last[:, None]).to(out.dtype).unsqueeze(-1)).sum(1)
