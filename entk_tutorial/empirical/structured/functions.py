"""Functions of torch by what they do with a parameter: make a view, combine element by element, multiply."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


def named(*names: str) -> frozenset[Any]:
    """Functions of torch and methods of tensors with these names."""
    return frozenset(getattr(home, name) for name in names for home in (torch, torch.Tensor) if hasattr(home, name))


COPIES = named("expand", "expand_as", "repeat", "tile", "broadcast_to", "repeat_interleave")
VIEWS = COPIES | named(
    "transpose", "t", "permute", "movedim", "moveaxis", "swapaxes", "swapdims", "reshape", "flatten", "unflatten",
    "unsqueeze", "squeeze", "narrow", "select", "unbind", "chunk", "split", "tensor_split", "clone", "view",
    "contiguous", "view_as", "reshape_as", "ravel", "diagonal", "flip", "roll",
) | {getattr(torch.Tensor, name).__get__ for name in ("T", "mT", "H", "mH")}  # fmt: skip
GETITEM = torch.Tensor.__getitem__
SELECT = named("index_select")
MATMUL = named("matmul", "mm", "__matmul__", "mv")
MATMUL_REVERSED = named("__rmatmul__")
ADDMM = named("addmm")
NEG = named("neg", "negative", "__neg__")
MUL = named("mul", "multiply", "__mul__", "__rmul__")
DIV = named("div", "divide", "true_divide", "__truediv__")
ELEMENTWISE = MUL | DIV | named(
    "add", "__add__", "__radd__", "sub", "subtract", "__sub__", "__rsub__", "rsub", "__rtruediv__", "__rdiv__",
    "pow", "__pow__", "__rpow__", "float_power", "maximum", "minimum", "fmax", "fmin", "where", "lerp", "addcmul",
    "addcdiv", "atan2", "hypot", "logaddexp", "xlogy", "fmod", "remainder",
)  # fmt: skip
IN_PLACE = named(
    "add_", "__iadd__", "sub_", "__isub__", "mul_", "__imul__", "div_", "__itruediv__", "pow_", "__ipow__", "lerp_",
)  # fmt: skip
CONSTANT = named(
    "zeros_like", "ones_like", "empty_like", "rand_like", "randn_like", "full_like", "new_zeros", "new_ones",
    "new_tensor", "new_empty", "new_full", "detach",
)  # fmt: skip
CASTS = named("to", "type_as")


def overwrites(func: Callable[..., Any]) -> bool:
    """Whether a function overwrites its first operand: ``add_``, ``__iadd__``, ``__setitem__``."""
    name = getattr(func, "__name__", "")
    plain = name.endswith("_") and not name.endswith("__")
    return (
        plain
        or name == "__setitem__"
        or (name.startswith("__i") and name not in ("__invert__", "__index__", "__int__"))
    )
