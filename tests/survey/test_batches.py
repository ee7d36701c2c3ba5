from __future__ import annotations

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from entk_tutorial.empirical import InputError
from entk_tutorial.survey import gather


def loader(n: int = 10, batch: int = 4) -> DataLoader:
    return DataLoader(TensorDataset(torch.arange(float(n))[:, None], torch.arange(n) % 3), batch_size=batch)


def test_all_examples_in_order_with_labels_apart():
    drawn = gather(loader(), labels=-1)
    assert isinstance(drawn.inputs, torch.Tensor)
    assert drawn.inputs[:, 0].tolist() == list(range(10))
    assert drawn.labels is not None
    assert drawn.labels.tolist() == [i % 3 for i in range(10)]
    assert drawn.seen == 10


def test_a_sample_keeps_inputs_labels_and_rows_together():
    drawn = gather(loader(), 4, labels=1, seed=3)
    assert isinstance(drawn.inputs, torch.Tensor)
    assert drawn.rows.tolist() == drawn.inputs[:, 0].long().tolist() == sorted(set(drawn.rows.tolist()))
    assert drawn.labels is not None
    assert drawn.labels.tolist() == [r % 3 for r in drawn.rows.tolist()]
    assert drawn.pick("abcdefghij") == ["abcdefghij"[r] for r in drawn.rows.tolist()]


def test_every_example_has_the_same_chance():
    counts = torch.zeros(10)
    for seed in range(400):
        counts[gather(loader(), 3, labels=-1, seed=seed).rows] += 1
    assert counts.sum() == 1200
    assert float((counts - 120).abs().max()) < 5 * (400 * 0.3 * 0.7) ** 0.5  # five standard deviations


def test_the_same_seed_draws_the_same_and_batches_do_not_matter():
    first = gather(loader(batch=4), 5, labels=-1, seed=1)
    assert torch.equal(first.rows, gather(loader(batch=3), 5, labels=-1, seed=1).rows)
    assert not torch.equal(first.rows, gather(loader(), 5, labels=-1, seed=2).rows)


def test_dicts_lose_what_is_not_kept_and_a_loader_without_end_is_stopped():
    def endless():
        while True:
            yield {"ids": torch.ones(2, 3), "text": ["a", "b"], "labels": torch.zeros(2)}

    drawn = gather(endless(), labels="labels", keep=("ids",), at_most=5)
    assert isinstance(drawn.inputs, dict)
    assert list(drawn.inputs) == ["ids"]
    assert len(drawn.inputs["ids"]) == drawn.seen == 5


def test_padding_fills_the_second_axis():
    ragged = [
        {"ids": torch.ones(1, 2).long(), "mask": torch.ones(1, 2)},
        {"ids": torch.ones(1, 4).long(), "mask": torch.ones(1, 4)},
    ]
    drawn = gather(ragged, pad={"ids": 9, "mask": 0})
    assert isinstance(drawn.inputs, dict)
    assert drawn.inputs["ids"].tolist() == [[1, 1, 9, 9], [1, 1, 1, 1]]
    assert drawn.inputs["mask"][0].tolist() == [1, 1, 0, 0]
    with pytest.raises(InputError, match="Pass pad="):
        gather(ragged)


@pytest.mark.parametrize(
    ("batches", "options", "reason"),
    [
        ([(torch.ones(2, 1), torch.ones(2))], {}, r"which of them are labels\? Pass labels=-1"),
        ([{"x": torch.ones(2, 1), "labels": torch.ones(2)}], {}, "labels='labels'"),
        ([{"x": torch.ones(2, 1)}], {"labels": "y"}, "not in the batch"),
        ([torch.ones(2, 1)], {"labels": -1}, "holds no labels"),
        ([{"x": torch.ones(2, 1), "text": ["a", "b"]}], {}, "keep="),
        ([{"x": torch.ones(2, 1)}], {"keep": ("z",)}, "the batch has no"),
        ([(torch.ones(2, 1), torch.ones(3))], {"labels": -1}, "first axes"),
        ([(torch.ones(2, 1),), {"x": torch.ones(2, 1)}], {}, "an earlier one"),
        ([], {}, "no example"),
        ([["a"]], {}, "a str"),
        ([3], {}, "a int"),
    ],
)
def test_what_a_loader_gets_wrong_is_named(batches, options, reason):
    with pytest.raises(InputError, match=reason):
        gather(batches, **options)


@pytest.mark.parametrize("options", [{"n": 0}, {"at_most": 0}])
def test_numbers_out_of_range(options):
    with pytest.raises(ValueError, match="positive"):
        gather(loader(), labels=-1, **options)


def test_names_must_be_those_of_the_loader():
    with pytest.raises(ValueError, match="10 examples"):
        gather(loader(), 3, labels=-1).pick("abc")
