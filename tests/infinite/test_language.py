"""The velocity of all scores from counts, against the kernel; the flow on counts against the dense one."""

import pytest
import torch
from torch.nn.functional import one_hot

from entk_tutorial.data.language import cooccurrence
from entk_tutorial.infinite import kernel_gradient_descent, mlp_constants, mlp_kernel
from entk_tutorial.infinite.language import bigram_flow, bigram_rate, prior_term, score_velocity

V = 6


def pairs(context):
    generator = torch.Generator().manual_seed(3)
    return torch.randint(V, (50, context), generator=generator), torch.randint(V, (50,), generator=generator)


@pytest.mark.parametrize("activation", ["relu", "gelu", "tanh"])
@pytest.mark.parametrize("context", [1, 3])
def test_velocity_is_the_kernel_times_the_residual(activation, context):
    contexts, targets = pairs(context)
    words = [[a] for a in range(V)]
    theta = mlp_kernel(words, contexts.tolist(), activation=activation).ntk
    slow = theta @ (one_hot(targets, V).double() - 1 / V)
    fast = score_velocity(contexts, targets, V, *mlp_constants(activation))
    torch.testing.assert_close(fast, slow)
    torch.testing.assert_close(fast.sum(1), torch.zeros(V, dtype=torch.float64), atol=1e-9, rtol=0)


def test_flow_is_gradient_descent_with_the_kernel():
    contexts, targets = pairs(1)
    a, b = mlp_constants("relu")
    raw = cooccurrence(contexts, targets, V).raw
    lr = bigram_rate(raw, a, b)
    documents = contexts.tolist()
    train = mlp_kernel(documents, activation="relu").ntk
    run = kernel_gradient_descent(train, one_hot(targets, V).double(), "softmax", lr, 20)
    slow = run.predict(mlp_kernel([[w] for w in range(V)], documents, activation="relu").ntk)
    torch.testing.assert_close(bigram_flow(raw, a, b, lr, [0, 20])[1], slow)


def test_the_rate_is_that_of_the_whole_kernel():
    contexts, targets = pairs(1)
    a, b = mlp_constants("relu")
    largest = torch.linalg.eigvalsh(mlp_kernel(contexts.tolist(), activation="relu").ntk)[-1]
    raw = cooccurrence(contexts, targets, V).raw
    assert bigram_rate(raw, a, b, share=1.0) == pytest.approx(4 / float(largest))


def test_a_word_never_seen_moves_by_the_prior_alone():
    raw = torch.zeros(3, 3, dtype=torch.float64)
    raw[0], raw[1] = torch.tensor([4.0, 1.0, 1.0]), torch.tensor([3.0, 2.0, 1.0])
    targets = torch.repeat_interleave(torch.arange(3), raw.sum(0).long())
    seen = bigram_flow(raw, 2.0, 0.5, 0.1, [1])[0]
    torch.testing.assert_close(seen[2], 0.1 * 0.5 * prior_term(targets, 3))
    assert float(bigram_flow(raw, 2.0, 0.0, 0.1, [5])[0][2].abs().max()) == 0.0


def test_steps_must_grow():
    with pytest.raises(ValueError, match="growing"):
        bigram_flow(torch.eye(2), 1.0, 0.0, 0.1, [3, 2])
