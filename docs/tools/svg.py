"""What the pictures of the docs share: lines of text, and the document around what is drawn."""

from collections.abc import Iterable

INK = "#1f2430"


def text(x, y, words, size=17, weight="normal", fill=INK, anchor="start") -> str:
    """A line of text; sizes in units of the picture."""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{fill}" '
        f'text-anchor="{anchor}">{words}</text>'
    )


def document(width: int, height: int, title: str, description: str, parts: Iterable[str]) -> str:
    """A picture on white paper, so that dark pages show it too, with words for those who do not see it."""
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" '
            'font-family="system-ui, sans-serif">',
            f"<title>{title}</title><desc>{description}</desc>",
            '<rect width="100%" height="100%" rx="12" fill="#ffffff"/>',
            *parts,
            "</svg>",
            "",
        ]
    )
