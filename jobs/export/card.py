"""``README.md`` of an export: a dataset card as Hugging Face shows it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import yaml

import diffpir
from jobs.aggregate import metrics_of
from jobs.export.source import Source
from jobs.tables import Style, render
from manifests.secrets import without_secrets
from manifests.uris import has_scheme

NAME = "README.md"
SHOWN = ("metric", "count", "mean", "std", "q05", "median", "q95")
# Of a job, what tells how pictures were restored.
JOB = ("mode", "task", "sampler", "samples", "estimate", "seed", "precision", "picture")
SIZES = {  # names that Hugging Face gives to numbers of rows
    10**3: "n<1K", 10**4: "1K<n<10K", 10**5: "10K<n<100K", 10**6: "100K<n<1M",
    10**7: "1M<n<10M", 10**8: "10M<n<100M",
}  # fmt: skip


def dataset_card(source: Source, data_files: str, rows: int, missing: int) -> bytes:
    """The text of the card.

    Args:
        source: of the rows.
        data_files: pattern of the files.
        rows: that were exported.
        missing: of them, rows without the measured picture that they should have.
    """
    record = source.folder.record
    front = {
        "license": "unknown",
        "task_categories": ["image-to-image"],
        "tags": ["image-restoration", "diffusion", "diffpir", record.spec["task"]["kind"]],
        "size_categories": [
            next((name for most, name in SIZES.items() if rows < most), "100M<n<1B")
        ],
        "configs": [
            {
                "config_name": "default",
                "data_files": [{"split": "train", "path": data_files}],
            }
        ],
    }
    return "\n\n".join(
        [
            f"---\n{yaml.safe_dump(front, sort_keys=False).strip()}\n---",
            "# Restored images",
            "Images restored with a diffusion model as the prior "
            "([DiffPIR](https://arxiv.org/abs/2305.08995)), by DiffPIR-on-Ray "
            f"{diffpir.__version__}. The licence is not known: set `license` above to that of the "
            "images.",
            "## How they were restored",
            f"```yaml\n{_settings(record.spec)}\n```",
            f"Prior: the checkpoint with the SHA-256 `{record.identity['model_digest']}`.",
            "## Rows",
            _rows(source, rows, missing),
            *_metrics(source),
            "## Columns",
            render([{"column": field.name, "type": str(field.type)} for field in source.schema],
                   Style.markdown),
        ]
    ).encode() + b"\n"  # fmt: skip


def _settings(spec: dict) -> str:
    told = {name: spec[name] for name in JOB if spec.get(name) is not None}
    told = _without_folders(without_secrets(_given(told)))
    return yaml.safe_dump(told, sort_keys=False, allow_unicode=True).strip()


def _given(value: Any) -> Any:
    """Without what was left to its default by null."""
    if isinstance(value, Mapping):
        return {key: _given(inner) for key, inner in value.items() if inner is not None}
    return value


def _without_folders(value: Any) -> Any:
    """Local paths without the folders that they lie in: these tell of whoever ran the job."""
    if isinstance(value, dict):
        return {key: _without_folders(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_without_folders(inner) for inner in value]
    local = isinstance(value, str) and (not has_scheme(value) or value.startswith("file:"))
    return os.path.basename(value) if local else value


def _rows(source: Source, rows: int, missing: int) -> str:
    tally = source.tally
    lines = [f"- {tally.rows - tally.failed} images were restored."]
    if tally.failed:
        kinds = ", ".join(f"{count} {kind}" for kind, count in tally.failures.items())
        kept = "are left out" if source.settings.drops_failed else "have no restored image"
        lines.append(f"- {tally.failed} images could not be restored ({kinds}): their rows {kept}.")
    if missing:
        lines.append(f"- {missing} measured images were gone when this was written.")
    return "\n".join([*lines, f"- {rows} rows are in this dataset, in the order of the job."])


def _metrics(source: Source) -> list[str]:
    records = metrics_of(source.folder.layout.output, None)
    shown = [{name: record[name] for name in SHOWN} for record in records if "metric" in record]
    if not shown:
        return []
    return ["## Metrics", "Of the restored images.", render(shown, Style.markdown)]
