"""The documentation: links lead somewhere, and what users can write is on a page."""

import doctest
import pydoc
import re
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import diffpir
import pipeline
from diffpir.config import SamplerConfig
from diffpir.rivals import RIVALS
from pipeline.errors import ERROR_KINDS
from pipeline.spec.job import JobSpec
from pipeline.tasks import TASKS

ROOT = Path(__file__).parents[1]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += [ROOT / "benchmarks/README.md", ROOT / "diffpir/weights/MODEL_CARD.md", *DOCS]
LINK = re.compile(r"\]\((?!https?:|mailto:)([^)\s]*)\)")
PATH = re.compile(r"(?:diffpir|pipeline|manifests|jobs|tests|benchmarks|scripts|docs)/[\w./-]*\w")


def anchors(page):
    """What Markdown's usual rule makes of the page's headings, and those that it names itself."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for heading in re.findall(r"^#+ (.*)$", text, re.MULTILINE):
        named = re.search(r"\{ #(\S+) \}$", heading)
        plain = re.sub(r"[^\w\s-]", "", heading.lower()).strip()
        yield named[1] if named else re.sub(r"[-\s]+", "-", plain)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files_and_headings(page):
    for link in LINK.findall(page.read_text()):
        target, _, anchor = unquote(link).partition("#")
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), link
        assert not anchor or anchor in set(anchors(file)), link


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150


def test_pages_tell_of_all_that_a_job_may_say():
    text = "".join(page.read_text() for page in DOCS)
    names = set(JobSpec.model_fields) | set(SamplerConfig.__dataclass_fields__)
    names |= {*TASKS, *RIVALS, "diffpir-spectral"}
    names |= set(ERROR_KINDS)
    names |= {name for task in TASKS.values() for name in task.model_fields}
    missing = {name for name in names if not re.search(rf"\b{name}\b", text)}
    assert not missing


def test_files_that_contributors_are_sent_to_exist():
    named = PATH.findall((ROOT / "CONTRIBUTING.md").read_text())
    paths = {path for path in named if not re.search("NAME|FAMILY", path)}
    assert len(paths) > 20
    assert not [path for path in paths if not (ROOT / path).exists()]


def test_commits_are_checked_as_ci_checks():
    """The hooks before a commit are the commands of .ci/run for style and types."""
    (repo,) = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
    hooks = [hook["entry"].removeprefix(".venv/bin/") for hook in repo["hooks"]]
    ci = (ROOT / ".ci/run").read_text().replace('"$DIFFPIR_VENV/bin/', "").replace('"', "")
    lines = ci.splitlines()
    assert [line for line in lines if re.match("ruff|mypy", line)] == hooks


EXPORTED = [(diffpir, name) for name in diffpir.__all__ if name != "PRESETS"]  # a dictionary
EXPORTED += [(pipeline, name) for name in pipeline.__all__]


@pytest.mark.parametrize(
    "package, name", EXPORTED, ids=lambda given: getattr(given, "__name__", given)
)
def test_what_is_exported_has_an_example_that_runs(package, name):
    thing = getattr(package, name)
    text = pydoc.getdoc(thing)
    first = text.splitlines()[0]
    assert first[0].isupper() and first.endswith(".")
    (tests,) = doctest.DocTestFinder(recurse=False).find(thing, name)
    assert tests.examples
    assert doctest.DocTestRunner().run(tests).failed == 0


PYTHON = [ROOT / "README.md", ROOT / "docs/python.md"]


@pytest.mark.parametrize("page", PYTHON, ids=lambda page: page.name)
def test_python_on_the_pages_runs(page):
    blocks = re.findall(r"^```python\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    assert blocks
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})


def test_help_lists_what_is_exported():
    shown = pydoc.plain(pydoc.render_doc(diffpir))
    assert all(re.search(rf"\b{name}\b", shown) for name in diffpir.__all__)
    about = shown.partition("PACKAGE CONTENTS")[0]
    assert all(re.search(rf"\b{name}\b", about) for name in diffpir.__all__)
