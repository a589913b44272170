"""A network in compact storage."""

import keras

import keras_dsr as dsr


def perceptron(**settings) -> keras.Model:
    return keras.Sequential(
        [
            keras.Input((64,)),
            dsr.SparseDense(
                24, sparsity=0.8, mask_seed=1, activation="relu", name="hidden", storage="compact", **settings
            ),
            dsr.SparseDense(10, sparsity=0.8, mask_seed=2, name="classes", storage="compact", **settings),
        ]
    )
