"""Pages that the site takes from the repository's root, and the other files of it that pages link to.

README.md becomes the start page and CONTRIBUTING.md a page. Links are written as they work in the repository; here
those that leave `docs` are turned to the page, or to a copy of the file, in the site. A link to nothing is a warning,
which ends a strict build.
"""

import logging
import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

log = logging.getLogger("mkdocs.hooks.pages")

ROOT = Path(__file__).parents[2]
PAGES = {"README.md": "index.md", "CONTRIBUTING.md": "contributing.md"}
LINK = re.compile(r'(\]\(|<img src=")([^)#\s"]+)')


def on_files(files, config):
    """Add the pages, and a copy of every linked file that lies outside of `docs`."""
    for source, target in PAGES.items():
        files.append(File.generated(config, target, content=(ROOT / source).read_text(encoding="utf-8")))
    texts = {f.src_uri: f.content_string for f in files.documentation_pages()}
    for page, text in texts.items():
        for _, link in LINK.findall(text):
            path = _in_repository(page, link)
            if path is None or path in PAGES or path.startswith("docs/"):
                continue
            if not (ROOT / path).is_file():
                log.warning("%s links to %s, which is no file", page, link)
            elif files.get_file_from_path(f"files/{path}") is None:
                files.append(File.generated(config, f"files/{path}", content=(ROOT / path).read_bytes()))
    return files


def on_page_markdown(markdown, page, config, files):
    """Links that work in the repository, as they work in the site."""
    here = page.file.src_uri
    if here == "index.md":
        page.meta["hide"] = ["navigation"]  # a list of one page

    def turned(match):
        path = _in_repository(here, match[2])
        if path is None:
            return match[0]
        target = PAGES.get(path) or (path.removeprefix("docs/") if path.startswith("docs/") else f"files/{path}")
        return match[1] + posixpath.relpath(target, posixpath.dirname(here))

    return LINK.sub(turned, markdown)


def _in_repository(page, link):
    """The path from the root of the repository to which a page's link leads; None for an address."""
    if "://" in link or link.startswith("mailto:"):
        return None
    at_root = page in PAGES.values()
    folder = "" if at_root else posixpath.join("docs", posixpath.dirname(page))
    return posixpath.normpath(posixpath.join(folder, link))
