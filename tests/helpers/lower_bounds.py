"""The lower bounds of pyproject.toml as constraints of pip: `python -m tests.helpers.lower_bounds`.

It needs the standard library alone. A bound of two numbers stands for the releases that begin with them.
"""

import re
import tomllib
from pathlib import Path

BOUND = re.compile(r"^(?P<name>[A-Za-z0-9_-]+)>=(?P<major>\d+)(?:\.(?P<minor>\d+))?$")
TOOLS = ("docs",)  # extras that a user of the library does not install


def lower_bounds(pyproject: dict) -> list[str]:
    """A line for each dependency that has a lower bound, and for the build of TensorFlow that the tests use."""
    project = pyproject["project"]
    extras = [lines for name, lines in project["optional-dependencies"].items() if name not in TOOLS]
    found = [match for line in sum(extras, project["dependencies"]) if (match := BOUND.match(line))]
    lines = [f"{match['name']}=={match['major']}.{match['minor'] or 0}.*" for match in found]
    return lines + [line.replace("tensorflow", "tensorflow-cpu") for line in lines if line.startswith("tensorflow==")]


if __name__ == "__main__":
    print("\n".join(lower_bounds(tomllib.loads(Path("pyproject.toml").read_text()))))
