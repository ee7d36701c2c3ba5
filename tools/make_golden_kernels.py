"""Recompute the reference kernels ``tests/infinite/golden_kernels.json`` with neural-tangents.

neural-tangents needs an old JAX, so it never enters this project's environment::

    python3.11 -m venv nt && nt/bin/pip install jax==0.4.30 jaxlib==0.4.30 neural-tangents==0.6.5 "scipy<1.18"
    JAX_PLATFORMS=cpu nt/bin/python tools/make_golden_kernels.py tests/infinite/golden_kernels.json

It imports nothing of this package: the two computations share no code. Where the conventions differ, this script
translates: neural-tangents divides by the fan-in of the token vectors (so the embedding gets W_std = sigma_e *
sqrt(r)), and its attention has value and output matrices that our model lacks (each adds one NNGP kernel to the tangent
kernel; it is subtracted here).
"""

from __future__ import annotations

import importlib
import json
import platform
import sys
from pathlib import Path
from typing import Any

import numpy as np

DOCS = [[0, 1, 2, 2], [3, 1, 1, 0], [4, 3, 0, 1], [2, 2, 2, 2], [1, 0, 4, 3]]
SIGMA_E, SIGMA_W, SIGMA_V = 1.2, 0.9, 0.8
ACTIVATIONS = ("linear", "relu", "erf", "gelu")


def token_vectors() -> dict[str, np.ndarray]:
    """One-hot vectors, and a fixed set of four-dimensional ones written with few digits."""
    dense = [
        [0.5, -0.25, 0.75, 0.1],
        [0.3, 0.6, -0.2, 0.4],
        [-0.7, 0.2, 0.1, 0.5],
        [0.05, 0.9, 0.3, -0.4],
        [0.6, -0.1, -0.8, 0.2],
    ]
    return {"one-hot": np.eye(5), "gram": np.array(dense)}


def networks(stax: Any, rank: int) -> dict[str, tuple[dict[str, Any], Any, int]]:
    """Name -> (our arguments, neural-tangents layers, number of extra matrices in theirs)."""

    def dense(std: float, width: int = 1) -> Any:
        return stax.Dense(width, W_std=std, b_std=None, parameterization="ntk")

    def act(name: str) -> list[Any]:
        layers = {"linear": [], "relu": [stax.Relu()], "erf": [stax.Erf()], "gelu": [stax.Gelu()]}
        found: list[Any] = layers[name]
        return found

    embed, read = dense(SIGMA_E * rank**0.5), dense(SIGMA_V)
    total = stax.GlobalSumPool()
    table: dict[str, tuple[dict[str, Any], Any, int]] = {
        "linear": ({"family": "linear"}, stax.serial(embed, total, read), 0),
        "linear mean": ({"family": "linear", "pooling": "mean"}, stax.serial(embed, stax.GlobalAvgPool(), read), 0),
    }
    for name in ACTIVATIONS:
        hidden = [dense(SIGMA_W), *act(name)]
        ours = {"family": "mlp", "activation": name}
        table[f"mlp {name}"] = (ours, stax.serial(embed, *hidden, total, read), 0)
        table[f"mlp {name} mean"] = (
            {**ours, "pooling": "mean"},
            stax.serial(embed, *hidden, stax.GlobalAvgPool(), read),
            0,
        )
        table[f"mlp {name} depth 2"] = ({**ours, "depth": 2}, stax.serial(embed, *hidden, *hidden, total, read), 0)
        table[f"mlp {name} pool first"] = ({**ours, "pool_first": True}, stax.serial(embed, total, *hidden, read), 0)
        for window, padding in ((2, "VALID"), (3, "SAME")):
            conv = stax.Conv(1, (window,), padding=padding, W_std=SIGMA_W, b_std=None, parameterization="ntk")
            ours_cnn = {
                "family": "cnn",
                "activation": name,
                "window": window,
                "padding": 0 if padding == "VALID" else 1,
            }
            table[f"cnn {name} {window} {padding}"] = (ours_cnn, stax.serial(embed, conv, *act(name), total, read), 0)
    for variant, linear, mechanism in (("tied", True, "softmax"), ("heads", False, "identity")):
        attention = stax.GlobalSelfAttention(
            n_chan_out=1, n_chan_key=1, n_chan_val=1, n_heads=1, linear_scaling=linear, W_key_std=1.0, W_value_std=1.0,
            W_query_std=1.0, W_out_std=1.0, b_std=None, attention_mechanism=mechanism.upper(),
        )  # fmt: skip
        ours_att = {"family": "attention", "variant": variant, "scores": mechanism}
        table[f"attention {variant} {mechanism}"] = (ours_att, stax.serial(embed, attention, total, read), 2)
    return table


def main(path: str) -> None:
    """Write the file."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    nt = importlib.import_module("neural_tangents")
    cases = []
    for tokens, vectors in token_vectors().items():
        x = jax.numpy.asarray(vectors[np.array(DOCS)])  # (N, T, r)
        for name, (ours, (_, _, kernel_fn), extra) in networks(nt.stax, vectors.shape[1]).items():
            kernel = kernel_fn(x, None, ("nngp", "ntk"))
            nngp, ntk = np.asarray(kernel.nngp), np.asarray(kernel.ntk) - extra * np.asarray(kernel.nngp)
            cases.append(
                {"name": name, "tokens": tokens, "arguments": ours, "nngp": nngp.tolist(), "ntk": ntk.tolist()}
            )
    versions = {
        "python": platform.python_version(),
        "numpy": np.__version__,
        "jax": jax.__version__,
        "neural-tangents": nt.__version__,
    }
    golden = {
        "provenance": {
            "command": "python tools/make_golden_kernels.py tests/infinite/golden_kernels.json",
            "versions": versions,
        },
        "docs": DOCS,
        "sigmas": {"sigma_e": SIGMA_E, "sigma_w": SIGMA_W, "sigma_v": SIGMA_V},
        "vectors": {name: v.tolist() for name, v in token_vectors().items()},
    }
    lines = ",\n".join("  " + json.dumps(case) for case in cases)
    head = "".join(f" {json.dumps(key)}: {json.dumps(value)},\n" for key, value in golden.items())
    Path(path).write_text(f'{{\n{head} "cases": [\n{lines}\n ]\n}}\n', encoding="utf-8")
    print(f"{len(cases)} cases written to {path}")


if __name__ == "__main__":
    main(sys.argv[1])
