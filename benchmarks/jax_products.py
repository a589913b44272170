"""JAX's sparse product against a masked dense one: forward, and the gradients of inputs and weights.

    python -m benchmarks.jax_products    # half a minute on 2 cores; needs JAX alone

A kernel of 4096 x 4096, each program compiled, in turn; the fastest of the rounds, in milliseconds. It is why JAX has
no compact storage yet: at batch 64 there is little or nothing to gain by it, at batch 8 there is.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags
from jax.experimental import sparse
from rich.console import Console
from rich.table import Table

FLAGS = flags.FLAGS
flags.DEFINE_integer("width", 4096, "Inputs and outputs.", lower_bound=2)
flags.DEFINE_integer("rounds", 7, "Timed rounds.", lower_bound=1)
CASES = ((0.99, 64), (0.99, 8), (0.95, 64), (0.95, 8))


def milliseconds(sparsity: float, batch_size: int) -> dict[str, float]:
    """Of the fastest round, by kind of product."""
    random, width = np.random.default_rng(0), FLAGS.width
    positions = np.sort(random.choice(width * width, round((1 - sparsity) * width * width), replace=False))
    indices = jnp.asarray(np.stack(np.divmod(positions, width), axis=1), "int32")
    values = jnp.asarray(random.normal(size=len(positions)), "float32")
    kernel = jnp.zeros((width, width)).at[indices[:, 0], indices[:, 1]].set(values)
    mask = kernel != 0
    inputs, upstream = (jnp.asarray(random.normal(size=(batch_size, width)), "float32") for _ in range(2))

    def masked(kernel, inputs):
        return jnp.sum((inputs @ jnp.where(mask, kernel, 0)) * upstream)

    def by_bcoo(values, inputs):
        kernel = sparse.BCOO((values, indices), shape=(width, width), indices_sorted=True, unique_indices=True)
        return jnp.sum((inputs @ kernel) * upstream)

    programs = {
        name: functools.partial(jax.jit(jax.grad(function, (0, 1))), weights, inputs)
        for name, function, weights in (("masked", masked, kernel), ("BCOO", by_bcoo, values))
    }
    best = {}
    for number in range(FLAGS.rounds + 1):
        for name, program in programs.items():
            start = time.perf_counter()
            jax.block_until_ready(program())
            if number:  # the first compiles
                best[name] = min(best.get(name, np.inf), 1e3 * (time.perf_counter() - start))
    return best


def main(argv):
    if len(argv) > 1:
        raise app.UsageError(f"unexpected arguments: {argv[1:]}")
    table = Table(
        "sparsity, batch", "masked", "BCOO", "ratio", title=f"Milliseconds, JAX, {FLAGS.width} x {FLAGS.width}"
    )
    for sparsity, batch_size in CASES:
        best = milliseconds(sparsity, batch_size)
        ratio = best["masked"] / best["BCOO"]
        table.add_row(f"{sparsity:g}, {batch_size}", *(f"{taken:.1f}" for taken in best.values()), f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    app.run(main)
