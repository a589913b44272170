"""In which form a LiteRT file holds the weights of each fully connected layer: the fastest here, by measurement."""

import statistics
import time
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from keras_dsr.exporting.litert.graph import LiteRTGraph
from keras_dsr.exporting.litert.products import DIRECT, Product, possible_forms, product_file, products_of, set_form
from keras_dsr.progress import with_progress

# How much faster a form must be measured to be at each batch size: single layers are timed, on shared machines.
MARGIN = 1.1


class FormChoice(NamedTuple):
    """What was measured of a product, and the form that it has in the file.

    Attributes:
        product: the `Product`.
        times: for each number of rows that it meets, how many times as fast as dense each form of `DIRECT` was.
        why: of its form, in words.
    """

    product: Product
    times: dict[int, dict[str, float]]
    why: str


def choose_forms(graph: LiteRTGraph, inputs: dict[str, np.ndarray], batch_sizes: Sequence[int]) -> list[FormChoice]:
    """Time each product of a file that has zeros at the batch sizes, and set its form to the fastest.

    Args:
        graph: the file. It is changed.
        inputs: an example of each input by its name in the signature; the first axis is the batch.
        batch_sizes: ints of at least 1.

    Returns:
        A `FormChoice` for each product of the file.

    Raises:
        ValueError: the file takes another batch size only.
    """
    products = products_of(graph)
    sparse = [product for product in products if not product.kernel.all()]
    rows = _rows(graph, sparse, inputs, batch_sizes) if sparse else {}
    timed = with_progress(products, "Timing products")
    return [_choose(graph, product, rows.get(product.weight, [])) for product in timed]


def _choose(graph: LiteRTGraph, product: Product, rows: list[int]) -> FormChoice:
    if product.kernel.all():
        return FormChoice(product, {}, "it has no zeros")
    possible = possible_forms(graph, product)
    forms = [form for form in DIRECT if form in possible]
    times = {number: times_as_fast(product.kernel, number, forms) for number in rows} if forms else {}
    faster = [form for form in forms if all(measured[form] >= MARGIN for measured in times.values())]
    if faster:
        best = max(faster, key=lambda form: statistics.geometric_mean(measured[form] for measured in times.values()))
        set_form(graph, product, best)
        return FormChoice(product, times, "faster here than dense at each batch size")
    why = (
        "no sparse form was faster here by a tenth at each batch size" if forms else "there is no sparse product of it"
    )
    if "unpacked" in possible and (product.form != "dense" or _is_smaller_unpacked(product)):
        set_form(graph, product, "unpacked")
    return FormChoice(product, times, f"{why}, and dense is smaller" if product.form == "dense" else why)


def _is_smaller_unpacked(product: Product) -> bool:
    """Whether a dense kernel in int8 takes less room sparse, positions of up to two bytes included."""
    return str(product.kernel.dtype) == "int8" and 3 * int(np.count_nonzero(product.kernel)) < product.kernel.size


def times_as_fast(
    kernel: np.ndarray, rows: int, forms: Sequence[str], rounds: int = 21, seconds: float = 1.0
) -> dict[str, float]:
    """How many times as fast as the dense product each form was: medians of rounds in turn, by LiteRT's interpreter.

    Args:
        kernel: float32 or int8 array of shape `(outputs, inputs)`.
        rows: int, how many rows of inputs are multiplied at once.
        forms: of `DIRECT`.
        rounds: int, how often each is done at most, after one that does not count.
        seconds: float, after how long no further round is begun; at least 3 are done.
    """
    inputs = np.random.default_rng(0).normal(size=(rows, kernel.shape[1]))
    inputs = (16 * inputs if kernel.dtype == "int8" else inputs).astype(kernel.dtype)
    interpreters, times = {}, {}
    for form in ("dense", *forms):
        interpreter = Interpreter(model_content=product_file(kernel, rows, form))
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], inputs)
        interpreters[form], times[form] = interpreter, []
    end = time.perf_counter() + seconds
    for number in range(rounds + 1):
        if number > 3 and time.perf_counter() > end:
            break
        for form, interpreter in interpreters.items():
            start = time.perf_counter()
            interpreter.invoke()
            if number:
                times[form].append(time.perf_counter() - start)
    medians = {form: statistics.median(taken) for form, taken in times.items()}
    return {form: medians["dense"] / medians[form] for form in forms}


def _rows(
    graph: LiteRTGraph, products: list[Product], inputs: dict[str, np.ndarray], batch_sizes: Sequence[int]
) -> dict[int, list[int]]:
    """In how many rows each product gets its inputs at the batch sizes: it is run, and every tensor kept."""
    interpreter = Interpreter(
        model_content=graph.content(),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    fixed = [int(detail["shape_signature"][0]) for detail in interpreter.get_input_details()]
    run = interpreter.get_signature_runner("serving_default")
    rows: dict[int, set[int]] = {product.weight: set() for product in products}
    for size in batch_sizes:
        if any(of_it not in (-1, size) for of_it in fixed):
            raise ValueError(
                f"export(batch_sizes=...) must be those that the file takes: its input signature has the batch size "
                f"{max(fixed)}. Received: batch_sizes={tuple(batch_sizes)!r}"
            )
        run(**{name: np.resize(example, (size, *example.shape[1:])) for name, example in inputs.items()})
        for product in products:
            counts = (interpreter.get_tensor(one).size // product.kernel.shape[1] for one in product.inputs)
            rows[product.weight].update(counts)
    return {weight: sorted(counts) for weight, counts in rows.items()}
