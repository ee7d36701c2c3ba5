"""Functions of torch that are written in Python and hide their parameters from a watcher: run step by step."""

from __future__ import annotations

import types
from collections.abc import Callable
from functools import cache
from typing import Any

import torch.nn.functional as F  # noqa: N812 (torch's own name)

COMPOSITE = frozenset({F.multi_head_attention_forward})


@cache
def opened(func: Callable[..., Any]) -> Callable[..., Any]:
    """The same function, without the first step in which it hands itself over as a whole.

    torch's own code runs, with its projections, biases and masks; each step is then seen by whoever watches.
    """
    assert isinstance(func, types.FunctionType)
    blind = {**func.__globals__, "has_torch_function": lambda _: False}
    copy = types.FunctionType(func.__code__, blind, func.__name__, func.__defaults__, func.__closure__)
    copy.__kwdefaults__ = func.__kwdefaults__
    return copy
