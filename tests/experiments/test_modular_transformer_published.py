"""The published draws: weights, split and batches are those of the plain torch and Python calls."""

import math
import random
from dataclasses import asdict, replace

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from entk_tutorial.experiments import modular_transformer, modular_transformer_published
from entk_tutorial.experiments.modular_transformer_published import Config

TINY = Config(p=7, d_model=16, heads=2, d_mlp=12, epochs=4, batch=10, record_every=2, kernel_every=2, device="cpu")


def test_settings_are_those_of_the_other_experiment():
    assert asdict(Config()) == asdict(modular_transformer.Config())


def test_weights_and_batches_are_those_of_the_global_generator():
    config = replace(TINY, p=29, d_model=64, heads=4, d_mlp=256, batch=64)
    model, rows = config.network(3), config.task(3).train
    own = config.batches(rows, 3)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        embedding, positions = torch.randn(30, 64) / 8, torch.randn(3, 64) / 8
        query, key, value = (torch.randn(4, 16, 64) / 8 for _ in range(3))
        out, into, back = torch.randn(64, 64) / 8, torch.randn(64, 256) / 16, torch.randn(256, 64) / 8
        unembedding = torch.randn(64, 30) / math.sqrt(30)
        loader = DataLoader(TensorDataset(rows), batch_size=64, shuffle=True)
        batches = [batch for _ in range(3) for (batch,) in loader]
    expected = {
        "W_E": embedding, "W_pos": positions, "W_Q": query.reshape(64, 64), "W_K": key.reshape(64, 64),
        "W_V": value.reshape(64, 64), "W_O": out, "W_in": into.T, "W_out": back.T, "W_U": unembedding.T,
    }  # fmt: skip
    for name, weight in model.state_dict().items():
        torch.testing.assert_close(weight, expected[name], rtol=1e-6, atol=0)
    assert len(batches) == 21 and all(torch.equal(next(own), batch) for batch in batches)


def test_one_split_for_all_seeds():
    pairs = [(n, m) for n in range(29) for m in range(29)]
    random.Random(0).shuffle(pairs)
    task = Config().task(5)
    assert [tuple(pair) for pair in task.pairs[task.train].tolist()] == pairs[:420]
    assert [tuple(pair) for pair in task.pairs[task.held_out].tolist()] == pairs[420:]
    assert torch.equal(task.train, Config().task(6).train)
    assert not torch.equal(task.train, modular_transformer.Config().task(5).train)


def test_the_callers_generators_are_left():
    before, python = torch.get_rng_state(), random.getstate()
    result = modular_transformer_published.run(TINY, seeds=[0])
    assert torch.equal(before, torch.get_rng_state()) and python == random.getstate()
    assert result.metrics["grokked"][0] == 0


def test_a_config_of_the_other_experiment_is_refused():
    with pytest.raises(ValueError, match="takes a Config"):
        modular_transformer_published.run(modular_transformer.Config(), seeds=[0])
