"""Kills the processes of runs on Ray at moments drawn from a seed, and checks that no image is lost or doubled.

python tools/benchmarks/kill_campaign.py OUT [--kills 100] [--seed 0] [--minutes 20]

A cluster of two nodes on loopback runs one worker on each. A run over drawn images has a worker, the second node (its
raylet) or the driver killed, again and again; the next driver goes on, and when a run has ended, the next begins. After
every kill the results that were there must be there unchanged, and in the end every run must have the results of an
undisturbed one to the byte, every image once. The predictor is that of the tests, which has no network.
"""

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from support.ray_cluster import PYTHONPATH, end, environment, free_port, start  # noqa: E402
from support.scale import draw_images, run_all  # noqa: E402

HEAD, SECOND = "127.0.0.2", "127.0.0.3"  # Ray lets nobody join a cluster at 127.0.0.1
IMAGES, SHARD = 400, 4
KINDS = {"worker": 6, "driver": 2, "node": 2}  # how often each is drawn
DRIVER = """
import sys
from functools import partial
from support.scale import open_brightness, run_all
from visionkit.scale.ray import Cluster, run_on_ray
photos, out, pids, address, shard = sys.argv[1:]
opener = partial(open_brightness, pids, 0.05)
engine = lambda work, names: run_on_ray(opener, "keras", work, names, Cluster(address=address, workers=2))
run_all(photos, out, engine, shard=int(shard))
"""


class Campaign:
    """The cluster, the run that is under way, and what was killed.

    Args:
        folder: an empty one.
        address: of the cluster.
        seed: of the moments and kinds of the kills.
    """

    def __init__(self, folder: Path, address: str, seed: int):
        self.folder, self.address, self.rng = folder, address, random.Random(seed)
        self.photos, self.pids = folder / "photos", folder / "pids"
        draw_images(self.photos, IMAGES)
        self.pids.mkdir()
        run_all(self.photos, folder / "undisturbed", shard=SHARD)
        self.expected = self.results(folder / "undisturbed")
        self.killed: Counter[str] = Counter()
        self.runs, self.out, self.done = 0, folder, {}
        self.node = self.start_node()
        self.driver = self.next_run()

    def start_node(self) -> subprocess.Popen:
        return start("--address", self.address, host=SECOND, cpus=1)

    def next_run(self) -> subprocess.Popen:
        self.runs += 1
        self.out, self.done = self.folder / f"run-{self.runs}", {}
        return self.start_driver()

    def start_driver(self) -> subprocess.Popen:
        for file in self.pids.iterdir():
            file.unlink()
        words = [sys.executable, "-c", DRIVER, *map(str, (self.photos, self.out, self.pids, self.address, SHARD))]
        return subprocess.Popen(words, env={**os.environ, "PYTHONPATH": PYTHONPATH})

    def kill_one(self) -> None:
        """Waits for a moment, kills something, and looks at what is there."""
        time.sleep(self.rng.uniform(0, 2))
        kind = self.rng.choices(list(KINDS), list(KINDS.values()))[0]
        if self.driver.poll() is not None:
            self.check_ended()
            self.driver = self.next_run()
        elif kind == "driver":
            self.driver.kill()
            self.driver.wait()
            self.killed[kind] += 1
            self.driver = self.start_driver()
        elif kind == "node":
            raylets = [p for p in psutil.Process(self.node.pid).children(recursive=True) if p.name() == "raylet"]
            raylets[0].kill()
            self.killed[kind] += 1
            end(self.node)
            self.node = self.start_node()
        elif workers := [int(file.name) for file in self.pids.iterdir() if psutil.pid_exists(int(file.name))]:
            psutil.Process(self.rng.choice(sorted(workers))).kill()
            self.killed[kind] += 1
        self.check_untouched()

    def check_untouched(self) -> None:
        now = {file.name: (file.stat().st_mtime_ns, file.stat().st_ino) for file in result_files(self.out)}
        touched = self.done.items() - now.items()
        assert not touched, f"{self.out}: touched again: {sorted(touched)}"
        self.done = now

    def check_ended(self) -> None:
        """Checks the results of a run that has ended."""
        from pyarrow import parquet

        assert self.driver.wait() == 0, f"the driver ended with {self.driver.returncode}"
        self.check_untouched()
        assert self.results(self.out) == self.expected, f"{self.out}: other results than undisturbed"
        uris = Counter(parquet.read_table(self.out / "results", columns=["uri"])["uri"].to_pylist())
        assert len(uris) == IMAGES and set(uris.values()) == {1}, "images are missing, or twice there"

    @staticmethod
    def results(out: Path) -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in result_files(out)}


def result_files(out: Path) -> list[Path]:
    """Without the hidden ones that a process leaves when it is killed while it writes."""
    folder = out / "results"
    return [file for file in folder.iterdir() if not file.name.startswith(".")] if folder.is_dir() else []


def main() -> None:
    parser = argparse.ArgumentParser(description="Kills the processes of runs on Ray, and checks the results.")
    parser.add_argument("out", type=Path, help="a new folder")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--minutes", type=float, default=20, help="end after so many, with however many kills")
    options = parser.parse_args()
    options.out.mkdir(parents=True)
    os.environ.update(environment() | {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1"})
    address = f"{HEAD}:{free_port()}"
    sockets = options.out / "ray"
    began = time.monotonic()
    head = start("--head", "--port", address.rpartition(":")[2], "--temp-dir", str(sockets), host=HEAD, cpus=1)
    campaign = None
    try:
        campaign = Campaign(options.out, address, options.seed)
        while campaign.killed.total() < options.kills and time.monotonic() < began + 60 * options.minutes:
            campaign.kill_one()
        campaign.check_ended()
    finally:
        if campaign:
            seconds = round(time.monotonic() - began)
            print(
                json.dumps(
                    {"killed": campaign.killed, "runs": campaign.runs, "images_a_run": IMAGES, "seconds": seconds}
                )
            )
            campaign.driver.kill()
            end(campaign.node)
        end(head)
        shutil.rmtree(sockets, ignore_errors=True)


if __name__ == "__main__":
    main()
