import pytest

from entk_tutorial.exercises import grokking
from entk_tutorial.exercises.grokking import SOLUTIONS, check_alarm, check_lookup, check_new_run


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solutions_pass(name):
    answer = getattr(grokking, name)(SOLUTIONS[name]())
    assert answer, answer.message


@pytest.mark.parametrize(
    ("value", "words"),
    [(1 / 29, "held-out pairs only"), (0.09, "29 outputs"), (0.3 / 29, "squares it"), (0.49 / 29, "the target is 1"),
     (0.0, "held out"), (0.02, "mean output")],
)  # fmt: skip
def test_lookup_names_the_mistake(value, words):
    answer = check_lookup(value)
    assert not answer and words in answer.message


@pytest.mark.parametrize(
    ("value", "words"),
    [(0.0, "record"), (0.05, "new run too"), (2 / 21, "upper side"), (0.5, "single"), (0.3, "All runs are alike")],
)
def test_new_run_names_the_mistake(value, words):
    answer = check_new_run(value)
    assert not answer and words in answer.message


def first_outside(epochs, values, low, high, hold):
    return next((e for e, v in zip(epochs, values, strict=True) if v > high or v < low), None)


def runs_of(test, date):
    def own(epochs, values, low, high, hold):
        for i in range(len(values) - hold + 1):
            if test(values[i : i + hold], low, high):
                return epochs[i + (hold - 1 if date == "last" else 0)]
        return None

    return own


@pytest.mark.parametrize(
    ("own", "words"),
    [
        (first_outside, "excursion"),
        (runs_of(lambda s, a, b: all(v > b for v in s) or all(v < a for v in s), "last"), "first record"),
        (runs_of(lambda s, a, b: all(v > b for v in s), "first"), "two sides"),
        (runs_of(lambda s, a, b: all(v > b or v < a for v in s), "first"), "side to the other"),
        (runs_of(lambda s, a, b: all(v >= b for v in s) or all(v < a for v in s), "first"), "edge"),
        (lambda *_: 15.0, "first record"),
    ],
)
def test_alarm_names_the_mistake(own, words):
    answer = check_alarm(own)
    assert not answer and words in answer.message


def test_never_is_none_not_the_last_epoch():
    patient = SOLUTIONS["check_alarm"]()

    def eager(*given):
        found = patient(*given)
        return given[0][-1] if found is None else found

    assert not check_alarm(eager)
