from __future__ import annotations

import pytest
import torch
from torch import nn

from entk_tutorial import empirical_ntk
from entk_tutorial.empirical import MemoryPlanError, ModelError
from entk_tutorial.features.localisation import centred
from entk_tutorial.survey import cost, readout, shown, survey


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 8), nn.Tanh(), nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2)).double()


X = torch.randn(24, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_groups_add_up_to_the_kernel(net):
    found = survey(net, X, k=4)
    assert list(found) == ["0", "2", "4"]
    torch.testing.assert_close(sum(found[g].kernel for g in found), empirical_ntk(net, X))
    assert sum(found[g].weight for g in found) == pytest.approx(1)
    joined = survey(net, X, groups={"early": ("0.", "2."), "late": "4."}, k=4)
    torch.testing.assert_close(joined["early"].kernel, found["0"].kernel + found["2"].kernel)
    assert joined["early"].parameters == 3 * 8 + 8 + 8 * 6 + 6


def test_eigenpairs_are_those_of_the_centred_kernel(net):
    layer = survey(net, X, k=3)["2"]
    c = centred(layer.kernel)
    torch.testing.assert_close(c @ layer.pairs.vectors, layer.pairs.vectors * layer.pairs.values)
    assert float(layer.pairs.vectors.sum(0).abs().max()) < 1e-8  # the constant is out
    assert layer.rank == pytest.approx(
        float(torch.special.entr(torch.linalg.eigvalsh(c).clamp(min=0) / c.trace()).sum().exp())
    )


def test_names_inside_a_readout_are_the_models(net):
    wrapped = readout(net, X, directions=3)
    assert list(survey(wrapped, X, k=2)) == ["0", "2", "4"]
    assert list(survey(wrapped, X, groups={"last": "4.weight"}, k=2)) == ["last"]


def test_flags_of_the_parameters_come_back_even_after_an_error(net):
    first = next(net.parameters())
    first.requires_grad_(False)
    try:
        survey(net, X, groups={"all": ("0.", "2.")}, k=2)
        assert not first.requires_grad
        with pytest.raises(MemoryPlanError):
            survey(net, X, groups={"all": ("0.", "2.")}, k=2, max_bytes=10)
        assert [p.requires_grad for p in net.parameters()] == [False, *[True] * 5]
    finally:
        first.requires_grad_(True)


def test_a_group_that_no_output_depends_on_is_left_out():
    class Pooler(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.used(x)

    assert list(survey(Pooler(), X.float(), k=2)) == ["used"]


def test_exciting_inputs_are_the_ends_of_the_eigenvector(net):
    layer = survey(net, X, k=3)["0"]
    names = [str(i) for i in range(24)]
    high, low = layer.exciting(1, names, count=2)
    v = layer.pairs.vectors[:, 1]
    assert high == [str(i) for i in v.argsort(descending=True)[:2].tolist()]
    assert low == [str(i) for i in v.argsort()[:2].tolist()]
    with pytest.raises(ValueError, match="0 to 2"):
        layer.exciting(3, names)
    with pytest.raises(ValueError, match="one name an input"):
        layer.exciting(0, names[:5])


def test_alignment_is_symmetric_with_ones(net):
    table = survey(net, X, k=2).alignment()
    torch.testing.assert_close(table, table.T)
    assert table.diagonal().tolist() == [1.0, 1.0, 1.0]
    assert 0 < float(table[0, 2]) < 1


def test_shown_separates_what_is_there_from_what_is_not():
    generator = torch.Generator().manual_seed(0)
    u = torch.linalg.qr(torch.randn(60, 4, generator=generator, dtype=torch.float64))[0]
    labels = torch.arange(60) % 3
    found = shown(
        u, {"there": u[:, 0], "not": torch.randn(60, generator=generator), "class": torch.nn.functional.one_hot(labels)}
    )
    assert found["there"].share > 0.9 > 0.4 > found["not"].share
    assert found["there"].best > 0.9
    assert found["there"].chance == pytest.approx(4 / 59)
    assert found["not"].chance < found["not"].null < 0.3
    assert found["class"].share < 0.4  # two dimensions, though three columns
    with pytest.raises(ValueError, match="one_hot"):
        shown(u, {"class": labels})


def test_cost_names_what_has_no_rule(net):
    assert cost(net, X).startswith("6 parameters by rule, 0 by Jacobian")
    with pytest.raises(MemoryPlanError) as caught:
        cost(net, X, max_bytes=10)
    assert any("fewer inputs" in note for note in caught.value.__notes__)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"groups": {"a": "9."}}, "begins with '9.'"),
        ({"groups": {"a": "0.", "b": "0.weight"}}, "in the groups"),
        ({"k": 24}, "at most 23"),
    ],
)
def test_mistakes(net, options, reason):
    with pytest.raises(ValueError, match=reason):
        survey(net, X, **{"k": 2, **options})


def test_dropout_and_half_precision_are_refused():
    dropping = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    with pytest.raises(ModelError, match="eval"):
        survey(dropping, X.float(), k=2)
    survey(dropping.eval(), X.float(), k=2)
    with pytest.raises(ModelError, match="16 bits"):
        survey(nn.Linear(3, 2).half(), X.half(), k=2)
    with pytest.raises(KeyError, match="there are 0, 2"):
        survey(dropping.eval(), X.float(), k=2)["last"]
