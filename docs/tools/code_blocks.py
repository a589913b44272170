"""A hook of MkDocs: code blocks that name a backend (```python jax) show it as their title."""

import re

BLOCK = re.compile(r"^```python +(jax|torch) *$", re.MULTILINE)
TITLES = {"jax": "JAX", "torch": "torch"}


def on_page_markdown(markdown: str, **_) -> str:
    return BLOCK.sub(lambda match: f'```python title="{TITLES[match[1]]}"', markdown)
