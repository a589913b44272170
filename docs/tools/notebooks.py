"""Runs the scripts of examples/ and writes their notebooks: `python docs/tools/notebooks.py [NAME ...]`.

Without names it runs all of them. A script in percent format is the source; its notebook has the same cells, and what
they printed and drew.
"""

import pathlib
import sys
import tempfile
import time

import jupytext
import nbformat
from nbclient import NotebookClient

EXAMPLES = pathlib.Path(__file__).parents[2] / "examples"
LARGEST = 150_000  # bytes of a notebook
NOISE = ("Assets written to", "ipywidgets")  # TensorFlow's line on a folder, and rich's on its progress bars


def shown(output: nbformat.NotebookNode) -> bool:
    """Not of logs, warnings and progress bars, which name folders of this machine or leave nothing to see."""
    text = output.get("text", output.get("data", {}).get("text/plain", ""))
    return output.get("name") != "stderr" and bool(text.strip()) and not any(words in text for words in NOISE)


def executed(script: pathlib.Path) -> nbformat.NotebookNode:
    """The notebook of a script with its outputs, run in an empty folder; warnings and logs are left out."""
    notebook = jupytext.read(script)
    notebook.metadata = {"kernelspec": {"name": "python3", "language": "python", "display_name": "Python 3"}}
    with tempfile.TemporaryDirectory() as folder:
        resources = {"metadata": {"path": folder}}
        NotebookClient(notebook, timeout=600, resources=resources, record_timing=False).execute()
    for number, cell in enumerate(notebook.cells):
        cell.id = f"cell-{number}"
        if cell.cell_type == "code":
            cell.outputs = [output for output in cell.outputs if shown(output)]
    notebook.metadata.pop("language_info", None)
    return notebook


def main(names: list[str]) -> None:
    for script in sorted(EXAMPLES.glob("*.py")):
        if names and script.stem not in names:
            continue
        start = time.perf_counter()
        text = nbformat.writes(executed(script)) + "\n"
        if len(text) > LARGEST:
            raise SystemExit(f"{script.stem}: the notebook has {len(text):,} bytes, more than {LARGEST:,}")
        script.with_suffix(".ipynb").write_text(text)
        print(f"{script.stem}: {time.perf_counter() - start:.0f} s, {len(text):,} bytes", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
