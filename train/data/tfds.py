"""Finding data sets that TensorFlow Datasets has prepared on this machine, without ever downloading."""

from pathlib import Path

import numpy as np

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
    """The images (uint8) and labels (int64) of a whole split, in the order of its files."""
    examples = builder.info.splits[split].num_examples
    images, labels = next(iter(builder.as_dataset(split=split, as_supervised=True, batch_size=examples)))
    return images.numpy(), labels.numpy()


def _contents(root: Path) -> str:
    if not root.is_dir():
        return "that folder does not exist"
    names = sorted(path.name for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))
    return f"it has: {', '.join(names)}" if names else "that folder is empty"
