"""The page: one file, everything escaped, pictures inside."""

import base64
import shutil
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure

from ase_mlip.pictures.page import Picture, Section, Table, render, write_report
from ase_mlip.pictures.plots import png, save_figure
from tests.browser import find_browser

VOID = {"meta", "link", "img", "br"}


class Outline(HTMLParser):
    """Checks that tags nest, and collects tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.text = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes.append(dict(attrs))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def parse(page: str) -> Outline:
    outline = Outline()
    outline.feed(page)
    outline.close()
    assert outline.open == []
    return outline


def picture() -> bytes:
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot([0, 1])
    return png(figure, dpi=50)


def test_tags_nest_and_nothing_is_loaded_from_elsewhere():
    section = Section("One", ["text"], [Table(("a", "b"), [("1", "2")], "cap")], [Picture(picture(), "alt")])
    outline = parse(render("Title", ["hello"], [section], "foot"))
    assert outline.tags.count("tr") == 2
    links = [a[key] for a in outline.attributes for key in ("src", "href") if key in a]
    assert links
    assert all(link.startswith("data:") for link in links)
    assert {"name": "viewport", "content": "width=device-width, initial-scale=1"} in outline.attributes


def test_pictures_survive_embedding():
    data = picture()
    outline = parse(render("Title", [], [Section("One", pictures=[Picture(data, "a curve")])]))
    image = next(a for a in outline.attributes if "alt" in a)
    assert image["alt"] == "a curve"
    assert base64.b64decode(image["src"].partition(",")[2]) == data


def test_text_is_escaped():
    evil = "<script>alert('x')</script> & more"
    section = Section(evil, [evil], [Table((evil,), [(evil,)], evil)], [Picture(b"", evil, evil)], [evil])
    page = render(evil, [evil], [section], evil)
    assert page.count("<script") == 1  # the page's own
    assert "".join(parse(page).text).count(evil) == 11


def test_a_failed_write_leaves_the_old_page(tmp_path, monkeypatch):
    path = tmp_path / "report.html"
    write_report(path, "old", [], [])

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_report(path, "new", [], [])
    assert "old" in path.read_text()
    assert [file.name for file in tmp_path.iterdir()] == ["report.html"]


def test_figures_are_png_files(tmp_path):
    figure = Figure(figsize=(1, 1))
    save_figure(figure, tmp_path / "empty.png", dpi=50)
    assert (tmp_path / "empty.png").read_bytes().startswith(b"\x89PNG")


def test_a_browser_that_could_be_there_is_missed_in_ci_only(monkeypatch):
    monkeypatch.setattr(shutil, "which", lambda name: "/usr/bin/apt-get" if name == "apt-get" else None)
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="apt-get install chromium"):
        find_browser()
    monkeypatch.delenv("CI")
    with pytest.raises(pytest.skip.Exception, match="no headless browser"):
        find_browser()
