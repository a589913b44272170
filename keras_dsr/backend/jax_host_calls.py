"""Python functions inside programs of JAX that read and write the memory of XLA itself.

`jax.pure_callback` copies the results, and makes arrays of JAX of the arguments. Here a function gets arrays of NumPy
over XLA's memory, by the C interface for foreign functions (`xla/ffi/api/c_api.h`, versions 0.x, whose structures only
grow at their ends).
"""

import ctypes
import functools
import itertools
import logging
import math
from collections.abc import Callable, Sequence
from typing import ClassVar

import jax
import numpy as np

_TARGET = "keras_dsr.host_call"
_METADATA, _INTERNAL = 1, 13  # the extension that asks for a version; the code of an error
_NAMES = {4: "int32", 5: "int64", 11: "float32", 12: "float64"}
_DTYPES: dict[int, np.dtype] = {code: np.dtype(name) for code, name in _NAMES.items()}

_FUNCTIONS: dict[int, Callable] = {}
_NEXT = itertools.count()


def numbered(function: Callable) -> int:
    """A number for a function of `(arguments, results)`, which writes the results. It is kept from now on."""
    number = next(_NEXT)
    _FUNCTIONS[number] = function
    return number


def call(number: int, results: Sequence[jax.ShapeDtypeStruct], *arguments) -> Sequence[jax.Array]:
    """What a numbered function writes, inside of a program.

    Args:
        number: what `numbered` gave.
        results: shapes and dtypes: float32, float64, int32 or int64, as of the arguments.
        arguments: arrays.
    """
    if jax.device_count() == 1 and _is_registered():
        # Beside others a device would do the work of all of them: there a callback runs on the first one alone.
        called = jax.ffi.ffi_call(_TARGET, list(results), vmap_method="sequential")
        return called(*arguments, number=np.int64(number))

    def on_host(*arguments):
        written = [np.empty(one.shape, one.dtype) for one in results]
        _FUNCTIONS[number]([memory_of(one) for one in arguments], written)
        return written

    return jax.pure_callback(on_host, list(results), *arguments, vmap_method="sequential")


def memory_of(array) -> np.ndarray:
    """The memory of an array, not a copy.

    JAX's may not be written, which numba takes for another type. The loops only read it, and so are compiled once for
    all backends.
    """
    array = np.asarray(array, order="C")
    return array if array.flags.writeable else _over(array.ctypes.data, array.dtype, array.shape)


def _over(address: int, dtype: np.dtype, shape: tuple[int, ...]) -> np.ndarray:
    size = math.prod(shape) * dtype.itemsize
    if not size:
        return np.empty(shape, dtype)
    memory = memoryview((ctypes.c_char * size).from_address(address))
    return np.frombuffer(memory, dtype).reshape(shape)


# The structures of the header, as far as they are read


class _Sized(ctypes.Structure):
    """What most of them begin with; the fields of a subclass follow."""

    _fields_: ClassVar[Sequence] = (("size", ctypes.c_size_t), ("extension", ctypes.c_void_p))


class _Version(_Sized):
    _fields_ = (("major", ctypes.c_int), ("minor", ctypes.c_int))


class _Extension(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("type", ctypes.c_int), ("next", ctypes.c_void_p))


class _Metadata(ctypes.Structure):
    _fields_ = (("size", ctypes.c_size_t), ("version", _Version), ("traits", ctypes.c_uint32))


class _MetadataExtension(ctypes.Structure):
    _fields_ = (("base", _Extension), ("metadata", ctypes.POINTER(_Metadata)))


class _Buffer(_Sized):
    _fields_ = (
        ("dtype", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("rank", ctypes.c_int64),
        ("dims", ctypes.POINTER(ctypes.c_int64)),
    )


class _Counted(_Sized):
    _fields_: ClassVar[Sequence] = (("count", ctypes.c_int64), ("types", ctypes.c_void_p))


class _Buffers(_Counted):
    _fields_ = (("each", ctypes.POINTER(ctypes.POINTER(_Buffer))),)


class _Scalar(ctypes.Structure):
    _fields_ = (("dtype", ctypes.c_int), ("value", ctypes.POINTER(ctypes.c_int64)))


class _Attributes(_Counted):
    _fields_ = (("names", ctypes.c_void_p), ("each", ctypes.POINTER(ctypes.POINTER(_Scalar))))


class _ErrorArguments(_Sized):
    _fields_ = (("message", ctypes.c_char_p), ("code", ctypes.c_int))


class _Api(_Sized):
    _fields_ = (
        ("version", _Version),
        ("internal", ctypes.c_void_p),
        ("make_error", ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_ErrorArguments))),
    )


class _Frame(_Sized):
    _fields_ = (
        ("api", ctypes.POINTER(_Api)),
        ("context", ctypes.c_void_p),
        ("stage", ctypes.c_int),
        ("arguments", _Buffers),
        ("results", _Buffers),
        ("attributes", _Attributes),
    )


@ctypes.CFUNCTYPE(ctypes.c_void_p, ctypes.POINTER(_Frame))
def _handle(frame):
    """What XLA calls: returns nothing, or the error."""
    frame = frame.contents
    try:
        if frame.extension and _Extension.from_address(frame.extension).type == _METADATA:
            version = _MetadataExtension.from_address(frame.extension).metadata.contents.version
            version.major, version.minor = frame.api.contents.version.major, frame.api.contents.version.minor
            return None
        number = frame.attributes.each[0].contents.value[0]
        _FUNCTIONS[number](_arrays(frame.arguments), _arrays(frame.results))
    except BaseException as error:  # nothing may leave a function that C has called
        text = f"{type(error).__name__}: {error}".encode()
        given = _ErrorArguments(ctypes.sizeof(_ErrorArguments), None, text, _INTERNAL)
        return frame.api.contents.make_error(ctypes.byref(given))
    return None


def _arrays(buffers: _Buffers) -> list[np.ndarray]:
    found = []
    for index in range(buffers.count):
        buffer = buffers.each[index].contents
        found.append(_over(buffer.data, _DTYPES[buffer.dtype], tuple(buffer.dims[: buffer.rank])))
    return found


@functools.lru_cache(maxsize=1)
def _is_registered() -> bool:
    """Whether this JAX takes such functions, and they do what they ought to; tried at the first call."""
    number = numbered(lambda arguments, results: np.multiply(arguments[0], 2, out=results[0]))
    try:
        jax.ffi.register_ffi_target(_TARGET, jax.ffi.pycapsule(_handle), platform="cpu", api_version=1)
        called = jax.ffi.ffi_call(_TARGET, [jax.ShapeDtypeStruct((3, 2), "float32")], vmap_method="sequential")
        with jax.ensure_compile_time_eval():
            (doubled,) = called(np.full((3, 2), 1.5, "float32"), number=np.int64(number))
            return bool((np.asarray(doubled) == 3).all())
    except Exception as error:  # whatever another release of JAX raises, or XLA
        logging.getLogger("keras_dsr").info("Layers in compact storage are called by jax.pure_callback: %s", error)
        return False
