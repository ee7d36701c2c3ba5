"""Windows of text keep inputs before targets; the training on counts is the training on pairs; schedules stop."""

import pytest
import torch
from torch.nn.functional import cross_entropy

from entk_tutorial.data.language import language_modelling
from entk_tutorial.models.centred import Centred
from entk_tutorial.models.language import MLPLanguage, TransformerLanguage
from entk_tutorial.models.language_training import (
    Sequences,
    Training,
    perplexity,
    sequences,
    train_bigrams,
    train_language,
)


def test_each_target_is_the_next_input():
    texts = ["a b c d e f g", "g f e d c b a", "a c e g b d f"]
    data = language_modelling(texts, vocabulary=7, context=3, test_fraction=0.34)
    found = sequences(data)
    assert torch.equal(found.inputs[:, 1:], found.targets[:, :-1])
    assert torch.equal(found.test_inputs[:, 1:], found.test_targets[:, :-1])
    assert len(found.test_inputs) == 2  # 4 windows of one text, every third


def test_counts_train_as_pairs_do():
    generator = torch.Generator().manual_seed(0)
    pairs = torch.randint(5, (40, 2), generator=generator)
    raw = torch.zeros(5, 5, dtype=torch.float64)
    for a, c in pairs.tolist():
        raw[a, c] += 1
    fast = train_bigrams(MLPLanguage(5, 8, seed=2, dtype=torch.float64), raw, lr=0.01, record_at=[0, 1, 5])
    slow = Centred(MLPLanguage(5, 8, seed=2, dtype=torch.float64))
    sgd = torch.optim.SGD(slow.parameters(), lr=0.01)
    for _ in range(5):
        sgd.zero_grad()
        cross_entropy(slow(pairs[:, :1]), pairs[:, 1], reduction="sum").backward()
        sgd.step()
    assert float(fast[0].abs().max()) == 0.0
    torch.testing.assert_close(fast[2], slow(torch.arange(5)[:, None]).detach())


def test_raw_weights_have_rates_of_their_own():
    raw = torch.tensor([[0.0, 3.0], [2.0, 1.0]])
    model = MLPLanguage(2, 8, seed=0)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train_bigrams(model, raw, lr=0.01, record_at=[3], speed={"E": 0.0, "W": 0.0})
    moved = {name: not torch.equal(before[name], p.detach()) for name, p in model.named_parameters()}
    assert moved == {"E": False, "W": False, "v": True}


def test_stopping_early_keeps_the_schedule():
    turns = torch.arange(60) % 5
    text = Sequences(*[turns.unfold(0, 4, 1)[i : 40 + i] for i in (0, 1, 0, 1)])
    runs = []
    for stop in (None, 7):
        model = TransformerLanguage(5, 4, d_model=8, heads=2, seed=0)
        runs.append(train_language(model, text, Training(steps=12, warm_up=3), seed=4, stop=stop)[1])
    assert len(runs[0]) == 12 and runs[1] == runs[0][:7]


def test_perplexity_does_not_depend_on_the_chunk():
    model = TransformerLanguage(5, 4, d_model=8, heads=2, seed=0)
    x = torch.randint(5, (9, 4), generator=torch.Generator().manual_seed(1))
    assert perplexity(model, x, x, chunk=2) == pytest.approx(perplexity(model, x, x))


@pytest.mark.parametrize("settings", [{"steps": 0}, {"lr": 0.0}, {"batch": 0}, {"weight_decay": -1.0}])
def test_settings_that_cannot_run(settings):
    with pytest.raises(ValueError, match="positive lr"):
        Training(**settings)


@pytest.mark.parametrize(
    ("options", "message"), [({"record_at": []}, "growing"), ({"record_at": [1], "optimiser": "lion"}, "lion")]
)
def test_mistakes(options, message):
    with pytest.raises(ValueError, match=message):
        train_bigrams(MLPLanguage(2, 4), torch.eye(2), lr=0.1, **options)
