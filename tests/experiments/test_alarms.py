import numpy as np
import pytest

from entk_tutorial.experiments.alarms import Envelope, alarm, backward_speed, crossing, fastest_growth

EPOCHS = [0, 5, 10, 20, 40]


def band(low=0.0, high=1.0, n=5):
    return Envelope(np.full(n, low), np.full(n, high))


@pytest.mark.parametrize(
    ("values", "hold", "at"),
    [
        ([0, 2, 2, 2, 0], 3, 5),
        ([0, 2, 2, 0, 2], 3, None),
        ([0, 0, 0, 2, 2], 3, None),  # too late for three records
        ([0, 0, 0, 2, 2], 2, 20),
        ([0, 2, -1, 2, -1], 2, None),  # outside all the time, but on different sides
        ([0, -1, -1, -1, -1], 3, 5),
        ([1, 1, 0, 0, 1], 1, None),  # the edge belongs to the range
        ([2, 2, 2, 0, 0], 3, 0),
    ],
)
def test_an_alarm_is_the_first_record_of_a_stay_outside(values, hold, at):
    assert alarm(EPOCHS, values, band(), hold=hold) == at


def test_an_envelope_by_the_clock_is_inside_that_of_all_times():
    clock = Envelope.of([[0, 1, 4, 2, 2], [1, 0, 3, 3, 2]])
    ever = clock.ever()
    assert clock.low.tolist() == [0, 0, 3, 2, 2] and clock.high.tolist() == [1, 1, 4, 3, 2]
    assert set(ever.low) == {0.0} and set(ever.high) == {4.0}
    early = [0, 2, 2, 2, 2]
    assert alarm(EPOCHS, early, clock, hold=1) == 5 and alarm(EPOCHS, early, ever, hold=1) is None


def test_a_calibration_run_never_trips_its_own_level():
    runs = np.random.default_rng(0).normal(size=(6, 5))
    level = Envelope.of(runs)
    assert [alarm(EPOCHS, run, level, hold=1) for run in runs] == [None] * 6


def test_what_cannot_be_judged_is_refused():
    with pytest.raises(ValueError, match="equal lengths"):
        alarm(EPOCHS, [1, 2], band())
    with pytest.raises(ValueError, match="equal lengths"):
        alarm(EPOCHS, [1] * 5, band(), hold=0)
    with pytest.raises(ValueError, match="finite"):
        Envelope.of([[0.0, float("nan")]])
    with pytest.raises(ValueError, match="at least one run"):
        Envelope.of(np.empty((0, 5)))


def test_crossings():
    assert crossing(EPOCHS, [0, 0, 0.4, 0.6, 1], 0.5) == pytest.approx(15)
    assert crossing(EPOCHS, [0, 0.6, 0.4, 0.6, 1], 0.5) == pytest.approx(5 * 0.5 / 0.6)  # the first one
    assert crossing(EPOCHS, [0.7] * 5, 0.5) == 0
    assert crossing(EPOCHS, [0.1] * 5, 0.5) is None


def test_speed_looks_back_and_growth_both_ways():
    values = [0, 0, 1, 1, 1]
    assert backward_speed(EPOCHS, values).tolist() == [0, 0, 0.2, 0, 0]
    assert fastest_growth(EPOCHS, [0, 0, 5, 15, 15]) == 10
