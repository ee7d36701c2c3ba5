r"""A training loop with history, snapshots and a progress bar; checkpoints as safetensors."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn
from tqdm import tqdm

State = dict[str, Tensor]


class TrainingError(RuntimeError):
    """Training stopped because the loss became NaN or infinite. ``history`` holds what was finished."""

    def __init__(self, message: str, history: History) -> None:
        """Keep the finished part of the run."""
        super().__init__(message)
        self.history = history


class CheckpointError(ValueError):
    """A checkpoint that is truncated, of another configuration, or of another architecture."""


@dataclass
class History:
    """What a run left behind.

    Attributes:
        steps: steps at which metrics were recorded, counted after the update; 0 is before training.
        metrics: name -> one value a recorded step.
        snapshots: step -> copies of the parameters.
    """

    steps: list[int] = field(default_factory=list)
    metrics: dict[str, list[float]] = field(default_factory=dict)
    snapshots: dict[int, State] = field(default_factory=dict)


def train(
    model: nn.Module,
    loss: Callable[[nn.Module], Tensor],
    optimizer: torch.optim.Optimizer,
    steps: int,
    *,
    evaluate: Callable[[nn.Module], dict[str, float]] | None = None,
    record_at: Iterable[int] = (),
    snapshots_at: Iterable[int] = (),
    progress: bool = False,
    description: str = "training",
) -> History:
    r"""Take ``steps`` optimiser steps on ``loss(model)``.

    Args:
        model: trained in place.
        loss: the objective on the whole batch, as a function of the model; scalar.
        optimizer: over the model's parameters.
        steps: number of updates, 0 or more.
        evaluate: numbers to record, computed without gradients.
        record_at: steps after which they are recorded (0: before the first update); the last step always is.
        snapshots_at: steps after which the parameters are copied.
        progress: a bar on stderr.
        description: its label.

    Returns:
        History.

    Raises:
        ValueError: negative ``steps``, or steps to record or keep outside [0, steps].
        TrainingError: if the loss is not finite; names the step and keeps what was finished.

    Example:
        >>> w = nn.Linear(1, 1, bias=False)
        >>> _ = w.weight.data.fill_(1.0)
        >>> sgd = torch.optim.SGD(w.parameters(), lr=0.25)
        >>> h = train(w, lambda m: m.weight.square().sum(), sgd, 3, evaluate=lambda m: {"w": m.weight.item()})
        >>> h.steps, h.metrics["w"]      # each step halves the weight
        ([3], [0.125])

    Chapter: book/microscope/modular-mlp.
    """
    wanted, kept = set(record_at) | {steps}, set(snapshots_at)
    outside = sorted(s for s in wanted | kept if not 0 <= s <= steps)
    if steps < 0 or outside:
        raise ValueError(f"steps={steps}, and {outside or steps} asked for; steps lie in [0, steps], steps >= 0.")
    history = History()

    def note(step: int) -> None:
        if step in wanted and evaluate is not None:
            with torch.no_grad():
                for name, value in evaluate(model).items():
                    history.metrics.setdefault(name, []).append(value)
            history.steps.append(step)
        if step in kept:
            history.snapshots[step] = copy_state(model)

    note(0)
    for step in tqdm(range(1, steps + 1), desc=description, disable=not progress, leave=False):
        optimizer.zero_grad(set_to_none=True)
        value = loss(model)
        if not math.isfinite(float(value.detach())):
            raise TrainingError(
                f"the loss is {float(value.detach())} at step {step}; lower the learning rate. Everything recorded up "
                f"to step {step - 1} is in this error's .history.",
                history,
            )
        value.backward()
        optimizer.step()
        note(step)
    return history


def copy_state(model: nn.Module) -> State:
    """Copies of the parameters and buffers, on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}


def config_digest(config: dict[str, Any]) -> str:
    """SHA-256 of a configuration, independent of the order of its keys."""
    return hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()


def save_checkpoint(path: Path | str, state: State, config: dict[str, Any]) -> str:
    """Write parameters and the configuration they belong to as one safetensors file; returns its SHA-256.

    The file appears whole or not at all.

    Raises:
        OSError: if the folder cannot be written.
    """
    path = Path(path)
    # Copies, because tied weights share memory, and a safetensors file refuses that.
    own = {k: v.detach().cpu().contiguous().clone() for k, v in state.items()}
    payload = save(own, metadata={"config": json.dumps(config, sort_keys=True)})
    partial = path.with_suffix(path.suffix + ".part")
    partial.write_bytes(payload)
    partial.replace(path)
    return hashlib.sha256(payload).hexdigest()


def load_checkpoint(path: Path | str, config: dict[str, Any], *, sha256: str | None = None) -> State:
    """Read a checkpoint and insist that it belongs to ``config``.

    Args:
        path: file written by :func:`save_checkpoint`.
        config: the configuration it must have been made with.
        sha256: expected hash of the file, if known.

    Raises:
        CheckpointError: missing, truncated or foreign file, another hash, or another configuration.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such checkpoint; make it with `entk run`, or check the path.")
    if sha256 is not None:
        found = hashlib.sha256(path.read_bytes()).hexdigest()
        if found != sha256:
            raise CheckpointError(f"{path}: SHA-256 is {found}, {sha256} was expected; fetch or make the file again.")
    try:
        with safe_open(str(path), framework="pt") as file:
            stored = json.loads((file.metadata() or {}).get("config", "null"))
            state = {name: file.get_tensor(name) for name in file.keys()}
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({error}); delete it and make it again.") from error
    asked = json.loads(json.dumps(config))
    if not isinstance(stored, dict):
        raise CheckpointError(f"{path}: holds no configuration, so it is not one of ours; make it again.")
    if stored != asked:
        none = "(none)"
        pairs = {k: (stored.get(k, none), asked.get(k, none)) for k in sorted({*stored, *asked})}
        changed = {k: (old, new) for k, (old, new) in pairs.items() if old != new}
        raise CheckpointError(
            f"{path}: made with another configuration ({changed}: stored, asked for); use the one it was made with."
        )
    return state


def pick_device(name: str = "auto") -> torch.device:
    """The device called ``name``; ``"auto"`` is a GPU where there is one, the CPU otherwise.

    Raises:
        ValueError: a device that this machine or torch does not have.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(0, device=device)
        if device.type == "meta":
            raise RuntimeError("it holds shapes, no numbers")
    except (RuntimeError, AssertionError, ImportError) as error:
        raise ValueError(
            f"device={name!r} is not available here ({str(error).splitlines()[0]}); try 'auto'."
        ) from error
    return device
