"""Kernels against neural-tangents, from a file made by tools/make_golden_kernels.py in another environment."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from entk_tutorial import infinite

GOLDEN = json.loads((Path(__file__).parent / "golden_kernels.json").read_text(encoding="utf-8"))
KERNELS = {
    "linear": infinite.linear_kernel,
    "mlp": infinite.mlp_kernel,
    "cnn": infinite.cnn_kernel,
    "attention": infinite.attention_kernel,
}


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=[f"{c['name']}, {c['tokens']}" for c in GOLDEN["cases"]])
def test_same_kernel_as_neural_tangents(case: dict[str, Any]) -> None:
    arguments = dict(case["arguments"])
    family = arguments.pop("family")
    sigmas = {k: v for k, v in GOLDEN["sigmas"].items() if k != "sigma_w" or family in ("mlp", "cnn")}
    vectors = torch.tensor(GOLDEN["vectors"][case["tokens"]], dtype=torch.float64)
    gram = {"gram": vectors @ vectors.T} if case["tokens"] == "gram" else {}
    kernel = KERNELS[family](GOLDEN["docs"], **gram, **sigmas, **arguments)
    for ours, theirs in ((kernel.nngp, case["nngp"]), (kernel.ntk, case["ntk"])):
        reference = torch.tensor(theirs, dtype=torch.float64)
        # Measured: 6e-16. More than rounding would be a formula that differs.
        assert float((ours - reference).abs().max() / reference.abs().max()) < 1e-12
