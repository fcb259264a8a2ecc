"""``diffpir fid``: how far the restored images of whole jobs are from others, as sets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa

from diffpir.perceptual.distances import FeatureStatistics, frechet_distance, kernel_distance
from jobs.results import each_part
from manifests import storage
from manifests.errors import StorageError
from manifests.secrets import shown
from pipeline.errors import PipelineError
from pipeline.output.run_folder import RunFolder
from pipeline.schema import FEATURES

KEPT = 20_000  # features of each set that the kernel distance draws from; of more, so many


class FeatureSet:
    """Statistics of all features that were added, and a random choice of ``KEPT`` of them."""

    def __init__(self, seed: int):
        self.statistics: FeatureStatistics | None = None
        self.kept: list[np.ndarray] = []
        self.rng = np.random.default_rng(seed)

    def add(self, features: np.ndarray) -> None:
        """Features (N, D) of some more images."""
        before = self.statistics.count if self.statistics else 0
        new = FeatureStatistics.of(features)
        self.statistics = self.statistics + new if self.statistics else new
        for seen, row in enumerate(features, before):  # reservoir sampling
            if seen < KEPT:
                self.kept.append(row)
            elif (place := self.rng.integers(seen + 1)) < KEPT:
                self.kept[place] = row


def distances(outputs: list[str], against: str | None = None) -> tuple[list[dict], list[str]]:
    """FID and KID of the restored images of some outputs together, and what to know of them.

    Args:
        outputs: folders or URIs of jobs that named a network for features, all of them the same.
        against: ``.npz`` with the ``mu`` and ``sigma`` of another set's features, as pytorch-fid
            writes them (no KID then); None: the jobs' own references.

    Raises:
        PipelineError: no features there, of different networks, or fewer than two images.
        StorageError: something cannot be read.
    """
    network = _network_of(outputs[0])
    for output in outputs[1:]:
        if _network_of(output) != network:
            raise PipelineError(
                f"{shown(outputs[0])} and {shown(output)} have features of different networks"
            )
    restored, references = FeatureSet(0), FeatureSet(1)
    for output in outputs:
        for table in each_part(output, FEATURES):
            for name, found in zip(FEATURES, (restored, references), strict=True):
                for array in _arrays(table[name]):
                    found.add(array)
    mine = _enough(restored, "restored images")
    counts = {"restored": mine.count}
    if against is None:
        theirs = _enough(references, "references")
        other = theirs.mean, theirs.covariance
        counts["references"] = theirs.count
    else:
        other = _statistics_of(against, len(mine.total))
    records = [
        {"metric": "fid", "value": frechet_distance(mine.mean, mine.covariance, *other)} | counts
    ]
    if against is None:
        value, deviation = kernel_distance(np.array(restored.kept), np.array(references.kept))
        records.append({"metric": "kid", "value": value, "std": deviation} | counts)
    least, features = min(counts.values()), len(mine.total)
    notes = []
    if least <= features:
        notes.append(
            f"{least} images are too few for the FID of {features} features: it comes out too "
            "high, and compares only with that of as many images"
        )
    return records, notes


def _network_of(output: str) -> str:
    """Digest, or name, of the network whose features an output holds."""
    digests = RunFolder.open(output).record.identity.get("perceptual", {})
    for key in ("inception", "features"):
        if key in digests:
            return digests[key]
    raise PipelineError(
        f"{shown(output)} holds no features: its job must name a network for them, as in "
        "perceptual: {inception: weights-inception-2015-12-05-6726825d.pth}"
    )


def _arrays(column: pa.ChunkedArray) -> Iterator[np.ndarray]:
    """(N, D) of each chunk's rows that have features."""
    for chunk in column.chunks:
        rows = chunk.drop_null()
        if len(rows):
            yield rows.flatten().to_numpy().reshape(len(rows), -1)


def _enough(found: FeatureSet, what: str) -> FeatureStatistics:
    statistics = found.statistics
    if statistics is None or statistics.count < 2:
        count = statistics.count if statistics else 0
        hint = "; give others' statistics by --against" if what == "references" else ""
        raise PipelineError(f"{count} {what} with features: a distance of sets needs two{hint}")
    return statistics


def _statistics_of(uri: str, features: int) -> tuple[np.ndarray, np.ndarray]:
    try:
        path: Path = storage.cached_local(storage.absolute(uri))
        with np.load(path) as archive:
            mean, covariance = (np.asarray(archive[key], np.float64) for key in ("mu", "sigma"))
    except StorageError:
        raise
    except Exception as e:  # np.load raises whatever its parsers met
        raise PipelineError(
            f"{shown(uri)}: expected .npz with arrays mu and sigma ({type(e).__name__}: {e})"
        ) from None
    if mean.shape != (features,) or covariance.shape != (features, features):
        raise PipelineError(
            f"{shown(uri)}: mu {mean.shape} and sigma {covariance.shape} are not of {features} "
            "features"
        )
    return mean, covariance
