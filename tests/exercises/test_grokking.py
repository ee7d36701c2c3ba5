import pytest

from entk_tutorial.exercises import grokking
from entk_tutorial.exercises.grokking import SOLUTIONS, check_alarm


@pytest.mark.parametrize("name", SOLUTIONS)
def test_solutions_pass(name):
    answer = getattr(grokking, name)(SOLUTIONS[name]())
    assert answer, answer.message


def first_outside(epochs, values, low, high, hold):
    return next((e for e, v in zip(epochs, values, strict=True) if v > high or v < low), None)


def runs_of(test, date):
    def own(epochs, values, low, high, hold):
        for i in range(len(values) - hold + 1):
            if test(values[i : i + hold], low, high):
                return epochs[i + (hold - 1 if date == "last" else 0)]
        return None

    return own


WRONG = [
    ("check_lookup", 1 / 29, "held-out pairs only"),
    ("check_lookup", 0.09, "29 outputs"),
    ("check_lookup", 0.3 / 29, "squares it"),
    ("check_lookup", 0.49 / 29, "the target is 1"),
    ("check_lookup", 0.0, "held out"),
    ("check_lookup", 0.02, "mean output"),
    ("check_new_run", 0.0, "record"),
    ("check_new_run", 0.05, "new run too"),
    ("check_new_run", 2 / 21, "upper side"),
    ("check_new_run", 0.5, "single"),
    ("check_new_run", 0.3, "All runs are alike"),
    ("check_alarm", first_outside, "excursion"),
    ("check_alarm", runs_of(lambda s, a, b: all(v > b for v in s) or all(v < a for v in s), "last"), "first record"),
    ("check_alarm", runs_of(lambda s, a, b: all(v > b for v in s), "first"), "two sides"),
    ("check_alarm", runs_of(lambda s, a, b: all(v > b or v < a for v in s), "first"), "side to the other"),
    ("check_alarm", runs_of(lambda s, a, b: all(v >= b for v in s) or all(v < a for v in s), "first"), "edge"),
    ("check_alarm", lambda *_: 15.0, "first record"),
]


@pytest.mark.parametrize(("name", "wrong", "phrase"), WRONG)
def test_mistake_is_named(name, wrong, phrase):
    answer = getattr(grokking, name)(wrong)
    assert not answer and phrase in answer.message


def test_never_is_none_not_the_last_epoch():
    patient = SOLUTIONS["check_alarm"]()

    def eager(*given):
        found = patient(*given)
        return given[0][-1] if found is None else found

    assert not check_alarm(eager)
