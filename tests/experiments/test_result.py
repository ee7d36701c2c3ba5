import json
import math

import pytest

from entk_tutorial.experiments.result import Result, encode
from entk_tutorial.results import load_result, stored_names


def change(path, value):
    """An edit that sets document[path[0]][path[1]]... to a value."""

    def edit(document):
        for key in path[:-1]:
            document = document[key]
        document[path[-1]] = value

    return edit


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["metrics", "score"], [1.0], "metrics: score should hold 3 values, one a seed; found 1"),
        (["metrics", "score"], 1.0, "metrics: score should hold 3 values, one a seed; found float"),
        (["metrics", "score"], [1.0, math.nan, 2.0], "metrics: score holds a value that is not a finite number"),
        (["metrics", "score"], [1.0, "2", 2.0], "not a finite number"),
        (["controls", "untrained", "score"], [1.0, 2.0], "control untrained: score should hold 3 values"),
        (["controls", "untrained"], 3, "control untrained should be an object"),
        (["series", "epoch"], [[0]], "series epoch should hold 3 curves"),
        (["series", "epoch"], [[0], [1], [math.inf]], "series epoch holds something that is not a finite number"),
        (["chance", "score"], None, "chance of score is None"),
        (["seeds"], [0, 1, 1], "seeds should be distinct"),
        (["seeds"], [], "seeds should be distinct"),
        (["metrics"], [1], "metrics should be objects"),
        (["provenance"], {}, "provenance lacks"),
        (["hashes"], {"config": "", "code": ""}, "hashes should hold config, code and criteria"),
        (["verdicts"], {}, "should name the same claims"),
        (["note"], "x", "expected an object with the keys"),
    ],
)
def test_malformed_result_is_refused_with_finding_and_cure(toy, path, value, message):
    toy.run()
    toy.edit(change(path, value))
    with pytest.raises(ValueError, match=rf"toy\.json is not a valid result: .*{message}.*Restore the file"):
        Result.load(toy.final)


def test_missing_and_truncated_files_are_named(toy, tmp_path):
    with pytest.raises(ValueError, match=r"none\.json cannot be read"):
        Result.load(tmp_path / "none.json")
    toy.run()
    toy.final.write_text(toy.final.read_text()[:100])
    with pytest.raises(ValueError, match=r"toy\.json is not a whole JSON file"):
        Result.load(toy.final)


def test_numbers_keep_ten_digits_and_arrays_one_line(toy):
    toy.run([1, 2])
    assert '   "score": [10.33333333, 10.66666667]\n'.strip() in toy.final.read_text()


def test_encode_round_trips_with_sorted_keys():
    document = {"b": [[1, 2], [3]], "a": {}, "c": [], "d": [{"x": 1}], "e": 1e-300}
    text = encode(document)
    assert json.loads(text) == document
    assert text.index('"a"') < text.index('"b"') and "[1, 2]" in text


def test_record_of_a_seed_that_is_not_there(toy):
    with pytest.raises(ValueError, match=r"toy holds seeds \[0\], not 7"):
        toy.run([0]).record(7)


def test_load_result_reads_what_was_stored(toy):
    result = toy.run()
    assert load_result("toy", toy.folder).to_json() == result.to_json()
    assert stored_names(toy.folder) == ["toy"]


def test_load_result_names_the_nearest_and_the_cure(toy):
    toy.run()
    with pytest.raises(ValueError, match=r"holds no result of 'toyz': it has toy. Cure: entk run toyz"):
        load_result("toyz", toy.folder)


def test_result_under_another_name_is_refused(toy):
    toy.run()
    toy.final.rename(toy.folder / "other.json")
    with pytest.raises(ValueError, match="is a result of 'toy', not of 'other'"):
        load_result("other", toy.folder)


def test_stored_results_of_the_package_are_whole():
    for name in stored_names():
        assert load_result(name).experiment == name
