"""One self-contained HTML page of text, tables and pictures, readable on a phone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from ..provenance import write_atomically


@dataclass
class Table:
    """Rows of strings under a header, which may be empty; ``caption`` stands below."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    caption: str = ""

    @property
    def sortable(self) -> bool:
        """Not a column of one thing and its number, which is read from top to bottom."""
        return len(self.header) > 2 and len(self.rows) > 1


@dataclass
class Picture:
    """A PNG; ``alt`` says in words what it shows."""

    png: bytes = field(repr=False)
    alt: str
    caption: str = ""


@dataclass
class Section:
    """A heading, paragraphs, tables and pictures, in this order."""

    title: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()
    warnings: Sequence[str] = ()


STYLE = """
:root { color-scheme: light; }
body { margin: 0 auto; padding: 1rem 1rem 3rem; max-width: 46rem; color: #1c2430; background: #fff;
       font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: .6rem 0; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .5rem; padding-top: .8rem; border-top: 1px solid #d9dee6; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .35rem .7rem .35rem 0; border-bottom: 1px solid #e6e9ef; }
th, td { text-align: left; vertical-align: top; }
th { color: #4b5563; font-weight: 600; }
figure { margin: 1rem 0; }
img { max-width: 100%; height: auto; display: block; cursor: zoom-in; }
.zoom { position: fixed; inset: 0; z-index: 1; overflow: auto; overscroll-behavior: contain; display: flex;
        background: #fff; cursor: zoom-out; }
.zoom img { max-width: none; margin: auto; flex: none; cursor: zoom-out; }
.sortable th { cursor: pointer; white-space: nowrap; }
.sortable td { white-space: nowrap; }
th[aria-sort="ascending"]::after { content: " \\2191"; }
th[aria-sort="descending"]::after { content: " \\2193"; }
.caption, figcaption { color: #4b5563; font-size: .85rem; margin: .3rem 0 1rem; }
.warning { border-left: 4px solid #d1661a; background: #fdf3eb; padding: .5rem .8rem; margin: .8rem 0; }
footer { margin-top: 3rem; color: #4b5563; font-size: .85rem; }
"""


# Sorts a table by the column whose head is clicked, numbers as numbers and what is no number last, and shows
# a clicked picture in its own size over the page, to be scrolled where the window is smaller. Without it the
# page is complete.
SCRIPT = """
document.querySelectorAll("table.sortable th").forEach(head => head.addEventListener("click", () => {
  const up = head.getAttribute("aria-sort") !== "ascending";
  const table = head.closest("table"), body = table.tBodies[0];
  const column = [...head.parentNode.children].indexOf(head);
  const key = row => row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const x = parseFloat(a), y = parseFloat(b), numbers = [x, y].filter(Number.isFinite).length;
    if (numbers === 1) return Number.isFinite(x) ? -1 : 1;
    return (up ? 1 : -1) * (numbers ? x - y : a.localeCompare(b));
  };
  table.querySelectorAll("th").forEach(other => other.removeAttribute("aria-sort"));
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  [...body.rows].sort((a, b) => compare(key(a), key(b))).forEach(row => body.append(row));
}));
const close = () => document.querySelectorAll(".zoom").forEach(shown => shown.remove());
document.querySelectorAll("img").forEach(image => image.addEventListener("click", () => {
  const over = document.createElement("div"), copy = image.cloneNode();
  over.className = "zoom";
  over.append(copy);
  over.addEventListener("click", close);
  document.body.append(over);
}));
document.addEventListener("keydown", event => { if (event.key === "Escape") close(); });
"""


def render(title: str, introduction: Sequence[str], sections: Sequence[Section], footer: str = "") -> str:
    """The page as a string; pictures are embedded, so that one file is all there is to send."""
    body = "\n".join(_section(section) for section in sections)
    opening = "\n".join(f"<p>{escape(text)}</p>" for text in introduction)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{escape(title)}</title>
<link rel="icon" href="data:,">
<style>{STYLE}</style>
</head>
<body>
<h1>{escape(title)}</h1>
{opening}
{body}
<footer>{escape(footer)}</footer>
<script>{SCRIPT}</script>
</body>
</html>
"""


def write_report(
    path: str | Path, title: str, introduction: Sequence[str], sections: Sequence[Section], footer: str = ""
) -> None:
    """Render the page and write it to ``path``, all or nothing. Raises OSError.

    Parameters
    ----------
    path : str or Path
        the HTML file
    title : str
        of the page
    introduction : sequence of str
        paragraphs before the sections
    sections : sequence of Section
        with tables and pictures
    footer : str
        at the end
    """
    write_atomically(path, render(title, introduction, sections, footer).encode("utf-8"))


def _section(section: Section) -> str:
    parts = [f"<section>\n<h2>{escape(section.title)}</h2>"]
    parts += [f'<p class="warning">{escape(text)}</p>' for text in section.warnings]
    parts += [f"<p>{escape(text)}</p>" for text in section.paragraphs]
    parts += [_table(table) for table in section.tables]
    parts += [_picture(picture) for picture in section.pictures]
    return "\n".join([*parts, "</section>"])


def _table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.header)
    kind = ' class="sortable"' if table.sortable else ""
    head = f"<thead><tr>{head}</tr></thead>\n" if head else ""
    rows = ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in table.rows]
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    caption = f'<p class="caption">{escape(table.caption)}</p>' if table.caption else ""
    table_ = f"<table{kind}>\n{head}<tbody>\n{body}\n</tbody></table>"
    return f'<div class="scroll">{table_}</div>{caption}'


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = f"<figcaption>{escape(picture.caption)}</figcaption>" if picture.caption else ""
    return f'<figure><img src="data:image/png;base64,{data}" alt="{escape(picture.alt)}">{caption}</figure>'
