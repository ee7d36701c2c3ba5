"""The peer of ``benchmarks.engine``: neural-tangents' finite-width kernel, in an environment of its own.

It imports nothing of this package, and is run by path::

    nt/bin/python benchmarks/empirical_kernel_peer.py N
"""

from __future__ import annotations

import importlib
import json
import resource
import sys
import time

import numpy as np

P, HIDDEN = 29, 512


def inputs(n: int) -> np.ndarray:
    """The pairs of ``benchmarks._engine_work.modular``."""
    pairs = np.round(np.linspace(0, P * P - 1, n)).astype(int)
    x = np.zeros((n, 2 * P), dtype=np.float32)
    x[np.arange(n), pairs // P] = 1.0
    x[np.arange(n), P + pairs % P] = 1.0
    return x


def main(number: str) -> None:
    """Time calls after a first one, which compiles."""
    jax = importlib.import_module("jax")
    # Its last release looks in public modules for names that JAX has made private or renamed since.
    for name in ("ad", "partial_eval", "xla", "batching", "mlir"):
        public, private = (importlib.import_module(f"jax.{src}interpreters.{name}") for src in ("", "_src."))
        for word in set(dir(private)) - set(dir(public)):
            setattr(public, word, getattr(private, word))
    config = importlib.import_module("jax._src.config")
    config.jax_enable_checks = False
    nt = importlib.import_module("neural_tangents")
    jnp = jax.numpy
    draws = np.random.default_rng(0)
    shapes = {"fc1": (HIDDEN, 2 * P), "fc2": (P, HIDDEN)}
    # (in, out), and lax.dot in place of @: a transpose or a change of type, which this JAX puts before @, would come
    # between a weight and its product, hide the layer from the structured rules, and cost a hundredfold.
    params = {name: jnp.asarray(draws.standard_normal(shape, dtype=np.float32).T) for name, shape in shapes.items()}
    dot = jax.lax.dot

    def network(values, x):  # type: ignore[no-untyped-def]
        return dot((dot(x, values["fc1"]) / (2 * P) ** 0.5) ** 2, values["fc2"]) / HIDDEN

    kernel = nt.empirical_ntk_fn(
        network,
        trace_axes=(-1,),
        vmap_axes=0,
        implementation=nt.NtkImplementation.STRUCTURED_DERIVATIVES,
    )
    compiled = jax.jit(lambda x: kernel(x, None, params))
    x = jnp.asarray(inputs(int(number)))
    found = P * np.asarray(compiled(x))  # its "trace" is a mean over classes
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    wall, seconds = [], []
    for _ in range(9):
        start, began = time.perf_counter(), time.process_time()
        compiled(x).block_until_ready()
        wall.append(time.perf_counter() - start)
        seconds.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 - before
    print(json.dumps({"wall": wall, "seconds": seconds, "peak_bytes": peak, "norm": float(np.linalg.norm(found))}))


if __name__ == "__main__":
    main(sys.argv[1])
