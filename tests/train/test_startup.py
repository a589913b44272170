"""What a program shows before it begins: its flags where they are asked for, and no notes of TensorFlow."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NOTES = """WARNING: All log messages before absl::InitializeLog() is called are written to STDERR
I0000 00:00:1796065691.165843   25226 cudart_stub.cc:31] Could not find cuda drivers on your machine.
2025-01-01 10:00:00.123456: I tensorflow/core/util/port.cc:153] oneDNN custom operations are on.
E0000 00:00:1796065691.165843   25226 cuda_dnn.cc:8579] Unable to register cuDNN factory: Attempting to register
"""
OTHERS = """E0000 00:00:1796065691.165843   25226 gpu_device.cc:1] Out of memory
Illegal instruction
"""

once = pytest.mark.backends("tensorflow")


def run(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)


@once
@pytest.mark.parametrize("end", ["", "os.abort()", "raise RuntimeError('a real error')"])
def test_notes_are_left_out_and_errors_are_not_however_the_program_ends(end):
    done = run(f"""
import os
from train.startup import _notes_left_out
with _notes_left_out():
    os.write(2, {(NOTES + OTHERS)!r}.encode())
    {end or "pass"}
os.write(2, b"I0000 after it: all is written again")
""")
    assert OTHERS in done.stderr
    assert not any(note in done.stderr for note in NOTES.splitlines())
    assert ("after it" in done.stderr) == (not end)
    assert ("RuntimeError: a real error" in done.stderr) == ("raise" in end)


@once
def test_each_program_lists_its_own_flags_and_writes_nothing_else():
    own = {
        "run": ("method", "sparsity", "out", "resume", "backend", "devices", "coordinator"),
        "compare": ("methods", "seeds", "early_stop", "jobs", "model", "backend", "out"),
        "fine_tune": ("run", "sparsity", "epochs", "distribution", "data_dir"),
        "sensitivity": ("run", "sparsities", "max_drop", "examples", "data_dir", "out"),
        "report": ("run", "out", "masks", "batch_sizes"),
    }
    # One process imports what they share, and goes on as each of them.
    done = run(f"""
import os, runpy, sys
from train.startup import import_tensorflow
import_tensorflow()
import train.compare, train.sensitivity, train.fine_tune, train.report
for program in {list(own)}:
    print("PROGRAM", flush=True)
    if os.fork() == 0:
        sys.argv = [program, "--help"]
        del sys.modules["train." + program]
        runpy.run_module("train." + program, run_name="__main__", alter_sys=True)
    os.wait()
""")
    assert done.stderr == ""
    for (program, flags), text in zip(own.items(), done.stdout.split("PROGRAM\n")[1:], strict=True):
        lines = text.splitlines()
        for flag in flags:
            assert any(line.startswith((f"  --{flag}:", f"  --[no]{flag}:")) for line in lines), (program, flag)
        assert len(lines) < 110 and "verbosity" not in text and "flagfile" not in text
        assert f"python -m train.{program}" in text
