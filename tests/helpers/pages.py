"""Reading the page of a report."""

import html.parser


class Table(html.parser.HTMLParser):
    """The texts of the cells of the first table of a page."""

    def __init__(self, page: str):
        super().__init__()
        self.rows: list[list[str]] = []
        self._in_cell = False
        self.feed(page[: page.index("</table>")])

    def handle_starttag(self, tag, attrs):
        if tag == "tr":
            self.rows.append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("")
            self._in_cell = True
        elif tag in ("small", "br") and self._in_cell:
            self.rows[-1][-1] += "|"

    def handle_endtag(self, tag):
        if tag in ("td", "th"):
            self._in_cell = False

    def handle_data(self, data):
        if self._in_cell:
            self.rows[-1][-1] += data.strip()
