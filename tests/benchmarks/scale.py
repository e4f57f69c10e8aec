"""Measures what docs/scale-out.md reckons with: points a second, bytes a point, requests a chunk.

python tests/benchmarks/scale.py [--points 1000000]
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import boto3
import many_runs
import s3_server
import stores

import trackbridge
from trackbridge import plan

REQUEST = re.compile(r'"(GET|PUT|POST|HEAD|DELETE) (\S*)')


def rate(points: int, work: Path) -> None:
    """An MLflow database into an archive, by one worker."""
    source = work / "points.db"
    stores.mlflow_database(source, runs=20, points=points // 20)
    begun = time.perf_counter()
    report = trackbridge.migrate(f"mlflow:{source}", f"archive:{work}/out")
    spent = time.perf_counter() - begun
    size = sum(path.stat().st_size for path in (work / "out/data/metrics").iterdir())
    print(f"{report.points / spent:,.0f} points/s by one worker of {os.cpu_count()} cores")
    print(f"{size / report.points:.1f} bytes a point in the archive")


def requests(work: Path) -> None:
    """Small runs into an archive on S3: requests for a chunk."""
    source = many_runs.store(work / "small", 60)
    (work / "s3").mkdir()
    with s3_server.server(work / "s3") as address:
        os.environ |= {
            "AWS_ENDPOINT_URL": address,
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "TRACKBRIDGE_STATE": "s3://records/state",
        }
        boto3.resource("s3").create_bucket(Bucket="records")
        found = []
        for runs in (5, 10):  # 12 chunks, 6 chunks, with the same files
            plan.CHUNK_RUNS = runs
            log = work / "s3/s3.log"
            before = len(log.read_text())
            trackbridge.migrate(str(source), f"archive:s3://records/out{runs}")
            found.append(_kinds(log.read_text()[before:]))
    for kind in ("PUT", "LIST", "GET", "HEAD", "DELETE"):
        by_chunk = (found[0][kind] - found[1][kind]) / 6
        print(
            f"{kind:6} {found[0][kind]:5} for 12 chunks, {found[1][kind]:5} for 6: "
            f"{by_chunk:.1f} a chunk, {(found[1][kind] - 6 * by_chunk) / 60:.1f} a run"
        )


def _kinds(log: str) -> Counter[str]:
    found: Counter[str] = Counter()
    for method, path in REQUEST.findall(log):
        listing = method == "GET" and "list-type" in path
        found["LIST" if listing else "PUT" if method == "POST" else method] += 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--points", type=int, default=1_000_000)
    points = parser.parse_args().points
    with tempfile.TemporaryDirectory() as work:
        os.environ["TRACKBRIDGE_STATE"] = f"{work}/state"
        rate(points, Path(work))
        requests(Path(work))


if __name__ == "__main__":
    main()
