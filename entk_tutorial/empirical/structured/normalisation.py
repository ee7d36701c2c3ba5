r"""Affine parameters of normalisation layers, and of PReLU: an example has a copy of its own.

Layer, group, instance, root-mean-square and (in eval mode) batch normalisation are
:math:`y = w \odot \hat x + b` with a :math:`\hat x` that no parameter enters. The affine part is written out with a
copy of :math:`w` and :math:`b` for each example, whose gradients are the ones wanted.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor

ARGUMENTS: dict[Any, tuple[str, ...]] = {
    F.layer_norm: ("input", "normalized_shape", "weight", "bias", "eps"),
    F.group_norm: ("input", "num_groups", "weight", "bias", "eps"),
    F.instance_norm: (
        "input", "running_mean", "running_var", "weight", "bias", "use_input_stats", "momentum", "eps",
    ),
    F.batch_norm: ("input", "running_mean", "running_var", "weight", "bias", "training", "momentum", "eps"),
    F.rms_norm: ("input", "normalized_shape", "weight", "eps"),
    F.prelu: ("input", "weight"),
    torch.prelu: ("input", "weight"),
}  # fmt: skip
_LAST_AXES = (F.layer_norm, F.rms_norm)

Copy = Callable[[str, Tensor], Tensor | None]
"""Part ("weight" or "bias"), in the shape in which it is broadcast -> the same with a copy for each example."""


def affine(func: Any, args: Sequence[Any], kwargs: dict[str, Any], copy: Copy) -> Tensor | None:
    """The layer's result with copies of its parameters; None where ``copy`` refuses."""
    given = dict(zip(ARGUMENTS[func], args, strict=False)) | kwargs
    x = given["input"]
    parts: dict[str, Tensor] = {}
    for part in ("weight", "bias"):
        p = given.pop(part, None)
        if p is None:
            continue
        shape = p.shape if func in _LAST_AXES else (-1, *(1,) * (x.ndim - 2))
        copied = copy(part, p.reshape(shape))
        if copied is None:
            return None
        parts[part] = copied
    if ARGUMENTS[func] == ("input", "weight"):
        return torch.where(x > 0, x, x * parts["weight"])
    out: Tensor = func(**given)
    if "weight" in parts:
        out = out * parts["weight"]
    return out + parts["bias"] if "bias" in parts else out
