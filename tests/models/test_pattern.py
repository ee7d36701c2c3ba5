"""Learned share of a pattern: against the eigenvalue of a kernel that stands still, and for wrong arguments."""

import pytest
import torch

from entk_tutorial.empirical import empirical_ntk
from entk_tutorial.models.pattern import pattern_progress
from entk_tutorial.models.text import CNNText, LinearText

PAIRS = torch.tensor([[0, 2], [0, 3], [1, 2], [1, 3]])
BOTH = torch.tensor([1.0, -1.0, -1.0, 1.0], dtype=torch.float64)


def test_a_frozen_embedding_learns_an_eigenvector_at_the_speed_of_its_eigenvalue():
    model = LinearText(vocab=4, width=32, seed=0)
    model.E.requires_grad_(False)  # now the outputs are linear in the parameters, and the kernel stands still
    values, vectors = torch.linalg.eigh(empirical_ntk(model, PAIRS))
    lr = 0.5 / float(values[-1])
    share = pattern_progress(model, PAIRS, vectors[:, -2], lr=lr, steps=10)
    torch.testing.assert_close(share, 1 - (1 - lr * values[-2]) ** torch.arange(11))


def test_a_relu_convolution_learns_what_needs_the_pair_and_a_linear_one_does_not():
    shares = {
        activation: pattern_progress(CNNText(4, 64, activation=activation, seed=1), PAIRS, BOTH, lr=0.3, steps=30)
        for activation in ("relu", "linear")
    }
    assert abs(shares["relu"][0]) < 1e-12 and shares["relu"][-1] > 0.9
    assert shares["linear"].abs().max() < 1e-12


def test_the_scale_of_the_goal_does_not_matter_to_a_kernel():
    model = LinearText(vocab=4, width=32, seed=0)
    model.E.requires_grad_(False)
    start = {name: value.clone() for name, value in model.state_dict().items()}
    goal = torch.tensor([1.0, 1.0, -1.0, -1.0], dtype=torch.float64)
    small = pattern_progress(model, PAIRS, 0.01 * goal, lr=0.1, steps=5)
    model.load_state_dict(start)
    torch.testing.assert_close(small, pattern_progress(model, PAIRS, goal, lr=0.1, steps=5))


@pytest.mark.parametrize("goal", [torch.zeros(4), torch.ones(3), torch.ones(4, 1)])
def test_a_goal_that_is_no_pattern_is_refused(goal):
    with pytest.raises(ValueError, match="one number for each of the 4 documents"):
        pattern_progress(LinearText(vocab=4, width=8, seed=0), PAIRS, goal, lr=0.1, steps=1)
