from dataclasses import dataclass
from typing import Literal

import pytest

from entk_tutorial.experiments.overrides import override, parse_seeds


@dataclass(frozen=True)
class Config:
    p: int = 29
    lr: float = 0.05
    name: str = "a"
    flag: bool = False
    widths: tuple[int, ...] = (1,)
    pair: tuple[int, float] = (1, 2.0)
    limit: int | None = 3
    kind: Literal["sum", "diff"] = "sum"
    number: int | float = 1
    table: dict | None = None

    def __post_init__(self):
        if self.p < 2:
            raise ValueError(f"p must be at least 2, got {self.p}.")


@pytest.mark.parametrize(
    ("text", "seeds"), [("0-4", [0, 1, 2, 3, 4]), ("0,2,5", [0, 2, 5]), ("7", [7]), ("0-1, 8", [0, 1, 8]), ("3-3", [3])]
)
def test_seeds_are_numbers_and_ranges(text, seeds):
    assert parse_seeds(text) == seeds


@pytest.mark.parametrize("text", ["", "a", "1-", "-1", "1..3", "1.5", "0,,2"])
def test_what_is_no_seed_is_named(text):
    with pytest.raises(ValueError, match="is neither a number nor a range"):
        parse_seeds(text)


def test_backward_range_is_turned_round_in_the_message():
    with pytest.raises(ValueError, match=r"runs backwards. Write 1-4"):
        parse_seeds("4-1")


@pytest.mark.parametrize(
    ("item", "key", "value"),
    [
        ("p=7", "p", 7),
        ("lr=1e-3", "lr", 0.001),
        ("lr=1", "lr", 1.0),
        ("name=b=c", "name", "b=c"),
        ("flag=true", "flag", True),
        ("flag=0", "flag", False),
        ("widths=64,128", "widths", (64, 128)),
        ("widths=(8,)", "widths", (8,)),
        ("pair=2,3", "pair", (2, 3.0)),
        ("limit=none", "limit", None),
        ("limit=5", "limit", 5),
        ("kind=diff", "kind", "diff"),
        ("number=0.5", "number", 0.5),
    ],
)
def test_values_are_read_by_the_type_of_their_field(item, key, value):
    read = getattr(override(Config(), [item]), key)
    assert read == value and type(read) is type(value)


@pytest.mark.parametrize(
    ("items", "message"),
    [
        (["p"], "'p' is not key=value, e.g. p=1"),
        (["width=3"], "no setting 'width': did you mean widths"),
        (["zzzz=3"], "no setting 'zzzz': it has p, lr, name"),
        (["p=3", "p=5"], "'p' is given twice"),
        (["p=2.5"], "p=2.5: a value of type int is needed"),
        (["flag=maybe"], "flag=maybe: write true or false"),
        (["pair=1"], "2 values are needed, with commas between; found 1"),
        (["kind=prod"], "choose one of sum, diff"),
        (["limit=x"], "limit=x: a value of type int"),
        (["table=x"], "a value of type dict"),
        (["p=1"], "p must be at least 2, got 1"),
    ],
)
def test_mistakes_are_named(items, message):
    with pytest.raises(ValueError, match=message):
        override(Config(), items)


def test_hyphens_are_underscores():
    @dataclass(frozen=True)
    class Two:
        weight_decay: float = 0.0

    assert override(Two(), ["weight-decay=1"]).weight_decay == 1.0
