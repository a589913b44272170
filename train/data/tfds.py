"""Finding data sets that TensorFlow Datasets has prepared on this machine, without ever downloading."""

import contextlib
import re
import zipfile
from pathlib import Path

import numpy as np

from keras_dsr.saving.atomic import written_beside

_FIRST = {"imagenet2012": "put ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar into downloads/manual there, then "}


def find_builder(name: str, data_dir: str | None):
    """The TFDS builder of the newest prepared version of a data set.

    Args:
        name: its name in TFDS, such as `"mnist"`.
        data_dir: folder of prepared data sets; None: where TFDS keeps them (`TFDS_DATA_DIR`, `~/tensorflow_datasets`).

    Raises:
        FileNotFoundError: it is not there, or some of its files are not.
    """
    import tensorflow_datasets as tfds

    root = Path(data_dir if data_dir is not None else tfds.core.constants.DATA_DIR).expanduser()
    versions = [path.parent for path in (root / name).glob("*/dataset_info.json")]
    versions = [path for path in versions if tfds.core.Version.is_valid(path.name)]
    if not versions:
        raise FileNotFoundError(
            f"The data set {name!r} is not prepared in --data_dir={root}: no {name}/<version>/dataset_info.json there "
            f"({_contents(root)}). Nothing is downloaded here. Pass the --data_dir that has it, or prepare it "
            f"once: {_FIRST.get(name, '')}run `tfds build {name} --data_dir={root}`."
        )
    builder = tfds.builder_from_directory(max(versions, key=lambda path: tfds.core.Version(path.name)))
    files = [Path(file) for split in builder.info.splits.values() for file in split.filepaths]
    absent = [file.name for file in files if not file.exists()]
    if absent:
        raise FileNotFoundError(
            f"The data set {name!r} in {builder.data_dir} is incomplete: {len(absent)} of its {len(files)} files are "
            f"absent, such as {absent[0]}. Prepare it again with `tfds build {name} --data_dir={root} --overwrite`."
        )
    return builder


def read_split(builder, split: str) -> tuple[np.ndarray, np.ndarray]:
    """The images (uint8) and labels (int64) of a whole split, in the order of its files.

    Decoded once, they are kept beside those files (`<split>.npz`), if their folder can be written to: CIFAR-10 takes 13
    seconds of a processor to decode, and half a second to read.

    Args:
        builder: from `find_builder`.
        split: such as `"train"` or `"test[:500]"`.
    """
    files = [Path(file) for file in builder.info.splits[split].filepaths]
    decoded_from = repr([split, *((file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files)])
    kept = Path(builder.data_dir) / f"{re.sub(r'[^a-z0-9]+', '-', split).strip('-')}.npz"
    found = _read_kept(kept, decoded_from)
    if found is None:
        examples = builder.info.splits[split].num_examples
        images, labels = next(iter(builder.as_dataset(split=split, as_supervised=True, batch_size=examples)))
        found = images.numpy(), labels.numpy()
        with contextlib.suppress(OSError), written_beside(kept) as temporary, open(temporary, "wb") as file:
            np.savez(file, images=found[0], labels=found[1], decoded_from=decoded_from)
    return found


def _read_kept(path: Path, decoded_from: str) -> tuple[np.ndarray, np.ndarray] | None:
    """What was kept of these very files; None if nothing was, or it is damaged."""
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:  # NumPy looks at no checksum
                return None
        with np.load(path) as arrays:
            return (arrays["images"], arrays["labels"]) if arrays["decoded_from"] == decoded_from else None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return None


def _contents(root: Path) -> str:
    if not root.is_dir():
        return "that folder does not exist"
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return f"it has: {', '.join(names)}" if names else "that folder is empty"
