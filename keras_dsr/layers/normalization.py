"""Normalization layers whose scales and offsets can be sparse: for who includes them."""

from typing import ClassVar

import keras

from keras_dsr.layers.masked import MaskedLayer


class _ScaleAndOffset(MaskedLayer):
    initializers: ClassVar = {"gamma": "gamma_initializer", "beta": "beta_initializer"}


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseBatchNormalization(_ScaleAndOffset, keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` with a sparse `gamma` and `beta`; arguments as `SparseDense`."""

    stock_class = keras.layers.BatchNormalization


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseLayerNormalization(_ScaleAndOffset, keras.layers.LayerNormalization):
    """`keras.layers.LayerNormalization` with a sparse `gamma` and `beta`; arguments as `SparseDense`."""

    stock_class = keras.layers.LayerNormalization


@keras.saving.register_keras_serializable(package="keras_dsr")
class SparseGroupNormalization(_ScaleAndOffset, keras.layers.GroupNormalization):
    """`keras.layers.GroupNormalization` with a sparse `gamma` and `beta`; arguments as `SparseDense`."""

    stock_class = keras.layers.GroupNormalization
