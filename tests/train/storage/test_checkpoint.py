"""A checkpoint restores every variable to the bit, or refuses and changes nothing."""

import functools
import io
import json
import zipfile

import keras
import numpy as np
import pytest

import keras_dsr as dsr
import models
from train.storage import checkpoint
from train.storage.checkpoint import Progress


def network(sparsity: float = 0.9, classes: int = 10, seed: int = 0) -> keras.Model:
    """A small network with optimizer slots and the state of a random generator."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(seed)
    dense = functools.partial(dsr.SparseDense, sparsity=sparsity)
    body = models.lenet_300_100((4, 4, 1), classes, dense=dense)
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Dropout(0.1), body])
    model.compile(keras.optimizers.Adam(), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.optimizer.build(model.trainable_variables)
    return model


def variables(model) -> list[np.ndarray]:
    return [keras.ops.convert_to_numpy(v) for v in (*model.variables, *model.optimizer.variables)]


def same(model, arrays) -> bool:
    return all(ours.tobytes() == theirs.tobytes() for ours, theirs in zip(variables(model), arrays, strict=True))


@pytest.fixture(scope="module")
def trained():
    model = network()
    x, y = np.random.default_rng(0).normal(size=(20, 4, 4, 1)), np.arange(20) % 10
    model.fit(x, y, batch_size=5, epochs=2, callbacks=[dsr.DSRCallback(period=3)], verbose=0)
    return model


ROWS = [{"epoch": 0, "loss": 0.1, "sparsity": 0.9, "dsr_pruned": 3}, {"epoch": 1, "loss": 1 / 3, "dsr_pruned": 4}]


@pytest.mark.slow_on("jax")
def test_everything_comes_back_to_the_bit(trained, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", trained, Progress(2, ROWS))
    other = network(seed=5)
    assert not same(other, variables(trained))
    assert checkpoint.load(tmp_path / "checkpoint", other) == Progress(2, ROWS)
    assert same(other, variables(trained))
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint"]


def test_masks_threshold_slots_and_generators_are_in_it(trained):
    names = " ".join(checkpoint._variables(trained))
    assert all(part in names for part in ("kernel_mask", "kernel_threshold", "momentum", "iteration", "seed_generator"))


def test_a_save_that_fails_leaves_the_old_file(trained, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", trained, Progress(1, []))
    before = (tmp_path / "checkpoint").read_bytes()
    with pytest.raises(TypeError):
        checkpoint.save(tmp_path / "checkpoint", trained, Progress(2, [{"epoch": object()}]))
    assert (tmp_path / "checkpoint").read_bytes() == before


@pytest.mark.parametrize("size", [0, 1, 21, 22, 64])
def test_what_is_left_of_a_file_is_refused(trained, tmp_path, size):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, trained, Progress(2, ROWS))
    path.write_bytes(path.read_bytes()[:size])
    _assert_refused(path, "is damaged or truncated and cannot be read.*Nothing was changed.*--overwrite")


def of_an_earlier_version(content: bytes) -> bytes:
    """The same file without its digest."""
    return content[: -checkpoint._DIGEST - 2] + b"\0\0"


def flipped(content: bytes, bit: int) -> bytes:
    damaged = bytearray(content)
    damaged[bit // 8] ^= 1 << bit % 8
    return bytes(damaged)


def places_of_headers(content: bytes) -> list[int]:
    """The bits of what is no number of an array: headers of the zip and of numpy, the directory, the digest."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        begins = [entry.header_offset for entry in archive.infolist()]
        bytes_ = [begin + offset for begin in begins for offset in range(200)]
        return [8 * byte + bit for byte in [*bytes_, *range(archive.start_dir, len(content))] for bit in range(8)]


def versions(content: bytes, flips: int, cuts: int) -> list[bytes]:
    """A file with one bit flipped, half of them in headers, or cut off; seeded."""
    chance = np.random.default_rng(0)
    headers = places_of_headers(content)
    bits = [*chance.choice(headers, flips // 2), *chance.integers(8 * len(content), size=flips - flips // 2)]
    ends = [*range(1, cuts // 2 + 1), *chance.integers(1, len(content), size=cuts - cuts // 2)]
    return [*(flipped(content, int(bit)) for bit in bits), *(content[: -int(end)] for end in ends)]


@pytest.mark.slow_on("tensorflow", "jax")  # it is above the backends
@pytest.mark.parametrize("has_digest", [True, False])
def test_any_flipped_bit_and_any_cut_is_found_before_anything_is_assigned(trained, tmp_path, has_digest):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, trained, Progress(2, ROWS))
    whole = path.read_bytes() if has_digest else of_an_earlier_version(path.read_bytes())
    model = network(seed=5)
    before = variables(model)
    refused = 0
    for version in versions(whole, flips=2000 if has_digest else 500, cuts=200):
        path.write_bytes(version)
        try:
            checkpoint.load(path, model)
        except ValueError:
            refused += 1
        else:  # without a digest, a position that nobody reads
            assert not has_digest and same(model, variables(trained))
            for variable, array in zip((*model.variables, *model.optimizer.variables), before):
                variable.assign(array)
    assert same(model, before)
    assert refused == 2200 if has_digest else refused > 500


def test_a_file_of_an_earlier_version_loads(trained, tmp_path):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, trained, Progress(2, ROWS))
    path.write_bytes(of_an_earlier_version(path.read_bytes()))
    other = network(seed=5)
    assert checkpoint.load(path, other) == Progress(2, ROWS)
    assert same(other, variables(trained))


def rewritten(path, change) -> None:
    """The checkpoint with its header and arrays changed, whole in itself."""
    with np.load(path) as archive:
        header = json.loads(archive["header"].tobytes())
        arrays = [archive[f"{i:05d}"] for i in range(len(header["fingerprint"]))]
    header, arrays = change(header, arrays)
    named = {f"{i:05d}": array for i, array in enumerate(arrays)}
    with open(path, "wb") as file:
        np.savez(file, header=np.frombuffer(json.dumps(header).encode(), dtype="uint8"), **named)


def added_variables(model) -> list[keras.Variable]:
    """Variables as later versions have them: in the layers, and in the optimizer."""
    layer = model.layers[-1].layers[-1]
    layer._tracker.unlock()
    ours = [layer.add_weight(shape=(), dtype="int32", name=name, trainable=False) for name in ADDED]
    layer._tracker.lock()
    return [*ours, model.optimizer.add_variable((), initializer="zeros", name="overfull")]


ADDED = ("first_record", "second_record")


def test_variables_that_an_earlier_version_did_not_have_stay_and_are_named(trained, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", trained, Progress(2, ROWS))
    model = network(seed=5)
    added = added_variables(model)
    for variable in added:
        variable.assign(7)
    progress = checkpoint.load(tmp_path / "checkpoint", model)
    assert progress[:2] == (2, ROWS) and progress.absent == tuple(variable.path for variable in added)
    assert [path.rsplit("/")[-1] for path in progress.absent] == [*ADDED, "overfull"]
    assert [int(keras.ops.convert_to_numpy(variable)) for variable in added] == [7, 7, 7]
    names = {variable.path for variable in added}
    ours = [v for v in (*model.variables, *model.optimizer.variables) if v.path not in names]
    expected = (*trained.variables, *trained.optimizer.variables)
    for variable, there in zip(ours, expected, strict=True):
        assert keras.ops.convert_to_numpy(variable).tobytes() == keras.ops.convert_to_numpy(there).tobytes()
    checkpoint.save(tmp_path / "checkpoint", model, progress)
    assert checkpoint.load(tmp_path / "checkpoint", model) == Progress(2, ROWS)
    with pytest.raises(ValueError, match=r"another network.*first_record int32\[\] in the checkpoint, "):
        checkpoint.load(tmp_path / "checkpoint", network())


def test_no_other_variable_may_be_absent(trained, tmp_path):
    checkpoint.save(tmp_path / "checkpoint", trained, Progress(2, ROWS))
    for name in ("kernel_records", "threshold"):
        model = network(seed=5)
        model.optimizer.add_variable((), initializer="zeros", name=name)
        before = variables(model)
        with pytest.raises(ValueError, match=f"another network or optimizer.*nothing in the .*{name} float32"):
            checkpoint.load(tmp_path / "checkpoint", model)
        assert same(model, before)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda header, arrays: (header, [*arrays[:-1], arrays[-1].reshape(-1)[:0]]), r"is .*\[0\], not .*"),
        (lambda header, arrays: (header, [arrays[0].astype("complex64"), *arrays[1:]]), r"is complex64\[2\], not "),
        (lambda header, arrays: ({**header, "epochs": -1}, arrays), "its header has no epochs or rows"),
        (lambda header, arrays: ({**header, "rows": [1]}, arrays), "its header has no epochs or rows"),
        (lambda header, arrays: ({"epochs": 1, "rows": []}, arrays), "'fingerprint'"),
        (lambda header, arrays: ([], arrays), "list indices"),
        (lambda header, arrays: (header, arrays[1:]), r"000\d\d"),
    ],
)
def test_arrays_that_are_not_what_the_header_names_are_refused(trained, tmp_path, change, message):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, trained, Progress(2, ROWS))
    model = network(seed=5)
    before = variables(model)
    rewritten(path, change)
    with pytest.raises(
        ValueError, match=f"is damaged or truncated and cannot be read .*{message}.*Nothing was changed"
    ):
        checkpoint.load(path, model)
    assert same(model, before)


def test_another_architecture_is_refused_by_what_differs(trained, tmp_path):
    path = tmp_path / "checkpoint"
    checkpoint.save(path, trained, Progress(2, ROWS))
    message = r"another network or optimizer.*holds \d+ variables.*sparse_dense_2/kernel float32\[100,10\] in the "
    _assert_refused(path, message + r"checkpoint, .*float32\[100,7\] here", classes=7)


def test_no_file(tmp_path):
    with pytest.raises(FileNotFoundError, match="There is no checkpoint"):
        checkpoint.load(tmp_path / "checkpoint", network())


def _assert_refused(path, message, **architecture):
    model = network(**architecture)
    before = variables(model)
    with pytest.raises(ValueError, match=message):
        checkpoint.load(path, model)
    assert same(model, before)
