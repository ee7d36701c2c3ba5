"""The training loop, and checkpoints that are whole and of this configuration or refused."""

import math

import pytest
import torch
from torch import nn

from entk_tutorial.training import (
    CheckpointError,
    TrainingError,
    config_digest,
    copy_state,
    load_checkpoint,
    pick_device,
    save_checkpoint,
    train,
)

CONFIG = {"p": 7, "lr": 0.1, "widths": (3, 4), "name": "small"}


def halving():
    """One weight, halved by every step."""
    model = nn.Linear(1, 1, bias=False)
    with torch.no_grad():
        model.weight.fill_(1.0)
    return model, torch.optim.SGD(model.parameters(), lr=0.25)


def square(model):
    return model.weight.square().sum()


def value(model):
    assert not torch.is_grad_enabled()
    return {"w": model.weight.item()}


def test_history_and_snapshots_are_taken_after_the_named_steps():
    model, sgd = halving()
    history = train(model, square, sgd, 4, evaluate=value, record_at=[0, 1, 3], snapshots_at=[0, 2, 4])
    assert history.steps == [0, 1, 3, 4]
    assert history.metrics == {"w": [1.0, 0.5, 0.125, 0.0625]}
    assert {step: float(s["weight"]) for step, s in history.snapshots.items()} == {0: 1.0, 2: 0.25, 4: 0.0625}


def test_snapshots_do_not_follow_the_model():
    model, sgd = halving()
    history = train(model, square, sgd, 0, snapshots_at=[0])
    with torch.no_grad():
        model.weight.fill_(9.0)
    assert float(history.snapshots[0]["weight"]) == 1.0 and history.steps == []


@pytest.mark.parametrize(
    "arguments", [{"steps": -1}, {"record_at": [4]}, {"snapshots_at": [-1]}, {"record_at": [5, 6]}]
)
def test_steps_outside_the_run(arguments):
    model, sgd = halving()
    with pytest.raises(ValueError, match=r"\[0, steps\]"):
        train(model, square, sgd, **({"steps": 3} | arguments))
    assert model.weight.item() == 1.0


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_names_its_step_and_loses_nothing(bad):
    model, sgd = halving()

    def loss(m):
        return square(m) * (bad if m.weight.item() < 0.3 else 1.0)

    with pytest.raises(TrainingError, match=r"at step 3; lower the learning rate") as caught:
        train(model, loss, sgd, 10, evaluate=value, record_at=range(11), snapshots_at=range(11))
    history = caught.value.history
    assert history.steps == [0, 1, 2] and history.metrics["w"] == [1.0, 0.5, 0.25]
    assert set(history.snapshots) == {0, 1, 2}
    assert model.weight.item() == 0.25  # the parameters before the bad loss


def test_two_runs_of_one_seed_are_equal_and_the_random_state_is_left():
    states = []
    before = torch.get_rng_state()
    for _ in range(2):
        model, sgd = halving()
        torch.set_rng_state(before)
        states.append(train(model, square, sgd, 3, snapshots_at=[3]).snapshots[3]["weight"])
        assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(*states)


def test_checkpoint_round_trip(tmp_path):
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))
    model[2].weight = nn.Parameter(torch.randn(4, 3).T)  # not contiguous
    digest = save_checkpoint(tmp_path / "a.safetensors", model.state_dict(), CONFIG)
    state = load_checkpoint(tmp_path / "a.safetensors", CONFIG, sha256=digest)
    assert state.keys() == model.state_dict().keys()
    assert all(
        torch.equal(v, model.state_dict()[k]) and v.dtype == model.state_dict()[k].dtype for k, v in state.items()
    )
    assert [f.name for f in tmp_path.iterdir()] == ["a.safetensors"]


def test_tied_weights_can_be_stored(tmp_path):
    a, b = nn.Linear(3, 3), nn.Linear(3, 3)
    b.weight = a.weight
    model = nn.Sequential(a, b)
    for state in (model.state_dict(), dict(model.named_parameters(remove_duplicate=False)), copy_state(model)):
        save_checkpoint(tmp_path / "tied", state, {})
        loaded = load_checkpoint(tmp_path / "tied", {})
        assert torch.equal(loaded["0.weight"], loaded["1.weight"]) and torch.equal(loaded["0.weight"], a.weight)


def stored(tmp_path):
    path = tmp_path / "a.safetensors"
    save_checkpoint(path, {"w": torch.arange(1000.0)}, CONFIG)
    return path


@pytest.mark.parametrize("keep", [0, 1, 7, 8, 50, 200, 4000])
def test_a_truncated_checkpoint_is_refused(tmp_path, keep):
    path = stored(tmp_path)
    whole = path.read_bytes()
    assert len(whole) > 4000
    path.write_bytes(whole[:keep])
    with pytest.raises(CheckpointError, match=r"not a whole checkpoint.*make it again"):
        load_checkpoint(path, CONFIG)
    assert path.read_bytes() == whole[:keep]


@pytest.mark.parametrize(
    "change",
    [{"p": 11}, {"lr": 0.2}, {"widths": (3, 5)}, {"extra": None}, {"extra": [1]}, {"extra": {"a": 1}}],
    ids=str,
)
def test_a_checkpoint_of_another_configuration_is_refused(tmp_path, change):
    with pytest.raises(CheckpointError, match=f"another configuration.*{next(iter(change))}"):
        load_checkpoint(stored(tmp_path), CONFIG | change)
    with pytest.raises(CheckpointError, match="another configuration"):
        load_checkpoint(stored(tmp_path), {})


def test_foreign_and_missing_files(tmp_path):
    from safetensors.torch import save_file

    save_file({"w": torch.ones(2)}, tmp_path / "foreign")
    save_file({"w": torch.ones(2)}, tmp_path / "list", metadata={"config": "[1]"})
    save_file({"w": torch.ones(2)}, tmp_path / "text", metadata={"config": "{"})
    for name, message in (("foreign", "no configuration"), ("list", "no configuration"), ("text", "not a whole")):
        with pytest.raises(CheckpointError, match=message):
            load_checkpoint(tmp_path / name, CONFIG)
    for path in (tmp_path / "none", tmp_path):
        with pytest.raises(CheckpointError, match="no such checkpoint"):
            load_checkpoint(path, CONFIG)


def test_another_hash_is_refused(tmp_path):
    with pytest.raises(CheckpointError, match=r"SHA-256 is .*, 00 was expected"):
        load_checkpoint(stored(tmp_path), CONFIG, sha256="00")


def test_a_failed_write_leaves_the_old_file(tmp_path):
    path = stored(tmp_path)
    before = path.read_bytes()
    with pytest.raises(TypeError):
        save_checkpoint(path, {"w": torch.ones(1)}, {"device": torch.device("cpu")})
    assert path.read_bytes() == before
    with pytest.raises(OSError):
        save_checkpoint(tmp_path / "missing" / "a", {"w": torch.ones(1)}, {})


def test_digest_ignores_the_order_of_keys_only():
    assert config_digest({"a": 1, "b": 2}) == config_digest({"b": 2, "a": 1}) != config_digest({"a": 1, "b": 3})


def test_devices():
    assert pick_device("cpu") == torch.device("cpu")
    assert pick_device().type in ("cpu", "cuda")
    for name in ("tpu", "cuda:99", "", "meta", "hpu"):
        with pytest.raises(ValueError, match=r"not available here.*try 'auto'"):
            pick_device(name)
