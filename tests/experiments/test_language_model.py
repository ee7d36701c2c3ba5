from __future__ import annotations

import pytest
import torch

from entk_tutorial.data.language import topics_text
from entk_tutorial.experiments import language_model
from entk_tutorial.experiments.language_model import Config, load_text, measure, measure_prior, shuffled
from entk_tutorial.infinite import mlp_constants
from entk_tutorial.models.language import MLPLanguage

SHORT = Config(
    vocabulary=80,
    length=8,
    widths=(32, 256),
    width=64,
    gd=(1, 5),
    adam=(10, 60),
    transformer=(5, 60),
    shuffled=60,
    d_model=16,
    reviews=False,
)


@pytest.fixture(scope="module")
def result() -> language_model.Result:
    return language_model.run(SHORT, seeds=[50])


@pytest.fixture(scope="module")
def text() -> language_model.Text:
    return load_text("topics", SHORT, 50)


def test_wide_networks_start_along_the_closed_form(result: language_model.Result) -> None:
    for name in ("relu", "gelu", "tanh"):
        assert result.mean(f"topics_{name}_256_velocity") > max(0.8, result.mean(f"topics_{name}_32_velocity"))
        assert result.mean(f"topics_{name}_256_velocity_three") > 0.8
    assert result.mean("topics_relu_closed_counts") < 0.6  # the prior is most of it
    assert result.mean("topics_tanh_closed_counts") == pytest.approx(1.0)


def test_the_limit_starts_along_counts_in_every_measure(result: language_model.Result) -> None:
    for what in ("counts", "own", "matched"):
        assert result.mean(f"topics_tanh_limit_{what}_first") == pytest.approx(1.0)


def test_shuffled_targets_pass_the_published_figure_and_fail_ours(result: language_model.Result) -> None:
    control = "shuffled_targets"
    assert result.mean("topics_relu_limit_figure", control) > 0.8
    assert result.mean("topics_tanh_limit_counts_first", control) > 0.8
    for model in ("relu_limit", "tanh_limit", "tanh_adam"):
        assert abs(result.mean(f"topics_{model}_own", control)) < 0.15
        assert abs(result.mean(f"topics_{model}_matched", control) - 0.5) < 0.15
    assert result.mean("topics_tanh_adam_own") > 0.2
    assert result.mean("topics_tanh_limit_matched") > 0.95


def test_training_beats_single_frequencies(result: language_model.Result) -> None:
    assert result.mean("topics_bigram") < result.mean("topics_unigram")
    assert result.mean("topics_tanh_adam_perplexity") < result.mean("topics_unigram")
    assert result.mean("topics_transformer_perplexity") < result.mean("topics_unigram") * 1.1


def test_shuffling_moves_training_targets_alone(text: language_model.Text) -> None:
    raw, windows = shuffled(text, 0)
    assert torch.equal(raw.sum(0), text.raw.sum(0)) and torch.equal(raw.sum(1), text.raw.sum(1))
    assert not torch.equal(raw, text.raw)
    assert windows is not None and text.windows is not None
    assert torch.equal(windows.inputs, text.windows.inputs)
    assert torch.equal(windows.test_targets, text.windows.test_targets)
    assert torch.equal(windows.targets.flatten().sort()[0], text.windows.targets.flatten().sort()[0])


def test_windows_and_pairs_share_split_and_words(text: language_model.Text) -> None:
    assert len(text.pairs.targets) > 40_000 and text.size == 81 and len(topics_text()) > 70
    assert text.windows is not None
    before, after = text.held_out
    assert torch.equal(before, text.windows.test_inputs.flatten()) and before.shape == after.shape


def test_a_prior_has_nothing_to_say_on_matched_pairs(text: language_model.Text) -> None:
    found = measure_prior(text)
    assert found["figure"] > 0.8 and abs(found["matched"] - 0.5) < 0.2


def test_measures_of_the_counts_themselves(text: language_model.Text) -> None:
    found = measure(text.raw, text)
    for what in ("counts", "own", "figure", "matched"):
        assert found[what] == pytest.approx(1.0)
    assert found["top"] > found["bottom"]


def test_velocity_is_what_a_small_step_does() -> None:
    pull = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    model = MLPLanguage(4, 8, activation="gelu", seed=1, dtype=torch.float64)
    velocity = language_model.first_velocity(model, pull)
    before = model.scores().detach()
    (model.scores() * pull).sum().backward()
    with torch.no_grad():
        for p in model.parameters():
            p += 1e-6 * p.grad  # type: ignore[operator]
        torch.testing.assert_close((model.scores() - before) / 1e-6, velocity, rtol=1e-3, atol=1e-3)
    assert mlp_constants("gelu")[1] > 0


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"widths": (4, 2)}, "growing"),
        ({"vocabulary": 10}, "40 words"),
        ({"d_model": 30}, "4 heads"),
        ({"shuffled": 7}, "none of the steps"),
        ({"lr": 0.0}, "positive"),
    ],
)
def test_settings_that_cannot_run_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config(**settings)  # type: ignore[arg-type]
