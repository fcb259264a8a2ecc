"""MkDocs hook: pages whose text lies elsewhere in the repository, and links between all pages.

Links are written as paths in the repository, so that they work in its browser too. Here those to
a page of the site lead there, and those to other files, such as code, become plain text.
"""

import posixpath
import re
from pathlib import Path

from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
ELSEWHERE = {
    "benchmarks/README.md": "benchmarks.md",
    "diffpir/weights/MODEL_CARD.md": "model-card.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "SECURITY.md": "security.md",
    "README.md": "index.md",
}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")


def on_files(files, config):
    for source, page in ELSEWHERE.items():
        if page != "index.md":
            text = (ROOT / source).read_text()
            files.append(File.generated(config, page, content=text))
    return files


def on_page_markdown(markdown, page, config, files):
    sources = {page: source for source, page in ELSEWHERE.items() if page != "index.md"}
    here = page.file.src_uri
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))

    def in_site(match):
        picture, text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        found = ELSEWHERE.get(path) or path.removeprefix("docs/")
        if found != path:
            place = posixpath.relpath(found, posixpath.dirname(here) or ".")
            return f"{picture}[{text}]({place}{anchor or ''})"
        return text if (ROOT / path).exists() else match[0]

    return LINK.sub(in_site, markdown)
