"""Peers with a Python interface: peers.py pool|futures|ray|dask sync|async|start [--ms N].

sync: one call at a time, 8 bytes each way; async: 256 in flight, results read; start: from nothing to the first
result, two workers, without the start of Python itself. Prints one figure as bench/measure.h describes.
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections import deque

FLIGHT = 256
WORKERS = 2


def add_one(number: int) -> int:
    return number + 1


class Pool:
    def __init__(self):
        import multiprocessing

        self.pool = multiprocessing.Pool(WORKERS)
        self.submit = lambda number: self.pool.apply_async(add_one, (number,))
        self.result = lambda handle: handle.get()
        self.close = self.pool.terminate


class Futures:
    def __init__(self):
        import concurrent.futures

        self.pool = concurrent.futures.ProcessPoolExecutor(WORKERS)
        self.submit = lambda number: self.pool.submit(add_one, number)
        self.result = lambda handle: handle.result()
        self.close = self.pool.shutdown


class Ray:
    def __init__(self):
        import ray

        ray.init(num_cpus=WORKERS, include_dashboard=False, log_to_driver=False, logging_level="error")
        remote = ray.remote(add_one)
        self.submit = remote.remote
        self.result = ray.get
        self.close = ray.shutdown


class Dask:
    def __init__(self):
        import distributed

        self.cluster = distributed.LocalCluster(n_workers=WORKERS, threads_per_worker=1, dashboard_address=None)
        self.client = distributed.Client(self.cluster)
        self.submit = lambda number: self.client.submit(add_one, number, pure=False)
        self.result = lambda handle: handle.result()

    def close(self):
        self.client.close()
        self.cluster.close()


def batches(seconds: float, operations: int, run) -> float:
    """Returns the median of the seconds that each operation of run() took."""
    times = []
    deadline = time.perf_counter() + seconds
    while len(times) < 3 or time.perf_counter() < deadline:
        start = time.perf_counter()
        run()
        times.append((time.perf_counter() - start) / operations)
    return statistics.median(times)


def measure_async(peer, seconds: float) -> float:
    pending = deque(peer.submit(i) for i in range(FLIGHT))

    def run() -> None:
        for i in range(FLIGHT):
            peer.result(pending.popleft())
            pending.append(peer.submit(i))

    value = 1 / batches(seconds, FLIGHT, run)
    for handle in pending:
        peer.result(handle)
    return value


def main() -> int:
    kinds = {"pool": Pool, "futures": Futures, "ray": Ray, "dask": Dask}
    if len(sys.argv) < 3 or sys.argv[1] not in kinds or sys.argv[2] not in ("sync", "async", "start"):
        print(__doc__, file=sys.stderr)
        return 2
    kind, what = kinds[sys.argv[1]], sys.argv[2]
    seconds = int(sys.argv[4]) / 1000 if sys.argv[3:4] == ["--ms"] else 0.3
    start = time.perf_counter()
    peer = kind()
    try:
        peer.result(peer.submit(1))
        value, unit = (time.perf_counter() - start) * 1e9, "ns"
        if what == "sync":
            value = batches(seconds, 20, lambda: [peer.result(peer.submit(i)) for i in range(20)]) * 1e9
        elif what == "async":
            value, unit = measure_async(peer, seconds), "1/s"
    finally:
        peer.close()
    note = f"Python, {WORKERS} worker processes"
    print(json.dumps({"measure": what, "value": value, "unit": unit, "note": note}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
