"""Sparse networks to be written and served, with dense weights as if they had been trained: zeros would be packed."""

import keras
import numpy as np

import keras_dsr as dsr


def sparse_resnet50(sparsity: float) -> keras.Model:
    """`keras.applications.ResNet50`, every convolution and dense kernel sparse."""
    keras.utils.set_random_seed(0)
    return _made_sparse(keras.applications.ResNet50(weights=None), sparsity)


def sparse_perceptron(sparsity: float) -> keras.Model:
    """4096-4096-4096-10, every kernel sparse."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(4096, activation="relu") for _ in range(2)]
    return _made_sparse(keras.Sequential([keras.Input((4096,)), *layers, keras.layers.Dense(10)]), sparsity)


def _made_sparse(model: keras.Model, sparsity: float) -> keras.Model:
    random = np.random.default_rng(0)
    for variable in model.weights:
        if len(variable.shape) == 1:  # biases, and scales, offsets and statistics of batches
            variable.assign(variable + np.abs(random.normal(0, 0.05, variable.shape)).astype("float32"))
    dsr.sparsify(model, sparsity=sparsity)
    return model
