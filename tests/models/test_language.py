"""No position sees its target, logits add up over words, the leak is as deep as it is said to be."""

import pytest
import torch

from entk_tutorial.models.language import MLPLanguage, TransformerLanguage

V, T = 11, 6


def reach(model: torch.nn.Module) -> list[list[int]]:
    """For each position the places whose token its logits depend on."""
    window = torch.zeros(1, T, dtype=torch.int64)
    with torch.no_grad():
        before = model(window)[0]
        rows = []
        for place in range(T):
            other = window.clone()
            other[0, place] = 1
            rows.append((model(other)[0] - before).abs().amax(1) > 0)
    table = torch.stack(rows, 1)  # (position, place)
    return [torch.nonzero(row)[:, 0].tolist() for row in table]


@pytest.mark.parametrize("layers", [1, 2])
@pytest.mark.parametrize("positions", [True, False])
def test_no_position_sees_its_target(layers, positions):
    model = TransformerLanguage(V, T, d_model=8, heads=2, layers=layers, positions=positions, seed=1)
    assert reach(model) == [list(range(t + 1)) for t in range(T)]


@pytest.mark.parametrize("ahead", [1, T])
def test_the_leak_is_there_and_no_deeper(ahead):
    model = TransformerLanguage(V, T, d_model=8, heads=2, ahead=ahead, seed=1)
    assert reach(model) == [list(range(min(T, t + 1 + ahead))) for t in range(T)]


def test_the_mlp_adds_up_over_words_and_knows_no_order():
    model = MLPLanguage(V, 16, targets=4, activation="gelu", seed=0)
    contexts = torch.tensor([[1, 2, 3], [3, 1, 2]])
    out = model(contexts)
    assert out.shape == (2, 4)
    torch.testing.assert_close(out[0], model.scores()[[1, 2, 3]].sum(0))
    torch.testing.assert_close(out[0], out[1])


def test_seed_decides_and_leaves_the_callers_state_alone():
    torch.manual_seed(3)
    state = torch.random.get_rng_state()
    one, same, other = (TransformerLanguage(V, T, d_model=8, heads=2, seed=s) for s in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    window = torch.arange(T)[None]
    assert torch.equal(one(window), same(window)) and not torch.equal(one(window), other(window))


def test_a_prior_in_the_output_bias_is_predicted_at_the_start():
    prior = torch.arange(1.0, V + 1).log_softmax(0)
    model = TransformerLanguage(V, T, d_model=64, heads=2, output_bias=prior, seed=0)
    predicted = model(torch.zeros(1, T, dtype=torch.int64))[0].log_softmax(1).detach()
    assert float(torch.corrcoef(torch.stack([predicted[0], prior]))[0, 1]) > 0.85
    assert "b_U" in dict(model.named_parameters())


def test_variance_of_the_neurons_inputs_is_near_one():
    model = TransformerLanguage(200, 4, d_model=64, seed=0)
    r = (model.W_E + model.W_pos[0]).detach()
    assert float((r @ model.blocks[0]["W_in"].detach().T).var()) == pytest.approx(1.25, rel=0.15)


@pytest.mark.parametrize(
    "make, message",
    [
        (lambda: MLPLanguage(0, 3), "tokens=0"),
        (lambda: MLPLanguage(3, 3, activation="step"), "unknown activation"),
        (lambda: TransformerLanguage(V, T, d_model=10, heads=4), "divisor"),
        (lambda: TransformerLanguage(V, T, ahead=-1), "ahead=-1"),
        (lambda: TransformerLanguage(V, T)(torch.zeros(1, T + 1, dtype=torch.int64)), "T <= 6"),
        (lambda: TransformerLanguage(V, T)(torch.zeros(3, dtype=torch.int64)), "expected"),
    ],
)
def test_mistakes(make, message):
    with pytest.raises(ValueError, match=message):
        make()
