"""Pages in headless Chromium, as a reader sees them."""

import base64
import json
import pathlib
import re
import shutil
import subprocess

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
PROBE = """<script>
const root = document.documentElement;
const wide = [...document.querySelectorAll("body *")].filter((one) => {
  const scrolls = one.closest(".scroll, .picture, svg");
  return (!scrolls || scrolls === one) && one.getBoundingClientRect().right > root.clientWidth + 1;
});
const seen = {
  width: root.clientWidth,
  scroll: root.scrollWidth,
  wide: wide.map((one) => one.outerHTML.slice(0, 80)),
  broken: [...document.images].filter((one) => !one.naturalWidth).length,
  names: [...document.querySelectorAll("tbody th")].map((one) => one.firstChild && one.innerText.split("\\n")[0]),
};
parent.postMessage(seen, "*");
</script>"""
# Chromium makes no window as narrow as a phone, but a frame in one may be.
OUTER = """<!DOCTYPE html><link rel="icon" href="data:,"><pre id="seen"></pre>
<script>
const all = [];
addEventListener("message", (event) => {
  all.push(event.data);
  document.getElementById("seen").textContent = btoa(unescape(encodeURIComponent(JSON.stringify(all))));
});
</script>"""
FRAME = '<iframe src="page.html" style="width: %dpx; height: 3000px; border: 0"></iframe>'


def browser() -> str:
    """The path of Chromium; the test is skipped where there is none."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        pytest.skip(f"no Chromium here (none of {', '.join(NAMES)})")
    return found


def open_page(html: str, folder: pathlib.Path, widths: tuple[int, ...]) -> tuple[dict[int, dict], list[str]]:
    """What is seen of a page where it is so many pixels wide (see `PROBE`), and the lines of the console."""
    (folder / "page.html").write_text(html.replace("</body>", f"{PROBE}</body>"), encoding="utf-8")
    (folder / "outer.html").write_text(OUTER + "".join(FRAME % width for width in widths), encoding="utf-8")
    command = [
        browser(),
        *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
        *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
        *("--hide-scrollbars", f"--user-data-dir={folder / 'profile'}", "--window-size=1600,1000"),
        *("--enable-logging=stderr", "--v=0", "--dump-dom", (folder / "outer.html").as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    encoded = re.search(r'<pre id="seen">(.+?)</pre>', done.stdout).group(1)
    seen = {page["width"]: page for page in json.loads(base64.b64decode(encoded))}
    return seen, re.findall(r".*CONSOLE.*", done.stderr)
