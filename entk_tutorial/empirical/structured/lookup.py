"""Lookups of rows by id: Embedding and EmbeddingBag."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 (torch's own name)
from torch import Tensor

from entk_tutorial.empirical.structured.batch import BatchAxis
from entk_tutorial.empirical.structured.operations import index
from entk_tutorial.empirical.structured.taps import ParameterTap, View

EMBEDDING = ("input", "weight", "padding_idx", "max_norm", "norm_type", "scale_grad_by_freq", "sparse")
BAG = (
    "input", "weight", "offsets", "max_norm", "norm_type", "scale_grad_by_freq", "mode", "sparse",
    "per_sample_weights", "include_last_offset", "padding_idx",
)  # fmt: skip


def arguments(func: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> dict[str, Any] | None:
    """Arguments by name; None where the gradient is not a sum of rows (norms clipped, counts mixed in)."""
    given = dict(zip(EMBEDDING if func == F.embedding else BAG, args, strict=False)) | kwargs
    if given.get("max_norm") is not None or given.get("scale_grad_by_freq"):
        return None
    padding = given.get("padding_idx")
    if padding is not None and padding < 0:
        given["padding_idx"] = padding + given["weight"].shape[0]
    return given


def _without(tap: ParameterTap, weights: Tensor) -> ParameterTap:
    """The tap with its tokens weighted; weights (N, T)."""
    arrange, rows = tap.arrange, weights.unsqueeze(-1)
    tap.arrange = lambda g: arrange(g) * rows
    return tap


def embedding(view: View, given: dict[str, Any], leaf: Tensor, n: int, at: BatchAxis) -> ParameterTap:
    """Tap of ``F.embedding``: the row ``padding_idx`` gets no gradient."""
    tap = index(view, 0, given["input"], leaf, n, at)[0]
    padding = given.get("padding_idx")
    return tap if padding is None else _without(tap, tap.source != padding)


def bag(view: View, given: dict[str, Any], leaf: Tensor, n: int, at: BatchAxis) -> ParameterTap | None:
    """Tap of ``F.embedding_bag`` on (N, T) ids, with sums or means."""
    ids, mode, padding = given["input"], given.get("mode", "mean"), given.get("padding_idx")
    if ids.ndim != 2 or mode not in ("sum", "mean") or given.get("offsets") is not None or at.axis != 0:
        return None
    kept = torch.ones_like(ids, dtype=leaf.dtype) if padding is None else (ids != padding).to(leaf.dtype)
    scales = given.get("per_sample_weights")
    shares = kept if scales is None else kept * scales.detach()
    if mode == "mean":
        shares = shares / kept.sum(1, keepdim=True).clamp(min=1)
    spread = leaf.detach()[:, None].expand(-1, ids.shape[1], -1)
    tap = index(view, 0, ids, spread, n, at, rule=f"bag of ids, {mode}")[0]
    inner = tap.arrange
    tap.leaf, tap.arrange = leaf, lambda g: inner(g[:, None].expand(-1, ids.shape[1], -1))
    return _without(tap, at.front(shares, n).reshape(n, -1))
