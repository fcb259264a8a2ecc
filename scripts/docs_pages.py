"""MkDocs hook: pages from elsewhere in the repository, from notebooks, and links between all pages.

Links are written as paths in the repository, so that they work in its browser too. Here those to
a page of the site lead there, and those to other files, such as code, become plain text.
"""

import json
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
NOTEBOOKS = {"docs/notebooks/restore_images.ipynb": "notebook.md"}
LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)]*)?\)")


def on_files(files, config):
    for source, page in ELSEWHERE.items():
        if page != "index.md":
            text = (ROOT / source).read_text()
            files.append(File.generated(config, page, content=text))
    for source, page in NOTEBOOKS.items():
        text = page_of(json.loads((ROOT / source).read_text()))
        files.append(File.generated(config, page, content=text))
    return files


def page_of(notebook):
    """A notebook as Markdown, with the outputs that it is kept with."""
    parts = []
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        parts.append(f"```python\n{source}\n```")
        for output in cell["outputs"]:
            data = output.get("data", {"text/plain": output.get("text", "")})
            if "text/html" in data:
                parts.append(f"<div>{''.join(data['text/html'])}</div>")
            else:
                parts.append(f"```text\n{''.join(data['text/plain'])}\n```")
    return "\n\n".join(parts)


def on_page_markdown(markdown, page, config, files):
    sources = {page: source for source, page in ELSEWHERE.items() if page != "index.md"}
    here = page.file.src_uri
    folder = posixpath.dirname(sources.get(here, f"docs/{here}"))

    def in_site(match):
        picture, text, target, anchor = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        found = (ELSEWHERE | NOTEBOOKS).get(path) or path.removeprefix("docs/")
        if found != path:
            place = posixpath.relpath(found, posixpath.dirname(here) or ".")
            return f"{picture}[{text}]({place}{anchor or ''})"
        return text if (ROOT / path).exists() else match[0]

    return LINK.sub(in_site, markdown)
