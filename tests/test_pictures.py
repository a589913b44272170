"""The pictures of the docs are what their scripts draw."""

import pathlib
import runpy

import pytest

pytestmark = pytest.mark.once

PICTURES = pathlib.Path(__file__).parent.parent / "docs" / "pictures"


@pytest.mark.parametrize("script", sorted(PICTURES.glob("*.py")), ids=lambda script: script.stem)
def test_a_picture_is_what_its_script_draws(script):
    drawn = runpy.run_path(str(script))["picture"]()
    assert script.with_suffix(".svg").read_text() == drawn, f"run python -m docs.pictures.{script.stem}"
