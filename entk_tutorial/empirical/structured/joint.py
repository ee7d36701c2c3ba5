"""Several uses of one parameter: which of them share their tokens, and which have cross terms.

Taps of one kind on the same entries of the parameter are one group: their tokens are put side by side, and cross terms
come by themselves. Taps on different entries have none. Where entries overlap in another way (an embedding that is also
the unembedding, a weight and its transpose) the gradients are written down, and add up before they are multiplied.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from entk_tutorial.empirical.structured.taps import ParameterTap


def _groups(taps: Sequence[ParameterTap]) -> list[list[int]]:
    """Taps of one kind on the same entries, in the order of their first members."""
    groups: list[list[int]] = []
    for i, tap in enumerate(taps):
        for group in groups:
            first = taps[group[0]]
            same = first.positions.shape == tap.positions.shape and torch.equal(first.positions, tap.positions)
            if first.kind == tap.kind and (tap.kind == "bias" or same):
                group.append(i)
                break
        else:
            groups.append([i])
    return groups


def _touched(taps: Sequence[ParameterTap], group: Sequence[int], size: int) -> Tensor:
    """How often the products of a group would take each entry of the parameter for another."""
    if taps[group[0]].kind != "bias":
        return torch.bincount(taps[group[0]].positions.reshape(-1), minlength=size)
    return torch.bincount(torch.cat([taps[i].positions.reshape(-1) for i in group]).unique(), minlength=size)


def joint_groups(taps: Sequence[ParameterTap], size: int) -> list[list[int]] | None:
    """Which taps share their tokens; None where cross terms between taps would be lost."""
    groups = _groups(taps)
    count = sum(_touched(taps, group, size) for group in groups)
    return groups if size == 0 or isinstance(count, int) or int(count.max()) <= 1 else None


def without_overlap(taps: Sequence[ParameterTap], size: int) -> list[ParameterTap]:
    """The taps, those with cross terms between them exchanged for ones that write their gradients down."""
    if len(taps) == 1 and taps[0].in_order:
        return list(taps)
    groups = _groups(taps)
    counts = [_touched(taps, group, size) for group in groups]
    total = sum(counts, torch.zeros(size, dtype=torch.long, device=counts[0].device if counts else None))
    shared = total > 1
    alone = {i for group, count in zip(groups, counts, strict=True) if not bool(count[shared].any()) for i in group}
    # A bias group is summed over its members: entries that it shares with others drag all of it along.
    return [tap if i in alone else written(tap) for i, tap in enumerate(taps)]


def written(tap: ParameterTap) -> ParameterTap:
    """The same tap with gradients (N, 1, entries) in place of the two factors."""
    if tap.kind == "bias":
        return tap
    rows, arrange, source = tap.positions.shape[0], tap.arrange, tap.source

    def linear(g: Tensor) -> Tensor:
        return torch.einsum("nto,nti->noi", arrange(g), source.to(g.dtype)).flatten(1).unsqueeze(1)

    def embedding(g: Tensor) -> Tensor:
        tokens = arrange(g)
        out = tokens.new_zeros((tokens.shape[0], rows, tokens.shape[-1]))
        return out.scatter_add_(1, source.unsqueeze(-1).expand_as(tokens), tokens).flatten(1).unsqueeze(1)

    how: Callable[[Tensor], Tensor] = linear if tap.kind == "linear" else embedding
    positions = tap.positions.reshape(-1)
    return ParameterTap("bias", source, tap.leaf, positions=positions, arrange=how, rule=f"{tap.rule}, written down")
