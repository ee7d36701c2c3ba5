import subprocess
import sys
from dataclasses import asdict

import pytest

from entk_tutorial import experiments


@pytest.mark.parametrize("name", ["toy", "modular-mlp", "modular_mlp"])
def test_both_spellings_are_known(name, toy, monkeypatch):
    monkeypatch.setitem(experiments._MODULES, "modular_mlp", "x")
    assert experiments.canonical(name) == name.replace("-", "_")


def test_unknown_name_lists_the_nearest():
    with pytest.raises(ValueError, match=r"no experiment is called 'modular-mpl': did you mean modular_mlp"):
        experiments.get("modular-mpl")


def test_unknown_name_without_a_near_one_lists_all():
    with pytest.raises(ValueError, match=r"choose one of: .*modular_mlp"):
        experiments.get("zzz")


def test_get_imports_the_experiment(toy):
    assert experiments.get("toy").title == "Scores grow with the seed"


def test_module_without_its_experiment_is_refused(toy, monkeypatch):
    monkeypatch.setitem(experiments._MODULES, "other", "tests.experiments.toy")
    with pytest.raises(
        ValueError, match="must define EXPERIMENT, an Experiment called 'other'; it has one called 'toy'"
    ):
        experiments.get("other")


def test_summaries_read_titles_and_costs(toy):
    assert experiments.summaries() == [experiments.Summary("toy", "Scores grow with the seed", 0.5, True)]


def test_summary_that_is_no_literal_is_imported(toy, tmp_path, monkeypatch):
    (tmp_path / "computed_toy.py").write_text(
        "from tests.experiments.toy import EXPERIMENT as E\nfrom dataclasses import replace\n"
        "EXPERIMENT = replace(E, name='computed')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(experiments, "_MODULES", {"computed": "computed_toy"})
    assert experiments.summaries()[0].title == "Scores grow with the seed"


def test_every_registered_experiment_is_whole():
    for name in experiments.names():
        experiment = experiments.get(name)
        experiment.chance(experiment.config_type())
        assert experiment.restore(asdict(experiment.quick)) == experiment.quick


def test_summaries_import_no_experiment():
    code = (
        "import sys; from entk_tutorial import experiments; experiments.summaries(); "
        "print([m for m in sys.modules if m.startswith('entk_tutorial.experiments.')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
