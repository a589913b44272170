"""Memory is used again when nobody holds it, and given back when nobody asks for it."""

from keras_dsr.backend import recycled


def test_memory_is_used_again_when_nobody_holds_it():
    size = (3, 1001)
    one = recycled.empty(size, "float32")
    one[...] = 1
    address, view = one.ctypes.data, one[1]
    other = recycled.empty(size, "float32")
    other[...] = 2
    assert other.ctypes.data != address and (one == 1).all()
    del one
    third = recycled.empty(size, "float32")  # the view still holds it
    assert third.ctypes.data != address and (view == 1).all()
    del view
    assert recycled.empty(size, "float32").ctypes.data == address
    assert all(recycled.empty((length,), "float32").ctypes.data % recycled.ALIGNED == 0 for length in range(1, 40))


def test_memory_that_is_not_asked_for_is_given_back(monkeypatch):
    monkeypatch.setattr(recycled, "FORGOTTEN", 0.0)
    recycled.empty((12_345,), "float32")
    recycled.empty((1,), "float32")
    recycled.empty((1,), "float32")
    assert 12_345 * 4 not in recycled._bases
