import pytest

import keras_dsr as dsr

pytestmark = pytest.mark.backends("jax")


def test_without_a_sparse_product_the_layer_is_masked_and_says_so():
    with pytest.warns(UserWarning, match="is made with storage='masked': jax has no compact storage"):
        layer = dsr.SparseDense(3, sparsity=0.5, storage="compact", capacity=2.0)
    layer.build((None, 4))
    assert type(layer) is dsr.SparseDense
    assert layer.kernel_mask.shape == (4, 3)


def test_a_file_of_a_compact_layer_is_refused():
    from keras_dsr.layers import CompactDense

    with pytest.raises(NotImplementedError, match="works on tensorflow and torch"):
        CompactDense(3, sparsity=0.5)
