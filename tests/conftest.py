"""Fixtures that more than one folder needs."""

import pytest

from tests.experiments import toy as toy_module


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """The toy experiment alone in the registry, its claims alone in the ledger, and an empty results folder."""
    from entk_tutorial import experiments

    monkeypatch.setattr(experiments, "_MODULES", {"toy": "tests.experiments.toy"})
    claims = tmp_path / "claims.toml"
    claims.write_text(toy_module.CLAIMS, encoding="utf-8")
    monkeypatch.setattr("entk_tutorial.ledger.claims.find_claims", lambda: claims)
    toy_module.CALLS.clear()
    toy_module.INTERRUPTS.clear()
    return toy_module.Toy(tmp_path / "results", claims, toy_module.CALLS, toy_module.INTERRUPTS)
