import pytest

from entk_tutorial.data.sentiment import SentimentConfig, sentiment_corpus
from entk_tutorial.experiments.small_weights import Config, train_network


def test_small_weights_add_up_and_large_ones_do_not() -> None:
    corpus = sentiment_corpus(SentimentConfig(train=80, test=60), seed=3)
    small = train_network(Config(width=32, epochs=60), corpus, seed=0, lr=1e-2)
    # At a scale of 1 a step of the same relative size: Adagrad takes lr over the scale.
    large = train_network(Config(width=32, epochs=60, scale=1.0), corpus, seed=0, lr=1e-1)
    assert small["dd"] < 0.05 < large["dd"]
    assert small["moved"] > 0.1


@pytest.mark.parametrize("settings", [{"width": 0}, {"scale": 0.0}, {"lr": -1.0}, {"batch": 0}])
def test_settings_that_cannot_run_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError):
        Config(**settings)  # type: ignore[arg-type]
