import pytest
import torch

from entk_tutorial.features.doubles import leading_frequencies, split_doubles
from entk_tutorial.features.fourier import fourier_features


def test_the_keys_of_the_large_transformer_are_four_and_their_doubles():
    base, doubles = split_doubles([2, 4, 18, 23, 29, 36, 42, 45], 113)
    assert base == [2, 18, 42, 45] and doubles == {4: 2, 23: 45, 29: 42, 36: 18}


def test_a_chain_keeps_its_first():
    assert split_doubles([1, 2, 4], 29) == ([1], {2: 1, 4: 2})


def test_squares_of_waves_have_twice_the_frequency():
    n = torch.arange(13, dtype=torch.float64)
    for k in range(1, 7):
        square = (2 * torch.pi * k * n / 13).cos().square()
        power = torch.fft.rfft(square - square.mean()).abs()
        assert split_doubles([k, int(power.argmax())], 13)[1] == {int(power.argmax()): k}


def test_shares_by_family_and_frequency():
    p = 11
    features = fourier_features(p)
    vectors = torch.cat([features["sum"][:, 4:6], features["n"][:, 0:2]], 1)
    vectors = vectors / vectors.norm(dim=0)
    assert leading_frequencies(vectors, p) == {"n": {1: 0.5}, "sum": {3: 0.5}}
    assert leading_frequencies(vectors, p, at_least=0.6) == {}


@pytest.mark.parametrize("keys", [[0], [7]])
def test_a_frequency_that_is_none_is_refused(keys):
    with pytest.raises(ValueError, match="lie outside 1 to 6"):
        split_doubles(keys, 13)
