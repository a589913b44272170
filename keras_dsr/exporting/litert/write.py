"""A LiteRT (TensorFlow Lite) file with sparse tensors, compared with the model before it is written."""

import glob
import os
import pathlib
import tempfile
from collections.abc import Sequence

import keras

from keras_dsr.backend.keras_layers import walk
from keras_dsr.exporting.litert.conversion import converted, problem_of, sample, served
from keras_dsr.exporting.litert.rows import FormRow, LiteRTContent, name_of, weights_by_name


def write_litert(
    model: keras.Model,
    path: str | os.PathLike,
    input_signature=None,
    kernels: str = "dense",
    batch_sizes: Sequence[int] = (1,),
    xnnpack: bool = False,
    calibration=None,
) -> LiteRTContent:
    """Write a model for LiteRT with sparse tensors where the converter makes them, or dense where that is smaller.

    The converter stores a kernel of dense layers and convolutions sparse from a sparsity of 0.3 on. The file is written
    only if LiteRT's interpreter gives the outputs of the model for a batch of random inputs; where the sparse one does
    not, the dense one is tried. Its signature has the names of the model's inputs, as a SavedModel's has.

    Args:
        model: a built Keras model of stock layers, with pruned weights at zero, on the TensorFlow backend.
        path: the file to write, ending in `.tflite`.
        input_signature: as in `keras.Model.export`. Recurrent layers need a fixed batch size, such as
            `[keras.InputSpec("float32", (1, 28, 28), name="rows")]`.
        kernels: `"dense"`, all products are, of weights that are unpacked when the file is loaded; or `"auto"`: fully
            connected layers take the form that is the fastest here.
        batch_sizes: ints, at which forms are timed.
        xnnpack: bool, whether the file is made to qualify for sparse convolutions on ARM and in browsers.
        calibration: inputs as `model.predict` takes them, or batches of them: the file is in int8, by their ranges.
            None: it is in float32.

    Returns:
        A `LiteRTContent`, what the report says of the file.

    Raises:
        ImportError: the package of the extra `litert`, with which the file is checked, is missing.
        ValueError: another ending of `path`, another backend, a layer that does not compute in float32, a model that
            needs operations which LiteRT's interpreter does not have, or whose file gives other outputs, batch sizes
            that its signature does not take, or convolutions that cannot be sparse with `xnnpack=True`.

    Example:

    >>> with stripped(model):
    ...     write_litert(model, "model.tflite")
    >>> Interpreter("model.tflite").get_signature_runner()(pixels=x)  # from ai_edge_litert.interpreter
    """
    path = pathlib.Path(path)
    if path.suffix != ".tflite":
        raise ValueError(f"export(format='litert', path=...) must end in '.tflite'. Received: path={str(path)!r}")
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            "export(format='litert') needs the TensorFlow backend, whose converter knows sparse tensors. Set "
            f"KERAS_BACKEND=tensorflow, load the model and export it. Received: {keras.backend.backend()!r}"
        )
    interpreter = _interpreter()
    _refuse_other_numbers(model)
    # TensorFlow takes the path of what it loads for a pattern.
    beside = path.parent if glob.escape(str(path)) == str(path) else None
    with tempfile.TemporaryDirectory(dir=beside) as folder:
        model.export(folder, format="tf_saved_model", input_signature=input_signature, verbose=False)
        if calibration is not None:
            content, found = _in_int8(interpreter, model, folder, calibration, kernels, batch_sizes)
            path.write_bytes(content)
            return found
        inputs, expected = sample(model, folder)
        files = [converted(model, folder, optimization) for optimization in ("EXPERIMENTAL_SPARSITY", None)]
    if not xnnpack:
        files.sort(key=len)
    differences = []
    for content in files:
        problem = problem_of(interpreter, content, inputs, expected)
        if problem is None:
            content, found = _made_fast(interpreter, model, content, inputs, expected, kernels, batch_sizes, xnnpack)
            path.write_bytes(content)
            return found
        differences.append(problem)
    raise ValueError(
        f"The model {model.name!r} cannot be exported for LiteRT: its interpreter gives other outputs than the model, "
        f"and nothing was written. Export ONNX or a SavedModel. It says: {'; '.join(differences)}"
    )


def _made_fast(interpreter, model, content: bytes, inputs, expected, kernels: str, batch_sizes, xnnpack: bool) -> tuple:
    """The file with what was asked for, and what is to be said of it."""
    from keras_dsr.exporting.litert.graph import LiteRTGraph
    from keras_dsr.exporting.litert.xnnpack_rewriting import end_parts

    graph = LiteRTGraph(content)
    convolutions = _sparse_convolutions(model, graph, xnnpack)
    end_parts(graph)
    rows = _set_forms(model, graph, inputs, kernels, batch_sizes)
    changed = graph.content()
    problem = problem_of(interpreter, changed, inputs, expected)
    if problem is not None:
        raise ValueError(
            f"The model {model.name!r} cannot be exported for LiteRT with kernels={kernels!r}, xnnpack={xnnpack}: its "
            f"interpreter gives other outputs than the model, and nothing was written. It says: {problem}"
        )
    return changed, LiteRTContent(rows, convolutions)


def _in_int8(interpreter, model, folder: str, calibration, kernels: str, batch_sizes) -> tuple:
    """The file in int8, and what is to be said of it."""
    from keras_dsr.exporting.litert.graph import LiteRTGraph
    from keras_dsr.exporting.litert.int8 import difference, examples_of, store_sparse_convolutions

    serve, specs = served(folder)
    examples = examples_of(calibration, model, specs)
    expected = examples.outputs_of(serve)
    content = converted(model, folder, "DEFAULT", examples.batches)
    graph = LiteRTGraph(content)
    rows = _set_forms(model, graph, examples.batches[0], kernels, batch_sizes)
    store_sparse_convolutions(graph)
    changed = graph.content()
    runners = [interpreter(model_content=one).get_signature_runner("serving_default") for one in (content, changed)]
    found = [difference(examples.outputs_of(lambda one, run=run: run(**one)), expected) for run in runners]
    if found[1].largest > found[0].largest + 0.01:
        raise ValueError(
            f"The model {model.name!r} cannot be exported for LiteRT in int8: with sparse weights its outputs differ "
            f"by {found[1].largest:.1%}, with dense ones by {found[0].largest:.1%}. Nothing was written."
        )
    return changed, LiteRTContent(rows, "", str(found[1]))


def _set_forms(model, graph, inputs, kernels: str, batch_sizes) -> tuple[FormRow, ...]:
    """Give the fully connected layers of a file the forms asked for; the rows of its report."""
    from keras_dsr.exporting.litert.forms import choose_forms
    from keras_dsr.exporting.litert.products import DIRECT, products_of, set_form

    if kernels == "dense":
        for product in products_of(graph):
            if product.form in DIRECT:
                set_form(graph, product, "unpacked")
        return ()
    choices = choose_forms(graph, inputs, batch_sizes)
    names = weights_by_name(model)
    return tuple(
        FormRow(
            name_of(choice.product.kernel, names),
            float((choice.product.kernel != 0).mean()),
            tuple(choice.times.items()),
            choice.product.form,
            choice.why,
        )
        for choice in choices
    )


def _sparse_convolutions(model, graph, xnnpack: bool) -> str:
    """Have a file's convolutions be multiplied sparse where that was asked for; whether they are, in words."""
    from keras_dsr.exporting.litert.xnnpack_rewriting import qualify
    from keras_dsr.exporting.litert.xnnpack_rules import Obstacle, find_part, is_ready

    sparse = [one for one in graph.operators if graph.kind(one) == "CONV_2D" and graph.source(int(one.inputs[1]))]
    if not sparse and not xnnpack:
        return ""
    part = find_part(graph)
    if isinstance(part, Obstacle):
        if xnnpack:
            raise ValueError(
                f"export(xnnpack=True) cannot make sparse convolutions of the model {model.name!r}: {part}. Leave it "
                "out, or build the network so (docs/serving.md has the rules)."
            )
        return f"Convolutions are unpacked, and dense. For sparse ones {part}."
    if xnnpack:
        qualify(graph, part)
    elif not is_ready(graph, part):
        return "Convolutions are unpacked, and dense. With xnnpack=True they are sparse on ARM and in browsers."
    return (
        "Convolutions are sparse where XNNPACK has them: on ARM and in browsers. On x86 they are unpacked, and dense."
    )


def _interpreter():
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise ImportError(
            "export(format='litert') checks each file with the interpreter of the package 'ai-edge-litert', which "
            f"cannot be imported ({error}). Install it: pip install ai-edge-litert"
        ) from error
    return Interpreter


def _refuse_other_numbers(model: keras.Model) -> None:
    for layer, _ in walk(model):
        quantized = getattr(layer, "quantization_mode", None)
        if quantized is not None:
            raise ValueError(
                f"export(format='litert') cannot write the layer {layer.name!r}, which is quantized ({quantized}): "
                "LiteRT has no products of Keras's quantized weights. Export the model as it was before "
                "`model.quantize`, or export ONNX or a SavedModel."
            )
        if layer.compute_dtype != "float32":
            raise ValueError(
                f"export(format='litert') cannot write the layer {layer.name!r}, which computes in "
                f"{layer.compute_dtype}: LiteRT has float32 operations only. Build the model in float32 and give it "
                "these weights (`set_weights`), then export that one."
            )
