"""Networks of layers of every kind whose weights lie in groups, and a short training of them."""

import keras
import numpy as np

import keras_dsr as dsr
from tests.helpers.networks import compiled

PATTERNS = {"2:4": 0.5, "1:4": 0.75, "fan_in": 0.8}


def network(pattern: str, by: str = "layers", sparsity: float | None = None, optimizer="adam") -> keras.Model:
    """A convolution, its transpose, an einsum and a dense layer."""
    sparsity = PATTERNS[pattern] if sparsity is None else sparsity
    sparse = by == "layers"
    settings = {"sparsity": sparsity, "pattern": pattern} if sparse else {}
    kinds = (dsr, "Sparse") if sparse else (keras.layers, "")

    def layer(name, *args, seed, **given):
        seeds = {"mask_seed": seed} if sparse else {}
        return getattr(kinds[0], kinds[1] + name)(*args, **given, **seeds, **settings)

    model = keras.Sequential(
        [
            keras.Input((5, 5, 8)),
            layer("Conv2D", 12, 3, seed=1),
            layer("Conv2DTranspose", 8, 2, seed=2),
            keras.layers.GlobalAveragePooling2D(),
            layer("EinsumDense", "ab,bcd->acd", (2, 4), seed=3),
            keras.layers.Flatten(),
            layer("Dense", 5, seed=4),
        ]
    )
    if sparse:
        return compiled(model, optimizer)
    compiled(model, dsr.SparseOptimizer(optimizer, sparsity, pattern=pattern, seed=1))
    model.optimizer.build(model.trainable_variables)
    return model


def trained(model, *callbacks, epochs=2):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 5, 5, 8)).astype("float32"), rng.integers(0, 5, 60)
    return model.fit(x, y, batch_size=10, epochs=epochs, verbose=0, shuffle=False, callbacks=list(callbacks))
