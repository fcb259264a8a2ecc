"""The command line of chaos."""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

from tests.chaos.cluster import ChaosCluster
from tests.chaos.gateway import Gateway
from tests.chaos.killers import WEIGHTS
from tests.chaos.rounds import Chaos, Settings, Stuck
from tests.chaos.tally import Tally
from tests.chaos.workload import make_workload

SLACK = 0.8  # of the time goes into pauses between kills, the rest into the kills themselves


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--storage", choices=("local", "s3"), default="local")
    parser.add_argument("--seconds", type=float, default=1800, help="no more kills after these")
    parser.add_argument("--seed", type=int, default=0, help="of what is killed when")
    parser.add_argument("--pause", type=float, help="mean seconds between kills")
    parser.add_argument("--kinds", nargs="+", choices=WEIGHTS, help="of kills; default: all")
    parser.add_argument("--rows", type=int, default=120, help="of the manifest")
    parser.add_argument("--nfe", type=int, default=60, help="evaluations: how long a row takes")
    parser.add_argument("--patience", type=float, default=300, help="seconds without progress")
    parser.add_argument("--keep", type=Path, help="folder for outputs and logs; else removed")
    parser.add_argument("--report", type=Path, help="file for the tally, as JSON")
    given = parser.parse_args()
    if given.storage == "local" and "gateway" in (given.kinds or ()):
        parser.error("--kinds gateway goes with --storage s3")
    return given


def chaos(given: argparse.Namespace, folder: Path, tally: Tally) -> None:
    os.environ["DIFFPIR_CACHE"] = str(folder / "cache")
    os.environ["DIFFPIR_RETRY_SECONDS"] = "120"  # a gateway's death is to be outlived
    kinds = given.kinds or [kind for kind in WEIGHTS if kind != "gateway" or given.storage == "s3"]
    pause = given.pause or min(20.0, SLACK * given.seconds / max(given.kills, 1))
    settings = Settings(given.kills, tuple(kinds), given.seconds, pause, given.patience)
    with contextlib.ExitStack() as stack:
        # The server first: Ray's workers inherit the environment that names it.
        gateway = stack.enter_context(Gateway(folder / "s3")) if given.storage == "s3" else None
        root = gateway.root if gateway else str(folder / "data")
        cluster = stack.enter_context(ChaosCluster(folder / "ray" if given.keep else None))
        # A termination is to clean up as an interrupt does. Ray's nodes have set a handler too.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        workload = make_workload(root, folder, given.rows, given.nfe)
        Chaos(settings, workload, cluster, gateway, random.Random(given.seed), tally).run()


def main() -> int:
    given = parse()
    folder = given.keep or Path(tempfile.mkdtemp(prefix="diffpir-chaos-"))
    folder.mkdir(parents=True, exist_ok=True)
    folder = folder.resolve()
    tally, began = Tally(), time.monotonic()
    try:
        chaos(given, folder, tally)
    except Stuck as e:
        tally.fault(str(e))
    finally:
        tally.seconds = time.monotonic() - began
        print(*tally.lines(), sep="\n")
        if given.report:
            given.report.write_text(json.dumps(tally.record(), indent=1))
        if not given.keep:
            shutil.rmtree(folder, ignore_errors=True)
    return 0 if tally.is_good else 1


if __name__ == "__main__":
    sys.exit(main())
