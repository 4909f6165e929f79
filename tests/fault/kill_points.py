#!/usr/bin/env python3
"""Kills or stops a process at its N-th operation on shared memory or its N-th message, for one N after the other.

Needs a build with -Dkill_points=true (scripts/build kill). A client runs a fixed amount of everything with two workers and
checks every result; memory is so small that objects go to the disk and come back. If a worker is struck, or tarnd once the
session is open, the client must end as if nothing had happened; if tarn-spawn is, it must end, too, with what it has or with
TARN_E_DAEMON_GONE; whoever is struck, nothing may be left in the end.
"""

import argparse
import os
import random
import signal
import sys
import time
from pathlib import Path

import harness
from harness import Run, note

ROLES = ("worker", "client", "tarnd", "spawn")
STOPPED_SECONDS_MAX = 0.06
MEMORY = 24 << 20  # of tarnd: less than the client and its workers hold, so objects leave it and come back
PAST_THE_END = 3  # runs in a row in which the point was not reached


class Driver:
    def __init__(self, client: Path, seed: int) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.runs = self.struck = 0

    def find_stopped(self, run: Run) -> int | None:
        for pid, stat in harness.descendants(os.getpid()).items():
            if stat[2] == "T":
                return pid
        return None

    def one(self, role: str, number: int, by: int, then: int | None) -> tuple[bool, str]:
        """Returns whether the point was reached, and what is wrong ('' if nothing is)."""
        self.runs += 1
        with harness.temporary_folder() as name:
            folder = Path(name)
            mark = folder / "struck"
            run = Run(self.client, ["once", str(self.random.getrandbits(32))],
                      {"TARN_KILL": f"{role}:{number}:{int(by)}:{mark}", "TARN_KILL_MEMORY": str(MEMORY)}, folder)
            assert run.process.stdin is not None
            run.process.stdin.close()
            wrong = self.watch(run, role, mark, by, then)
            left = run.end()
            complaints = run.complaints()
            if not wrong and left:
                wrong = f"still there after {harness.GONE_SECONDS_MAX:.0f} s: {left}"
            if not wrong and run.shared_memory_left():
                wrong = f"left in /dev/shm: {run.shared_memory_left()}"
            self.struck += mark.exists()
            return mark.exists(), f"{wrong}\n{complaints}" if wrong else ""

    def watch(self, run: Run, role: str, mark: Path, by: int, then: int | None) -> str:
        end = time.monotonic() + harness.LINE_SECONDS_MAX
        result = ""
        settle_at = 0.0
        opened = ended_early = False
        killed_client = role == "client" and by == signal.SIGKILL
        while not run.closed:
            for line in run.lines(0.005):
                if line.startswith("tasks="):
                    result = line
                opened = opened or line.startswith("open")
                ended_early = ended_early or opened and line.startswith("gone")
            if then is not None and mark.exists():
                if settle_at == 0.0:
                    settle_at = time.monotonic() + self.random.uniform(0.001, STOPPED_SECONDS_MAX)
                elif time.monotonic() > settle_at and (pid := self.find_stopped(run)) is not None:
                    harness.send(pid, then)
                    killed_client = role == "client" and then == signal.SIGKILL
                    then = None
            if time.monotonic() > end:
                return "hung\n" + run.explain() + "\n" + run.backtraces()
        # Standard output is the workers', too: closed, all are gone or going.
        while run.process.poll() is None and time.monotonic() < end:
            if then is not None and (pid := self.find_stopped(run)) is not None:
                harness.send(pid, then)
            time.sleep(0.002)
        if run.process.returncode is None:
            return "the client does not end\n" + run.explain() + "\n" + run.backtraces()
        gone_end = time.monotonic() + harness.GONE_SECONDS_MAX
        while run.wait_until_gone(None, 0.05) and time.monotonic() < gone_end:
            if then is not None and (pid := self.find_stopped(run)) is not None:
                harness.send(pid, then)
        if killed_client and mark.exists():
            return ""
        if ended_early and role in ("worker", "tarnd"):
            return "the session ended before its client closed it"
        if run.process.returncode != 0:
            return f"the client ended {run.process.returncode}: {result}"
        return ""

    def strike(self, role: str, number: int, stop: bool) -> tuple[bool, bool]:
        """Returns whether the point was reached and whether all was well."""
        by, then = signal.SIGKILL, None
        if stop:
            by, then = signal.SIGSTOP, self.random.choice([signal.SIGCONT, signal.SIGKILL])
        reached, wrong = self.one(role, number, by, then)
        if wrong:
            how = f"{by.name}{' then ' + then.name if then else ''}"
            note(f"kill_points: {role} at point {number}, {how}: {wrong}")
        return reached, not wrong


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--client", type=Path, default=Path("build/kill/tests/fault/fault_client"))
    parser.add_argument("--role", choices=ROLES, action="append", help="who is struck (default: each)")
    parser.add_argument("--runs", type=int, default=25, help="how many points of each role (default: 25), at random")
    parser.add_argument("--all", action="store_true", help="every point, killed and stopped")
    parser.add_argument("--at", type=int, help="this point alone, as often as --runs says")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().getrandbits(32))
    options = parser.parse_args()
    note(f"kill_points: seed {options.seed}")
    harness.become_subreaper()
    driver = Driver(options.client, options.seed)
    bad = 0
    for role in options.role or ROLES:
        begin, before = time.monotonic(), driver.struck
        if options.at is not None:
            for i in range(options.runs):
                bad += not driver.strike(role, options.at, i % 2 == 1)[1]
            continue
        if options.all:
            number, missed = 1, 0
            while missed < PAST_THE_END:
                for stop in (False, True):
                    reached, good = driver.strike(role, number, stop)
                    bad += not good
                missed = 0 if reached else missed + 1
                number += 1
            end = number - PAST_THE_END
        else:
            # Find out roughly how many there are, then take some of them.
            end = 8
            while driver.strike(role, end, False)[0]:
                end *= 2
            for i in range(options.runs):
                bad += not driver.strike(role, driver.random.randint(1, end), i % 2 == 1)[1]
        note(f"kill_points: {role}: struck {driver.struck - before} times at up to {end} points, "
             f"{time.monotonic() - begin:.1f} s")
    print(f"runs={driver.runs} struck={driver.struck} bad={bad}")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
