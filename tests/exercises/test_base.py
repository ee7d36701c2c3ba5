"""Reading the reader's number."""

import numpy as np
import pytest
import torch

from entk_tutorial.exercises.base import close, number


@pytest.mark.parametrize("given", [2, 2.0, np.float64(2), np.array([2]), torch.tensor(2.0), torch.tensor([[2]])])
def test_one_number_is_read_in_any_clothes(given):
    assert number(given) == 2.0
    assert close(given, 2.0)


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("2", "give a number, found str"),
        (None, "give a number, found NoneType"),
        (True, "give a number, found bool"),
        (2j, "give a number, found complex"),
        ([2], "give a number, found list"),
        (np.bool_(True), "of bool"),
        (torch.ones(2), "give one number, found Tensor of several"),
        (np.ones(2), "give one number, found ndarray of several"),
    ],
)
def test_anything_else_is_named(given, reason):
    with pytest.raises(ValueError, match=reason):
        close(given, 2.0)
