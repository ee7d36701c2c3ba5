"""The claims of this package, and the stored results that they rest on."""

import re

import pytest

from entk_tutorial import experiments
from entk_tutorial.ledger import check, ledger_rows, load_claims
from entk_tutorial.results import stored_names

CLAIMS = load_claims()


def test_every_claim_of_the_two_papers_has_its_row():
    ids = {claim.id for claim in CLAIMS}
    assert {f"P1.{i}" for i in range(1, 11)} | {f"P2.{i}" for i in range(1, 14)} <= ids


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.id)
def test_claim_is_a_sentence_with_a_source(claim):
    assert claim.paper in ("sun2023", "lin2025", "ours")
    assert claim.statement[0].isupper() and claim.statement.endswith(".")
    assert re.fullmatch(r"[A-Z]\d?\.\d+", claim.id)


@pytest.mark.parametrize("claim", [c for c in CLAIMS if c.experiment], ids=lambda claim: claim.id)
def test_claim_rests_on_a_registered_experiment_and_has_a_page(claim):
    assert claim.experiment in experiments.names() and claim.page


def test_first_window_is_undercut_by_the_untrained_network():
    claim = next(c for c in CLAIMS if c.id == "P2.4")
    assert [str(c) for c in claim.undercut] == ["untrained window1_n >= 27"]


def test_claims_without_a_result_are_not_tested(tmp_path):
    assert {row.verdict for row in ledger_rows(tmp_path)} == {"not tested"}


@pytest.mark.skipif(
    not stored_names(), reason="no result is stored yet; `entk report --check` fails until there is one"
)
def test_stored_results_hold():
    assert check() == []
