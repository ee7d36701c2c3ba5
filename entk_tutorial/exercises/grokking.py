"""Checks of the chapter on grokking."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from entk_tutorial.data import modular_task
from entk_tutorial.exercises.base import Answer, close, number
from entk_tutorial.experiments.alarms import Envelope
from entk_tutorial.experiments.alarms import alarm as reference_alarm
from entk_tutorial.features.progress import restricted_loss

AlarmFunction = Callable[[Sequence[float], Sequence[float], float, float, int], float | None]


def check_lookup(value: float, p: int = 29, share: float = 0.7) -> Answer:
    """Restricted loss, on held-out pairs, of a table: right on the training pairs, zero elsewhere.

    The function of the sum is read from all pairs; ``share`` of the pairs with each sum are training pairs. The loss
    is the mean over pairs and outputs.

    Example:
        >>> check_lookup(1 / 29)
        Not yet. That is the loss when the function of the sum is read from held-out pairs only, where the table is zero. Read it from all pairs.
    """  # noqa: E501
    if close(p * number(value), (1 - share) ** 2, 1e-3):
        return Answer(
            True,
            f"The mean output over pairs with one sum is {share:g} at the right class: the table knows nothing of "
            f"held-out pairs, and its restricted loss is {(1 - share) ** 2:.2f} of that of zero outputs.",
        )
    if close(p * number(value), 1.0, 1e-3):
        return Answer(
            False,
            "That is the loss when the function of the sum is read from held-out pairs only, where the table is zero. "
            "Read it from all pairs.",
        )
    if close(number(value), (1 - share) ** 2, 1e-3):
        return Answer(False, f"The loss is the mean over {p} outputs too, and only one of them is off.")
    if close(p * number(value), 1 - share, 1e-3):
        return Answer(False, "That is how far the right output is off. The loss squares it.")
    if close(p * number(value), share**2, 1e-3):
        return Answer(False, f"The mean output is {share:g}; the target is 1: square the difference, not the output.")
    if close(value, 0.0, 1e-9):
        return Answer(False, "Zero would need the mean over pairs with one sum to be 1; some of them are held out.")
    return Answer(False, "What is the mean output over all pairs with one sum, and how far is it from the target?")


def check_new_run(value: float, runs: int = 20) -> Answer:
    """Chance that one more run's largest value beats the largest values of all calibration runs, nothing being new.

    Example:
        >>> bool(check_new_run(1 / 21))
        True
        >>> check_new_run(0.0)
        Not yet. The level is the largest value of the runs seen, and the next run may be larger still: it is a record, and records are never quite over.
    """  # noqa: E501
    if close(value, 1 / (runs + 1), 1e-4):
        return Answer(
            True,
            f"Each of the {runs + 1} runs is equally likely to hold the record. A range has two sides, so it may "
            "be twice that; with so few runs no level can promise a rate much smaller.",
        )
    if close(value, 1 / runs, 1e-4):
        return Answer(False, "Count the new run too: how many runs might hold the record?")
    if close(value, 2 / (runs + 1), 1e-4):
        return Answer(False, "That bounds both sides of a range. Here the question is the upper side alone.")
    if close(value, 0.0, 1e-9):
        return Answer(
            False,
            "The level is the largest value of the runs seen, and the next run may be larger still: it is a "
            "record, and records are never quite over.",
        )
    if close(value, 0.5, 1e-4):
        return Answer(False, f"One half would be right for a single calibration run. Here there are {runs}.")
    return Answer(False, "All runs are alike: which of them holds the largest value, and how likely is each?")


_CASES: tuple[tuple[list[float], int, str], ...] = (
    ([0.5, 2, 2, 2, 0.5, 0.5], 3, "The alarm is dated to the first record of the stay, not to the last."),
    ([0.5, 2, 0.5, 2, 2, 2], 3, "An excursion that does not last is no alarm: wait for `hold` records in a row."),
    ([0.5, -1, -1, -1, -1, -1], 3, "A range has two sides: a measure that falls below the low edge is outside too."),
    ([0.5, 2, -1, 2, -1, 2], 2, "A measure that jumps from one side to the other has not stayed on either."),
    ([0.5, 1, 1, 1, 1, 1], 1, "The edge was seen in calibration: it belongs to the range."),
    ([0.5, 0.5, 0.5, 0.5, 2, 2], 3, "Two records outside at the end are not three: return None."),
    ([0.5, 0.5, 0.5, 0.5, 0.5, 0.5], 1, "Nothing ever left the range: return None."),
)


def check_alarm(own: AlarmFunction) -> Answer:
    """A function (epochs, values, low, high, hold) -> epoch of the alarm, or None.

    Example:
        >>> def hasty(epochs, values, low, high, hold):
        ...     return next((e for e, v in zip(epochs, values) if not low <= v <= high), None)
        >>> check_alarm(hasty)
        Not yet. An excursion that does not last is no alarm: wait for `hold` records in a row. (values [0.5, 2, 0.5, 2, 2, 2], range 0 to 1, hold 3: found 5, expected 15)
    """  # noqa: E501
    epochs = [0.0, 5.0, 10.0, 15.0, 20.0, 25.0]
    for values, hold, mistake in _CASES:
        expected = reference_alarm(epochs, values, Envelope(np.zeros(6), np.ones(6)), hold=hold)
        found = own(epochs, values, 0.0, 1.0, hold)
        if found is None and expected is None:
            continue
        if found is None or expected is None or not close(found, expected):
            as_text = ["None" if e is None else f"{number(e):g}" for e in (found, expected)]
            return Answer(
                False,
                f"{mistake} (values {values}, range 0 to 1, hold {hold}: found {as_text[0]}, expected {as_text[1]})",
            )
    return Answer(True, "It waits, looks both ways, and dates the alarm to the first record of the stay.")


def _lookup_loss() -> float:
    """The mean over pairs with one sum, put in by hand: a split has the share 0.7 for no sum exactly."""
    p, share = 29, 0.7
    task = modular_task(p, share, 0)
    mean_output = share * task.targets.double()
    return restricted_loss(mean_output, task.targets, p, task.held_out)


def _patient(epochs: Sequence[float], values: Sequence[float], low: float, high: float, hold: int) -> float | None:
    for i in range(len(values) - hold + 1):
        stay = values[i : i + hold]
        if all(v > high for v in stay) or all(v < low for v in stay):
            return float(epochs[i])
    return None


SOLUTIONS: dict[str, Callable[[], object]] = {
    "check_lookup": _lookup_loss,
    "check_new_run": lambda: 1 / (20 + 1),
    "check_alarm": lambda: _patient,
}
"""Check -> a function that computes the right answer."""
