"""The shape of the project: imports point one way, and the command line starts light."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import diffpir
import pipeline

ROOT = Path(__file__).parents[1]
MAY_IMPORT = {
    "diffpir": {"diffpir"},
    "manifests": {"manifests"},
    "pipeline": {"pipeline", "diffpir", "manifests"},
    "jobs": {"jobs", "pipeline", "diffpir", "manifests"},
}
NEVER = {"diffpir": {"ray"}, "manifests": {"ray", "torch"}}


def imported(file: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_imports_point_one_way(package):
    files = list((ROOT / package).rglob("*.py"))
    assert files
    for file in files:
        names = imported(file)
        wrong = names & MAY_IMPORT.keys() - MAY_IMPORT[package] | names & NEVER.get(package, set())
        assert not wrong, f"{file.relative_to(ROOT)} imports {wrong}"


@pytest.mark.parametrize(
    "statement, absent",
    [
        ("import diffpir.sampler, diffpir.training.trainer, diffpir.metrics", {"ray"}),
        ("import manifests.build, manifests.check, manifests.read", {"ray", "torch"}),
        ("import jobs.cli", {"ray", "torch", "pyarrow", "pydantic", "numpy"}),
        ("import diffpir", {"torch"}),
        ("import pipeline", {"ray", "torch", "numpy"}),
        ("from pipeline import restore_images", {"ray"}),
        # Processes that only read, encode and write, and commands that only ask.
        ("import pipeline.steps.load, pipeline.steps.encode", {"torch", "ray"}),
        ("import pipeline.flow.source, pipeline.flow.sink, pipeline.flow.ledger", {"torch"}),
        ("import jobs.submit, jobs.cluster, jobs.progress, jobs.verify, jobs.aggregate", {"torch"}),
        ("import pipeline.run", {"torchmetrics", "scipy"}),
    ],
)
def test_imports_bring_no_more_than_they_need(statement, absent):
    """What the files' own imports do not show: the chain of them, run for real."""
    code = f"{statement}; import sys; print(*(m for m in {absent!r} if m in sys.modules))"
    out = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert out.stdout.strip() == ""


def test_only_tasks_decide_on_kinds_of_tasks():
    decision = re.compile(r"\bkind\s*(==|!=|in\b|not in\b)|\.kind\]|match .*\.kind")
    ours = set(ROOT.glob("pipeline/**/*.py")) - set(ROOT.glob("pipeline/tasks/*.py"))
    ours |= {*ROOT.rglob("jobs/**/*.py"), *ROOT.glob("benchmarks/*.py")}
    found = [
        f"{file.relative_to(ROOT)}: {line.strip()}"
        for file in ours
        for line in file.read_text().splitlines()
        if decision.search(line) and "task" in line
    ]
    assert ours and not found


@pytest.mark.parametrize("package", [diffpir, pipeline], ids=lambda package: package.__name__)
def test_type_checkers_see_the_names_that_a_package_exports(package):
    tree = ast.parse(Path(package.__file__).read_text())
    seen = {
        alias.asname: node.module
        for block in tree.body
        if isinstance(block, ast.If)
        for node in block.body
        for alias in node.names
    }
    assert seen == package._HOME
    assert sorted(package.__all__) == dir(package) == sorted(seen)
