r"""Alarms and lead times: when a measure leaves the range that it has on runs where nothing is to be reported.

A threshold chosen after the fact can make any measure early. Here it is fixed before: the range of the measure over
*calibration* runs, networks that never generalise. Nothing in it depends on the run that is judged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Envelope:
    """Range of a measure over calibration runs.

    Attributes:
        low: (T,) smallest value over the runs, at each record.
        high: (T,) largest value.
    """

    low: Array
    high: Array

    @classmethod
    def of(cls, runs: ArrayLike) -> Envelope:
        """The envelope of (R, T) runs on one grid of records.

        Raises:
            ValueError: no runs, or values that are not finite.

        Example:
            >>> Envelope.of([[0, 1, 5], [1, 0, 6]]).high.tolist()
            [1.0, 1.0, 6.0]
        """
        values = np.asarray(runs, dtype=float)
        if values.ndim != 2 or values.size == 0 or not np.isfinite(values).all():
            raise ValueError(f"runs have shape {values.shape}; (R, T) finite values, at least one run, are expected.")
        return cls(values.min(0), values.max(0))

    def ever(self) -> Envelope:
        """The range over all records: a level that needs no clock.

        Example:
            >>> Envelope.of([[0, 1, 5], [1, 0, 6]]).ever().high.tolist()
            [6.0, 6.0, 6.0]
        """
        return Envelope(np.full_like(self.low, self.low.min()), np.full_like(self.high, self.high.max()))


def alarm(epochs: Sequence[float], values: ArrayLike, envelope: Envelope, *, hold: int = 3) -> float | None:
    """First epoch at which a measure leaves the envelope and stays outside, on the same side, for ``hold`` records.

    The epoch is that of the first of these records. Whoever watches the run knows it at the last of them.

    Args:
        epochs: (T,) increasing.
        values: (T,) the measure.
        envelope: over the same records.
        hold: how many records in a row, at least 1.

    Returns:
        float | None: None if that never happens.

    Raises:
        ValueError: lengths that differ, or ``hold`` below 1.

    Example:
        >>> flat = Envelope.of([[0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
        >>> alarm([0, 5, 10, 15, 20], [0, 2, 0.5, 2, 3], flat, hold=2)      # the first excursion does not last
        15.0

    Chapter: book/microscope/grokking.
    """
    curve = np.asarray(values, dtype=float)
    if not len(epochs) == len(curve) == len(envelope.low) == len(envelope.high) or hold < 1:
        raise ValueError(
            f"{len(epochs)} epochs, {len(curve)} values, an envelope of {len(envelope.low)} records, hold={hold}: "
            "equal lengths and hold >= 1 are expected."
        )
    found = [_first_of_run(outside, hold) for outside in (curve > envelope.high, curve < envelope.low)]
    hits = [i for i in found if i is not None]
    return float(epochs[min(hits)]) if hits else None


def _first_of_run(outside: NDArray[np.bool_], hold: int) -> int | None:
    length = 0
    for i, out in enumerate(outside):
        length = length + 1 if out else 0
        if length == hold:
            return i - hold + 1
    return None


def crossing(epochs: Sequence[float], values: ArrayLike, level: float) -> float | None:
    """First epoch at which a curve reaches ``level`` from below, by straight lines between records; None if never.

    Example:
        >>> crossing([0, 10, 20], [0.0, 0.25, 0.75], 0.5)
        15.0
    """
    curve = np.asarray(values, dtype=float)
    reached = np.flatnonzero(curve >= level)
    if len(reached) == 0:
        return None
    i = int(reached[0])
    if i == 0:
        return float(epochs[0])
    share = (level - curve[i - 1]) / (curve[i] - curve[i - 1])
    return float(epochs[i - 1] + share * (epochs[i] - epochs[i - 1]))


def backward_speed(epochs: Sequence[float], values: ArrayLike) -> Array:
    """Growth an epoch since the record before: (T,), 0 at the first. It looks back only, so it can sound an alarm.

    Example:
        >>> backward_speed([0, 5, 15], [1.0, 2.0, 2.0]).tolist()
        [0.0, 0.2, 0.0]
    """
    curve, at = np.asarray(values, dtype=float), np.asarray(epochs, dtype=float)
    return np.concatenate([[0.0], np.diff(curve) / np.diff(at)])


def fastest_growth(epochs: Sequence[float], values: ArrayLike) -> float:
    """Epoch of the largest central difference: it looks both ways, and describes a run that is over.

    Example:
        >>> fastest_growth([0, 5, 10, 15], [0.0, 0.0, 1.0, 1.0])
        5.0
    """
    curve, at = np.asarray(values, dtype=float), np.asarray(epochs, dtype=float)
    return float(at[int(np.gradient(curve, at).argmax())])
