"""The peer of ``benchmarks.infinite_kernels``: the same kernels in neural-tangents, in an environment of its own.

It imports nothing of this package, and is run by path::

    nt/bin/python benchmarks/neural_tangents_peer.py FAMILY LAW N
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from typing import Any

import numpy as np

VOCAB, LENGTH = 200, 20


def documents(law: str, number: int) -> np.ndarray:
    """The documents of the other script, drawn in the same way."""
    rng = np.random.default_rng(0)
    if law == "uniform":
        return rng.integers(0, VOCAB, size=(number, LENGTH))
    share = 1.0 / np.arange(1, VOCAB + 1)
    return rng.choice(VOCAB, size=(number, LENGTH), p=share / share.sum())


def network(stax: Any, family: str) -> tuple[Any, int]:
    """Layers, and the number of matrices that they have more than ours (each adds one NNGP kernel)."""

    def dense(std: float = 1.0) -> Any:
        return stax.Dense(1, W_std=std, b_std=None, parameterization="ntk")

    embed, read = dense(VOCAB**0.5), dense()
    attention = stax.GlobalSelfAttention(
        n_chan_out=1, n_chan_key=1, n_chan_val=1, n_heads=1, linear_scaling=True, W_key_std=1.0, W_value_std=1.0,
        W_query_std=1.0, W_out_std=1.0, b_std=None, attention_mechanism="SOFTMAX",
    )  # fmt: skip
    conv = stax.Conv(1, (2,), padding="VALID", W_std=1.0, b_std=None, parameterization="ntk")
    middle: dict[str, list[Any]] = {
        "linear": [],
        "mlp relu": [dense(), stax.Relu()],
        "cnn relu k=2": [conv, stax.Relu()],
        "attention tied": [attention],
    }
    return stax.serial(embed, *middle[family], stax.GlobalSumPool(), read), 2 * (family == "attention tied")


def main(family: str, law: str, number: str) -> None:
    """Time one call after a first one, which compiles."""
    jax = importlib.import_module("jax")
    jax.config.update("jax_enable_x64", True)
    nt = importlib.import_module("neural_tangents")
    (_, _, kernel_fn), extra = network(nt.stax, family)
    kernel_fn = jax.jit(kernel_fn, static_argnames=("get",))
    x = jax.numpy.asarray(np.eye(VOCAB)[documents(law, int(number))])
    kernel_fn(x, None, get=("nngp", "ntk")).ntk.block_until_ready()
    start, wall = time.process_time(), time.perf_counter()
    kernel = kernel_fn(x, None, get=("nngp", "ntk"))
    kernel.ntk.block_until_ready()
    seconds, wall = time.process_time() - start, time.perf_counter() - wall
    ntk = np.asarray(kernel.ntk) - extra * np.asarray(kernel.nngp)
    print(json.dumps({"seconds": seconds, "wall": wall, "norm": float(np.linalg.norm(ntk))}))


if __name__ == "__main__":
    main(*sys.argv[1:4])
