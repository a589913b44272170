"""Runs LiteRT files of one input: python run.py ROUNDS INPUT OUTPUT FILE [FILE ...].

INPUT and OUTPUT are .npy files; to OUTPUT goes the first output of the last FILE. Prints, as JSON, of each FILE the
processor milliseconds of each of ROUNDS runs, the files in turn.
"""

import json
import sys
import time

import numpy as np
from ai_edge_litert.interpreter import Interpreter

rounds, given, output, *paths = sys.argv[1:]
runners = [Interpreter(path).get_signature_runner() for path in paths]
(name,) = runners[0].get_input_details()
inputs = np.load(given)
times: list[list[float]] = [[] for _ in paths]
for number in range(-1, int(rounds)):
    for run, taken in zip(runners, times):
        start = time.process_time()
        outputs = run(**{name: inputs})
        if number >= 0:
            taken.append(1000 * (time.process_time() - start))
np.save(output, next(iter(outputs.values())))
print(json.dumps(times))
