"""Files that other programs serve: a SavedModel with packed weights, ONNX, LiteRT."""

import os
import pathlib
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np

from keras_dsr.arguments import LARGEST_STEP, check_flag, check_path, is_list, is_one_of, is_whole
from keras_dsr.backend.keras_layers import kernel_of
from keras_dsr.conversion.convert import stripped
from keras_dsr.exporting.checksums import write_checksums
from keras_dsr.exporting.export_report import ExportReport, PackedRow, ProductRow
from keras_dsr.saving.atomic import written_beside
from keras_dsr.weights.sparse_weights import check_has_weights, sparse_weights

ON_TENSORFLOW = (
    "Write it with keras_dsr.save(model, 'model.keras'), and export what keras.models.load_model reads of that in a "
    "process with KERAS_BACKEND=tensorflow."
)
SUFFIXES = {"tf_saved_model": "", "onnx": ".onnx", "litert": ".tflite"}


def export(
    model: keras.Model,
    path: str | os.PathLike,
    format: str | None = None,
    packed: bool | None = None,
    dtype: str | None = None,
    kernels: str | None = None,
    batch_sizes: Sequence[int] = (),
    input_signature=None,
    xnnpack: bool = False,
    calibration: Any = None,
) -> ExportReport:
    """Export the model for serving, small, with stock layers and pruned weights at zero. The model goes on as it was.

    The endpoint, its signature and the dense weights are those of Keras's own `model.export`. A packed SavedModel holds
    of each weight with enough zeros the other values and their positions (8-bit gaps, or a bitmask where that is
    smaller), and stock operations unpack it once when plain TensorFlow, TensorFlow Serving included, loads it: outputs
    and speed are then those of the dense model.

    What is written appears under its name when it is whole: an interrupted export leaves an existing one as it was.
    TensorFlow finds damage to the weights of a SavedModel by itself; `sha256sum --check assets.extra/SHA256SUMS`, run
    in its folder, finds any.

    Args:
        model: a built Keras model.
        path: the folder of a SavedModel, or a file that ends in `.onnx` or `.tflite`. An existing one is replaced; a
            folder with files in it that is no SavedModel is refused.
        format: `"tf_saved_model"`, `"onnx"` (needs the extra `onnx`) or `"litert"` (the extra `litert`). None: by the
            ending of `path`, `.onnx` or `.tflite`; any other is a SavedModel's.
        packed: bool, whether weights are packed. None: a SavedModel is, on the TensorFlow backend, the only one that
            can (from JAX it has dense weights, and from torch there is none); an ONNX file has sparse initializers, the
            format's own, and with True packed weights that take less than half of the room.
        dtype: of a packed SavedModel `"float32"` or `"float16"`, in which packed values of more bytes are stored (they
            are cast back when loaded); of a LiteRT file `"int8"`, in which it then computes (see `calibration`). None:
            as they are.
        kernels: `"dense"`, all products are; or `"auto"`: layers are timed here and now, and multiply sparse where that
            is faster at each of `batch_sizes`. In a SavedModel `Dense` layers and convolutions with a window of 1 take
            TensorFlow's stock product with a CSR matrix; in a LiteRT file fully connected layers are multiplied as they
            are stored, in single weights or in blocks of 4 inputs. Sums are then taken in another order: outputs are
            equal to float tolerance. None: `"auto"` for LiteRT, `"dense"` for all else.
        batch_sizes: ints, the batch sizes that will be served, for `kernels="auto"`; of a LiteRT file 1 where none is
            named.
        input_signature: as in `model.export`.
        xnnpack: bool, whether a LiteRT file is written so that convolutions with a window of 1 are multiplied sparse on
            ARM and in browsers (by XNNPACK; on x86 they are not). Where Keras pads images on one side alone, the
            image and all kernels are mirrored: outputs are equal to float tolerance.

        calibration: for `dtype="int8"`, some hundred examples: inputs as `model.predict` takes them, or a dataset of
            batches, with or without labels. The ranges of int8 are theirs, and the report says what it changed.

    Returns:
        An `ExportReport`, which prints what was packed and chosen, and why nothing was where another backend would.

    Raises:
        TypeError: something that is no model of Keras 3, or no path.
        ValueError: an argument out of range or without use, an unbuilt model, a value beyond float16, or a model that
            cannot be written in this format on this backend.
        FileExistsError: `path` is a file, or a folder that holds something else than a SavedModel.
        FileNotFoundError: the folder of `path` does not exist.
        ImportError: a package that the format needs is missing.
        OSError: the disk is full.

    Example:

    >>> keras_dsr.export(model, "saved_model/")
    >>> serve = tf.saved_model.load("saved_model/").signatures["serving_default"]
    >>> keras_dsr.export(model, "model.onnx")
    """
    check_has_weights(model, "export", kind=keras.Model)
    path = check_path(path, "export")
    _check_signature(input_signature)
    format = _format_of(path) if format is None else format
    if kernels is None:
        kernels = "auto" if is_one_of(format, ("litert",)) else "dense"
    if is_one_of(format, ("litert",)) and kernels == "auto" and batch_sizes == ():
        batch_sizes = _batch_of(input_signature)
    packed = _check_arguments(path, format, packed, dtype, kernels, batch_sizes)
    check_flag(xnnpack, "export", "xnnpack")
    _check_int8(format, dtype, calibration, xnnpack)
    if xnnpack and format != "litert":
        raise ValueError(
            f"export(xnnpack=...) must be False but for format='litert'. Received: xnnpack=True, format={format!r}"
        )
    sparse_weights(model)  # builds a SparseOptimizer that has not taken a step
    with written_beside(path) as temporary, stripped(model):
        rows: dict[str, Any] = {}
        if format == "onnx":
            from keras_dsr.exporting.onnx import write_onnx

            write_onnx(model, temporary, input_signature, packing="gaps" if packed else "sparse")
        elif format == "litert":
            from keras_dsr.exporting.litert import write_litert

            content = write_litert(model, temporary, input_signature, kernels, batch_sizes, xnnpack, calibration)
            rows = content._asdict()
        elif packed:
            rows = _write_packed(model, temporary, dtype, kernels, batch_sizes, input_signature)
        else:
            _write_dense(model, temporary, input_signature)
        if format == "tf_saved_model":
            write_checksums(temporary)
        files = [temporary] if temporary.is_file() else temporary.rglob("*")
        size = sum(file.stat().st_size for file in files if file.is_file())
    return ExportReport(path, format, size, **rows, note=_note(format))


def _batch_of(input_signature) -> tuple[int]:
    """The batch size that a signature has, or 1."""
    sizes = [spec.shape[0] for spec in keras.tree.flatten(input_signature) if spec is not None and spec.shape]
    return (next((size for size in sizes if is_whole(size)), 1),)


def _format_of(path: pathlib.Path) -> str:
    """The format that the ending of a path stands for."""
    ending = path.suffix.lower()
    if ending in (".keras", ".h5"):
        raise ValueError(
            f"export(path=...) writes what other programs serve, not {ending!r}: use keras_dsr.save(model, "
            f"'model.keras'), or give a folder for a SavedModel. Received: path={str(path)!r}"
        )
    return next((format for format, suffix in SUFFIXES.items() if suffix and suffix == ending), "tf_saved_model")


def _note(format: str) -> str:
    """Why nothing is packed where it would be on another backend."""
    if format != "tf_saved_model" or keras.backend.backend() == "tensorflow":
        return ""
    return (
        "Not packed: its weights are dense, zeros included. What unpacks them are operations of TensorFlow, and here "
        f"Keras has the {keras.backend.backend()} backend. {ON_TENSORFLOW}"
    )


def _write_dense(model, path, input_signature) -> None:
    """Write a SavedModel as Keras does; what another backend than TensorFlow cannot do is said in one error."""
    if keras.backend.backend() == "tensorflow":
        model.export(str(path), format="tf_saved_model", verbose=False, input_signature=input_signature)
        return
    try:
        model.export(str(path), format="tf_saved_model", verbose=False, input_signature=input_signature)
    except OSError:
        raise
    except Exception as error:  # of Keras's export on another backend, which has no class of its own
        raise (ImportError if isinstance(error, ImportError) else ValueError)(
            f"Keras cannot export the model {model.name!r} as a SavedModel on the {keras.backend.backend()} backend. "
            f"{ON_TENSORFLOW} It says: {error}"
        ) from error


def _write_packed(model, path, dtype, kernels, batch_sizes, input_signature) -> dict:
    """Write a packed SavedModel; the rows of its report."""
    from keras_dsr.exporting.csr_choice import choose_products, product_layers
    from keras_dsr.exporting.saved_model import pack_weights, signature_of, write_packed

    signature = signature_of(model, input_signature)
    weights = pack_weights(model, dtype)
    choices = []
    if kernels == "auto":
        kernels_packed = {id(weight.variable) for weight in weights if len(weight.packed.values)}
        layers = [layer for layer in product_layers(model) if id(kernel_of(layer)) in kernels_packed]
        choices = choose_products(model, layers, signature, batch_sizes)
    write_packed(model, path, weights, [choice.layer for choice in choices if choice.by_csr], signature)
    return {
        "packed": tuple(
            PackedRow(
                weight.variable.path,
                tuple(weight.packed.shape),
                len(weight.packed.values),
                weight.dense_bytes,
                weight.packed.nbytes,
                "gaps" if weight.packed.is_gaps else "bitmask",
            )
            for weight in weights
        ),
        "products": tuple(
            ProductRow(
                choice.layer.name,
                choice.density,
                tuple((taken.rows, taken.speedup) for taken in choice.times),
                choice.by_csr,
            )
            for choice in choices
        ),
    }


def _check_arguments(path, format, packed, dtype, kernels, batch_sizes) -> bool:
    """Raise for arguments that do not go together; whether to pack."""
    if not is_one_of(format, SUFFIXES):
        raise ValueError(
            f"export(format=...) must be one of {', '.join(map(repr, SUFFIXES))}. Received: format={format!r}"
        )
    if path.suffix != SUFFIXES[format] and format != "tf_saved_model":
        raise ValueError(
            f"export(path=..., format={format!r}) must end in {SUFFIXES[format]!r}. Received: path={str(path)!r}"
        )
    if format == "tf_saved_model":
        if path.is_file() or (path.is_dir() and any(path.iterdir()) and not (path / "saved_model.pb").exists()):
            raise FileExistsError(
                f"export(path=...) would replace {str(path)!r}, which is not a SavedModel. Give another folder, or "
                "remove that one first."
            )
    elif path.is_dir():
        raise FileExistsError(f"export(path=...) must be a file. Received: path={str(path)!r}, which is a folder")
    if packed is not None:
        check_flag(packed, "export", "packed")
    is_saved_model = format == "tf_saved_model" and keras.backend.backend() == "tensorflow"
    if packed and not (is_saved_model or format == "onnx"):
        raise ValueError(
            "export(packed=True) is for format='onnx', and for format='tf_saved_model' on TensorFlow's backend, whose "
            f"operations unpack. Received: format={format!r} on the {keras.backend.backend()} backend. Leave it out"
            f"{_or_on_tensorflow(format)}"
        )
    packed = is_saved_model if packed is None else bool(packed)
    dtypes = ("int8",) if format == "litert" else ("float32", "float16")
    if dtype is not None and not is_one_of(dtype, dtypes):
        raise ValueError(
            f"export(dtype=...) must be None or, with format={format!r}, {' or '.join(map(repr, dtypes))}. "
            f"Received: dtype={dtype!r}"
        )
    if not is_one_of(kernels, ("dense", "auto")):
        raise ValueError(f"export(kernels=...) must be 'dense' or 'auto'. Received: kernels={kernels!r}")
    is_timed = kernels == "auto" and format != "litert"
    if not (packed and is_saved_model) and ((dtype is not None and format != "litert") or is_timed):
        given = f"dtype={dtype!r}" if dtype is not None else f"kernels={kernels!r}"
        raise ValueError(
            f"export({given}) is for a packed SavedModel{' or a LiteRT file' if dtype is None else ''}, which "
            f"TensorFlow's backend writes. Received: "
            f"format={format!r}, packed={packed} on the {keras.backend.backend()} backend. Leave it out"
            f"{_or_on_tensorflow(format)}"
        )
    sizes = checked_batch_sizes(batch_sizes, "export")
    if (kernels == "auto") != bool(sizes):
        raise ValueError(
            "export(kernels='auto', batch_sizes=...) go together: products are timed at the batch sizes that will be "
            f"served, such as batch_sizes=(1, 32). Received: kernels={kernels!r}, batch_sizes={batch_sizes!r}"
        )
    return packed


def _check_int8(format: str, dtype, calibration, xnnpack: bool) -> None:
    """Raise `ValueError` for arguments of int8 that do not go together."""
    is_int8 = format == "litert" and dtype == "int8"
    if is_int8 != (calibration is not None):
        raise ValueError(
            "export(format='litert', dtype='int8', calibration=...) go together: int8 needs the ranges of values, "
            f"which some hundred examples show. Received: dtype={dtype!r}, calibration="
            f"{'None' if calibration is None else type(calibration).__name__}, format={format!r}"
        )
    if is_int8 and xnnpack:
        raise ValueError(
            "export(xnnpack=...) must be False with dtype='int8': XNNPACK's sparse convolutions are in float32. "
            "Received: xnnpack=True"
        )


def _check_signature(input_signature) -> None:
    """Raise `ValueError` for what is no structure of shapes and dtypes."""
    leaves = keras.tree.flatten(input_signature)
    if input_signature is not None and not (leaves and all(map(_has_shape_and_dtype, leaves))):
        raise ValueError(
            "export(input_signature=...) must be None, or a structure of keras.InputSpec with shapes and dtypes, such "
            "as [keras.InputSpec(dtype='float32', shape=(None, 784))]. "
            f"Received: input_signature={input_signature!r}"
        )


def _has_shape_and_dtype(leaf) -> bool:
    is_of_numpy = isinstance(leaf, (np.ndarray, np.generic))  # which Keras does not take
    return not is_of_numpy and None not in (getattr(leaf, name, None) for name in ("shape", "dtype"))


def _or_on_tensorflow(format: str) -> str:
    """The end of a piece of advice: what else to do where another backend would do it."""
    if format != "tf_saved_model" or keras.backend.backend() == "tensorflow":
        return "."
    return f", or: {ON_TENSORFLOW[0].lower()}{ON_TENSORFLOW[1:]}"


def checked_batch_sizes(batch_sizes: Sequence[int], act: str) -> tuple[int, ...]:
    """The batch sizes that were given.

    Raises:
        ValueError: they are not ints of at least 1.
    """
    if not is_list(batch_sizes) or not all(is_whole(size) and 1 <= size <= LARGEST_STEP for size in batch_sizes):
        raise ValueError(
            f"{act}(batch_sizes=...) must be ints of at least 1, such as (1, 32). Received: batch_sizes={batch_sizes!r}"
        )
    return tuple(int(size) for size in batch_sizes)
