import math
import re

import numpy as np
import pytest

from entk_tutorial import ledger
from entk_tutorial.experiments.result import Result
from entk_tutorial.ledger import Claim, Criterion, OnlyIf, check, evaluate, load_claims, report, verdict
from entk_tutorial.verify import compare, spot_check, spot_seed, verify_stored


def result_of(controls=None, chance=None, **metrics):
    """A result of experiment "e" with these values, one a seed."""
    arrays = {name: np.array(values, dtype=float) for name, values in metrics.items()}
    return Result(
        experiment="e",
        config={},
        seeds=list(range(len(next(iter(arrays.values()))))),
        metrics=arrays,
        chance=chance or {},
        controls={c: {n: np.array(v, dtype=float) for n, v in table.items()} for c, table in (controls or {}).items()},
        series={},
        provenance={},
        hashes={"criteria": {}},
    )


def claim_of(*criteria, **more):
    return Claim("C", "ours", "here", "It holds.", "e", tuple(criteria), **more)


HIGH, LOW = Criterion("a", ">=", value=2.0), Criterion("b", "<", value=1.0)


@pytest.mark.parametrize(
    ("criterion", "a", "b", "met"),
    [
        (Criterion("a", ">=", value=2.0), [2, 3], [0, 0], True),
        (Criterion("a", ">", value=2.0), [2, 3], [0, 0], False),
        (Criterion("a", "<=", value=3.0), [2, 3], [0, 0], True),
        (Criterion("a", "<", value=3.0), [2, 3], [0, 0], False),
        (Criterion("a", ">=", value=2.5), [2, 3], [0, 0], False),
        (Criterion("a", ">=", value=2.5, over="mean"), [2, 3], [0, 0], True),
        (Criterion("a", ">=", value_metric="b"), [2, 3], [2, 2], True),
        (Criterion("a", ">=", value_metric="b", factor=1.5), [2, 3], [2, 2], False),
        (Criterion("a", "within", value=2.0, tolerance=0.5), [1.5, 2.5], [0, 0], True),
        (Criterion("a", "within", value_metric="b", tolerance=0.5), [1, 5], [1.4, 5.6], False),
        (Criterion("a", "within", value_metric="b", tolerance=0.5, over="mean"), [1, 5], [1.4, 5.6], True),
        (Criterion("a", "<=", value=1.0, control="untrained"), [9, 9], [0, 0], True),
        (Criterion("a", ">=", value_metric="a", value_control="untrained", factor=9.0), [9, 9], [0, 0], True),
        (Criterion("a", "<=", value_metric="a", control="untrained"), [0, 9], [0, 0], False),
    ],
)
def test_each_operator_and_side(criterion, a, b, met):
    result = result_of(a=a, b=b, controls={"untrained": {"a": [1, 1]}})
    assert ledger.outcomes([criterion], result)[0].met is met


CONDITION = OnlyIf("the width is large", (Criterion("wide", ">=", value=1.0),))


@pytest.mark.parametrize(
    ("claim", "a", "b", "expected"),
    [
        (claim_of(HIGH, LOW), [2, 3], [0, 0], "reproduced"),
        (claim_of(HIGH, LOW), [2, 1], [0, 0], "partly"),  # b holds on each seed
        (claim_of(HIGH, LOW), [2, 1], [0, 2], "partly"),  # half of the seeds meet both
        (claim_of(HIGH, LOW), [2, 1], [2, 0], "not reproduced"),  # no seed meets both, no criterion all seeds
        (claim_of(HIGH), [1, 1, 2], [0, 0, 0], "not reproduced"),
        (claim_of(HIGH), [1, 2, 2], [0, 0, 0], "partly"),
        (claim_of(HIGH, undercut=(LOW,)), [2, 2], [0, 0], "not what it seems"),
        (claim_of(HIGH, undercut=(LOW,)), [2, 2], [0, 1], "reproduced"),
        (claim_of(HIGH, undercut=(LOW, Criterion("a", ">", value=9.0))), [2, 2], [0, 0], "reproduced"),  # half of it
        (claim_of(HIGH, undercut=(LOW,)), [0, 0], [0, 0], "not reproduced"),
        (claim_of(HIGH, only_if=CONDITION), [0, 2], [0, 0], "only if the width is large"),
        (claim_of(HIGH, only_if=CONDITION), [2, 2], [0, 0], "reproduced"),
    ],
)
def test_verdicts(claim, a, b, expected):
    assert verdict(claim, result_of(a=a, b=b, wide=np.ones(len(a)))) == expected


def test_only_if_needs_its_condition():
    assert verdict(claim_of(HIGH, only_if=CONDITION), result_of(a=[0], wide=[0])) == "not reproduced"


def test_without_experiment_or_result_a_claim_is_not_tested():
    assert verdict(claim_of(HIGH), None) == "not tested"
    assert evaluate(Claim("C", "ours", "", "It holds.", ""), None).command == ""


def test_undercut_with_a_wrong_name_is_found_even_when_it_does_not_matter():
    with pytest.raises(ValueError, match="claim C: e has no metric 'zzz'"):
        evaluate(claim_of(HIGH, undercut=(Criterion("zzz", ">=", value=0.0),)), result_of(a=[0.0]))


def test_row_shows_numbers_chance_and_every_control():
    result = result_of(
        a=[2, 4], b=[0, 0], chance={"a": 0.5}, controls={"untrained": {"a": [1, 1]}, "other": {"b": [3, 3]}}
    )
    row = evaluate(claim_of(HIGH, published="3"), result)
    assert [str(m) for m in row.ours] == ["a 3.0 ± 1.4"]
    assert [str(m) for m in row.controls] == ["untrained a 1 ± 0"]
    assert row.chance == {"a": 0.5} and row.seeds == (0, 1)
    assert row.command == "entk run e --seeds 0-1"
    assert row.cells()[2] == ["a 3.0 ± 1.4", "2 seeds"]


def test_row_of_a_claim_about_a_control_shows_the_trained_network_beside_it():
    criterion = Criterion("a", "<=", value_metric="a", control="untrained")
    row = evaluate(claim_of(criterion), result_of(a=[2.0], controls={"untrained": {"a": [1.0]}}))
    assert [m.label for m in row.ours] == ["untrained a"] and [m.label for m in row.controls] == ["a"]


def test_result_of_another_experiment_or_lacking_chance_is_refused():
    with pytest.raises(ValueError, match="rests on e, the result is of toy"):
        result = result_of(a=[1.0])
        object.__setattr__(result, "experiment", "toy")
        evaluate(claim_of(HIGH), result)
    with pytest.raises(ValueError, match="e has no chance level 'x'"):
        evaluate(claim_of(HIGH, chance="x"), result_of(a=[1.0]))


def test_report_has_a_row_a_claim_in_both_formats(toy):
    toy.run()
    text, markdown = report(toy.folder), report(toy.folder, format="markdown")
    for shown in (text, markdown):
        assert "X.1" in shown and "X.2" in shown and "reproduced" in shown and "not tested" in shown
    assert "score 10.33 ± 0.33" in text and "shuffled score 10.33 ± 0.33<br>untrained score 0.10 ± 0.10" in markdown
    assert "[toy](../toys/toy.ipynb)" in markdown and "`entk run toy --seeds 0-2`" in markdown
    assert len({line.count("|") for line in markdown.splitlines()}) == 1
    with pytest.raises(ValueError, match="format is 'text', 'markdown' or 'html', got 'pdf'"):
        report(toy.folder, format="pdf")


def test_the_page_shows_each_criterion_and_how_many_seeds_met_it(toy):
    toy.run()
    page = report(toy.folder, format="html")
    assert 'href="../toys/toy.html"' in page and "Verdict: not tested." in page
    assert "score &gt;= " in page and "[3 of 3]" in page and page.count("<div") == page.count("</div>") == 2


def test_result_of_another_scale_says_nothing_about_the_claim(toy):
    toy.run([0], toy.config(n=2))
    assert [row.verdict for row in ledger.ledger_rows(toy.folder)] == ["not tested", "not tested"]


# ---------------------------------------------------------------- claims.toml

GOOD = """# a comment
[[claim]]
id = "A"
paper = "ours"
where = "x"
statement = "s"
experiment = "e"
criterion = [
    { metric = "a", op = ">=", value = 1 },
]
"""


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("[[claim]]", "[[claim]", 2, "is not valid TOML"),
        ('id = "A"', 'id = "A"\ncolour = "red"', 4, "unknown key 'colour'"),
        ('where = "x"\n', "", 2, "this claim has no where"),
        ('statement = "s"', "statement = 3", 6, "statement should be a text, found 3"),
        ('id = "A"', 'id = ""', 3, "the id is empty"),
        ('op = ">="', 'op = "=="', 8, "one of >= <= > < within"),
        ('metric = "a"', 'metrics = "a"', 8, "unknown key 'metrics' in criterion"),
        ("value = 1", 'value = "1"', 8, "value in criterion should be a number, found '1'"),
        ("value = 1", "value = true", 8, "should be a number, found True"),
        (", value = 1", "", 8, "needs a right side, value or value_metric"),
        ("value = 1", 'value = 1, value_metric = "b"', 8, "needs a right side, value or value_metric, not both"),
        ("value = 1", "value = 1, factor = 2", 8, "factor and value_control in criterion go with value_metric"),
        ("value = 1", "value = 1, tolerance = 2", 8, 'tolerance in criterion goes with op = "within"'),
        ('op = ">="', 'op = "within"', 8, 'tolerance in criterion goes with op = "within"'),
        ("value = 1", 'value = 1, over = "most"', 8, 'should be "each" or "mean"'),
        ("criterion = [", "undercut = [", 7, "claim A has an experiment but no criterion"),
        ('experiment = "e"', 'experiment = ""', 8, "has a criterion but no experiment"),
        ("criterion = [", 'only_if = { text = "t" }\ncriterion = [', 8, "only_if should be"),
        ("{ metric", "3, { metric", 8, "criterion should be a list of tables"),
    ],
)
def test_mistake_in_claims_is_named_with_file_and_line(tmp_path, old, new, line, message):
    path = tmp_path / "claims.toml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    with pytest.raises(ValueError) as caught:
        load_claims(path)
    assert message in str(caught.value) and re.search(rf"claims\.toml.*line {line}\b", str(caught.value))


def test_doubled_id_names_both_lines(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(GOOD + GOOD)
    with pytest.raises(ValueError, match=r"line 13: the id 'A' is already used in line 2"):
        load_claims(path)


def test_other_tables_and_missing_files_are_refused(tmp_path):
    path = tmp_path / "claims.toml"
    with pytest.raises(ValueError, match="cannot be read"):
        load_claims(path)
    path.write_text(GOOD + "[other]\n")
    with pytest.raises(ValueError, match=r"only \[\[claim\]\] tables are expected"):
        load_claims(path)


def test_all_parts_of_a_claim_are_read(tmp_path):
    path = tmp_path / "claims.toml"
    path.write_text(
        GOOD + 'undercut = [{ metric = "a", control = "u", op = "<", value_metric = "b", factor = 2 }]\n'
        'only_if = { text = "wide", criterion = [{ metric = "a", op = ">", value = 0, over = "mean" }] }\n'
    )
    claim = load_claims(path)[0]
    assert claim.criterion == (Criterion("a", ">=", value=1.0),)
    assert str(claim.undercut[0]) == "u a < 2 * b"
    assert claim.only_if == OnlyIf("wide", (Criterion("a", ">", value=0.0, over="mean"),))


def test_criteria_hash_sees_criteria_only():
    base = claim_of(HIGH)
    assert ledger.criteria_hash(base) == ledger.criteria_hash(claim_of(HIGH, published="2", page="p"))
    others = [claim_of(LOW), claim_of(HIGH, undercut=(LOW,)), claim_of(HIGH, only_if=CONDITION)]
    assert len({ledger.criteria_hash(c) for c in [base, *others]}) == 4


# ---------------------------------------------------------------- check, verify


def test_check_finds_nothing_wrong_with_an_honest_run(toy):
    toy.run()
    assert check(toy.folder) == []
    assert verify_stored(toy.folder) == []


def test_check_misses_the_result(toy):
    (failure,) = check(toy.folder)
    assert re.search(
        r"toy\.json: missing, and X\.1 rest on it \(claims\.toml, line \d+\)\. Cure: entk run toy", failure
    )


def forge_score(document):
    document["metrics"]["score"] = [9.0, 9.0, 9.0]


def forge_verdict(document):
    document["verdicts"]["X.1"] = "not reproduced"


def cut_array(document):
    document["metrics"]["score"] = document["metrics"]["score"][:2]


def plant_nan(document):
    document["metrics"]["score"][0] = math.nan


def other_code(document):
    document["hashes"]["code"] = "0" * 64


def edit_config(document):
    document["config"]["scale"] = 2.0


def forge_chance(document):
    document["chance"]["score"] = 0.1


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (forge_score, "says 'reproduced' of X.1, but its numbers say 'not reproduced' (claims.toml, line "),
        (forge_verdict, "says 'not reproduced' of X.1, but its numbers say 'reproduced'"),
        (cut_array, "score should hold 3 values, one a seed; found 2"),
        (plant_nan, "not a finite number"),
        (other_code, "toy.json, line {code}: stale: code changed since the run"),
        (edit_config, "toy.json, line {config}: the config was edited after the run"),
        (forge_chance, "the stored chance levels of score are not the computed ones"),
    ],
)
def test_check_finds_what_was_done_to_a_result(toy, edit, message):
    toy.run()
    toy.edit(edit)
    failures = check(toy.folder)
    stored = (toy.folder / "toy.json").read_text().splitlines()
    for key in ("code", "config"):
        place = next(i for i, line in enumerate(stored, 1) if f'"{key}": "' in line)
        message = message.replace(f"{{{key}}}", str(place))
    assert any(message in f and "toy.json" in f and re.search("Cure|Restore", f) for f in failures), failures


def test_check_finds_a_quick_run(toy):
    toy.run([0], toy.config(n=2))
    assert any("the config is not the package's default" in f for f in check(toy.folder))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("value = 10", "value = 9", "the criterion of X.1 (claims.toml, line {line}) was changed after the run"),
        ('id = "X.1"', 'id = "X.0"', "the criterion of X.0 (claims.toml, line {line}) was added after the run"),
        ('id = "X.1"', 'id = "X.0"', "the criterion of X.1 was removed after the run"),
        ('metric = "score"', 'metric = "scores"', "toy has no metric 'scores'"),
        ('op = ">="', 'op = "=="', "op, one of"),
        ('experiment = "toy"', 'experiment = "toyy"', "missing, and X.1 rest on it"),
    ],
)
def test_check_finds_what_was_done_to_claims(toy, old, new, message):
    toy.run()
    toy.claim(toy.claims_file.read_text().replace(old, new))
    start = next(i for i, line in enumerate(toy.claims_file.read_text().splitlines(), 1) if "[[claim]]" in line)
    message = message.replace("{line}", str(start))
    assert any(message in failure for failure in check(toy.folder))


def test_words_of_a_claim_may_be_edited_after_the_run(toy):
    toy.run()
    toy.claim(toy.claims_file.read_text().replace("The score is high.", "Scores are high."))
    assert check(toy.folder) == []


def test_result_of_an_experiment_that_is_gone_is_found(toy, monkeypatch):
    toy.run()
    monkeypatch.setattr("entk_tutorial.experiments._MODULES", {"other": "x"})
    assert any("no experiment is called 'toy'" in failure for failure in verify_stored(toy.folder))


def test_spot_check_agrees_with_an_honest_run(toy):
    toy.run()
    rows = spot_check(toy.folder, commit_hash=lambda: "abc")
    assert {r.entry for r in rows} == {"score", "error", "untrained.score", "shuffled.score"}
    assert all(r.agrees for r in rows) and len({r.seed for r in rows}) == 1


@pytest.mark.parametrize("entry", ["score", "untrained.score", "shuffled.score"])
def test_spot_check_catches_an_altered_number(toy, entry):
    toy.run()

    def alter(document):
        *control, metric = entry.split(".")
        table = document["controls"][control[0]] if control else document["metrics"]
        table[metric] = [value + 0.02 for value in table[metric]]

    toy.edit(alter)
    assert [r.entry for r in spot_check(toy.folder) if not r.agrees] == [entry]


def test_spot_check_allows_what_the_tolerance_allows(toy):
    toy.run()
    toy.edit(lambda d: d["metrics"].update(error=[value + 0.09 for value in d["metrics"]["error"]]))
    assert all(r.agrees for r in spot_check(toy.folder))


def test_spot_check_of_nothing_is_no_success(toy):
    with pytest.raises(ValueError, match="the spot check has nothing to run"):
        spot_check(toy.folder)


def test_number_that_is_missing_on_one_side_differs(toy):
    record = toy.run([0]).record(0)
    less = type(record)({"score": record.metrics["score"]}, record.controls)
    assert [c.entry for c in compare(toy.experiment, 0, record, less) if not c.agrees] == ["error"]


def test_spot_seed_depends_on_the_commit_not_on_its_local_changes():
    seeds = list(range(5))
    drawn = [spot_seed("toy", seeds, f"{i:040x}") for i in range(60)]
    assert set(drawn) == set(seeds)
    assert spot_seed("toy", seeds, "f" * 40) == spot_seed("toy", seeds, "f" * 40 + "+changes")
    assert spot_seed("toy", [7, 3], None) == 7


def test_the_table_of_runs_says_where_a_result_comes_from(toy):
    from entk_tutorial.ledger.runs import run_rows, runs_table

    toy.run([2, 3, 5])
    ((name, seeds, minutes, *_, again),) = run_rows(toy.folder)
    assert (name, seeds, minutes, again) == ("toy", "2,3,5", "0", "0")
    table = runs_table(toy.folder)
    assert table.count("<tr>") == 2 and "<td>2,3,5</td>" in table
