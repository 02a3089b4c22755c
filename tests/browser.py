"""A real headless browser, if one is installed: what a page looks like after its script has run."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")

# Runs in the page after it has loaded; what it finds is read from the title of the dumped document.
PROBE = """<script>
window.problems = [];
const note = event => window.problems.push(String(event.message || event.target.src));
window.addEventListener("error", note, true);
</script>"""
REPORT = """<script>
window.addEventListener("load", () => {
  const images = [...document.images];
  const found = {
    problems: window.problems,
    images: images.length,
    loaded: images.filter(i => i.complete && i.naturalWidth > 50).length,
    overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
  };
  const table = document.querySelector("table.sortable");
  if (table) {
    const head = table.querySelectorAll("th")[COLUMN];
    const column = () => [...table.tBodies[0].rows].map(row => row.cells[COLUMN].textContent);
    head.click(); found.ascending = column();
    head.click(); found.descending = column();
  }
  if (images.length) {
    found.width = images[0].getBoundingClientRect().width;
    found.natural = images[0].naturalWidth;
    found.window = window.innerWidth;
    const over = () => document.querySelector(".zoom");
    images[0].click();
    const shown = over().querySelector("img").getBoundingClientRect();
    found.zoomed = shown.width;
    found.left = shown.left;
    found.reach = over().scrollWidth;
    over().click(); found.closed = over() === null;
    images[0].click();
    document.dispatchEvent(new KeyboardEvent("keydown", {key: "Escape"}));
    found.escaped = over() === null;
  }
  document.title = JSON.stringify(found);
});
</script>"""


def find_browser() -> str:
    """Path of a Chromium; skips the test where there is none, but in CI fails where one can be installed."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        missing = f"no headless browser installed (one of {', '.join(NAMES)})"
        if os.environ.get("CI") and shutil.which("apt-get"):
            pytest.fail(f"{missing}: apt-get install chromium")
        pytest.skip(missing)
    return found


def open_page(path: Path, tmp_path: Path, width: int = 1280, column: int = 0) -> dict:
    """What the page at ``path`` does in a window of that width: see ``found`` in ``REPORT``."""
    program = find_browser()
    page = path.read_text(encoding="utf-8").replace("<style>", PROBE + "<style>", 1)
    probed = tmp_path / "probed.html"
    probed.write_text(page.replace("</body>", REPORT.replace("COLUMN", str(column)) + "</body>"), "utf-8")
    command = [program, "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", f"--window-size={width},900"]
    command += ["--virtual-time-budget=5000", "--dump-dom", probed.as_uri()]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", run.stdout, re.DOTALL)
    assert title is not None, run.stdout[:500] + run.stderr[-2000:]
    return json.loads(html.unescape(title[1]))
