"""Networks that are exported, and inputs for them."""

import keras
import numpy as np

import keras_dsr as dsr


def convolutional():
    model = keras.Sequential(
        [
            keras.Input((8, 8, 3), name="pixels"),
            dsr.SparseConv2D(16, 3, sparsity=0.9, use_bias=False),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            dsr.SparseConv2D(32, 3, sparsity=0.9),
            keras.layers.GlobalAveragePooling2D(),
            dsr.SparseDense(10, sparsity=0.8),
        ]
    )
    # Half the factors are negative: folded into the convolution, they make each pruned weight a -0.0.
    model.layers[1].gamma.assign(np.linspace(-2, 2, 16))
    return model


def recurrent():
    model = keras.Sequential([keras.Input((6, 24)), keras.layers.LSTM(24), keras.layers.Dense(5)])
    dsr.sparsify(model, sparsity=0.9)
    return model


def random_inputs(model, size=3):
    return np.random.default_rng(0).normal(size=(size, *model.input_shape[1:])).astype("float32")
