"""Runs the programs of this folder, each in a process of its own with devices of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras


def findings(program: str, devices: int, folder: Path, *arguments: str) -> dict:
    """What a program of this folder prints.

    Args:
        program: its name.
        devices: how many XLA is to see in the processor.
        folder: for its files.
        arguments: the others.
    """
    environment = {
        **os.environ,
        "KERAS_BACKEND": keras.backend.backend(),
        # The models are small: most of the time goes into compiling them, some of them more than once.
        "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} --xla_backend_optimization_level=0 "
        "--xla_llvm_disable_expensive_passes=true",
        "JAX_COMPILATION_CACHE_DIR": str(folder / "compiled"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    command = [sys.executable, "-m", f"tests.devices.{program}", str(folder), *arguments]
    root = Path(__file__).parents[2]
    result = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr[-4000:]
    return json.loads(result.stdout.splitlines()[-1])
