#!/usr/bin/env python3
"""scripts/storm: kills and stops random processes at random moments while a client works.

A client (fault_client storm) works with its own private daemon and checks every result. Meanwhile a worker, now and
then the daemon, tarn-spawn or the client itself, is killed, or stopped and a moment later continued or killed. The
client opens a new session when its daemon is gone. After each session nothing may be left.
With --only store it is several clients, one daemon, and objects rather than tasks: store_storm.py.
"""

import argparse
import os
import random
import re
import signal
import sys
import time
from pathlib import Path

import harness
from harness import Run, note
from store_storm import KILLS_A_HOST_MAX, StoreStorm

ROLES = {"worker": 88, "tarnd": 4, "spawn": 4, "client": 4}
PAUSE_SECONDS = (0.005, 0.035)
STOP_SECONDS_MAX = 0.25
KILLS_A_CLIENT_MAX = 80
# tarnd calls a session broken when five workers in a row die before they serve. That is right, and not a subject here.
YOUNG_SECONDS = 0.15
YOUNG_KILLS_MAX = 2
RESULT = re.compile(r"tasks=(\d+) hung=(\d+) lost=(\d+) doubled=(\d+) leaked=(\d+)")


class Storm:
    def __init__(self, client: Path, seed: int, only: str, verbose: bool) -> None:
        self.client = client
        self.random = random.Random(seed)
        self.only = only
        self.verbose = verbose
        self.kills = self.tasks = self.sessions = self.clients = 0
        self.count = {"hung": 0, "lost": 0, "doubled": 0, "leaked": 0}
        self.due: list[tuple[float, int, int, int]] = []  # when, pid, its start time, signal
        self.gone_seconds_max = 0.0

    def bad(self) -> bool:
        return any(self.count.values())

    # ---- One client ----

    def run_client(self, kills: int, folder: Path) -> None:
        """Works on one client until it has been killed, or has seen `kills` kills and ended in order."""
        self.clients += 1
        self.run = Run(self.client, ["storm", str(self.random.getrandbits(32)), self.only], {}, folder)
        self.due.clear()
        self.doomed: set[int] = set()  # what must be gone before the next session counts
        self.seen: dict[tuple[int, int], float] = {}
        self.young_kills = 0
        self.result = ""
        self.client_tasks = 0
        self.opened = self.was_open = self.client_killed = self.spawn_was_killed = False
        before = sum(self.count.values())
        left = kills
        while left > 0 and not self.run.closed:
            self.wait(self.random.uniform(*PAUSE_SECONDS))
            if self.opened and self.strike():
                left -= 1
        if not self.client_killed:
            assert self.run.process.stdin is not None
            self.run.process.stdin.close()
            self.await_end()
        self.settle_stopped()
        self.expect_gone(None)
        if self.run.shared_memory_left():
            self.fault("leaked", f"/dev/shm: {self.run.shared_memory_left()}")
        self.run.end()
        complaints = self.run.complaints()
        if found := RESULT.match(self.result):
            for name, number in zip(self.count, found.groups()[1:]):
                self.count[name] += int(number)
            if self.run.process.returncode != 0 and sum(map(int, found.groups()[1:])) == 0:
                self.fault("lost", f"the client ended {self.run.process.returncode}")
        elif not self.client_killed and before == sum(self.count.values()):
            self.fault("lost", f"the client ended {self.run.process.returncode} without a result")
        elif "fault:" in complaints:
            self.fault("lost", "the client complained before it was killed")
        if self.bad() or self.verbose:
            note(complaints.rstrip())

    def wait(self, seconds: float) -> None:
        """Lets time pass, hears what the client says, and continues or kills who was stopped."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for entry in [entry for entry in self.due if entry[0] <= now]:
                self.due.remove(entry)
                self.settle(*entry[1:])
            until = min([end] + [entry[0] for entry in self.due])
            for line in self.run.lines(max(0.0, min(until - now, 0.05))):
                self.hear(line)
            if time.monotonic() >= end:
                return

    def hear(self, line: str) -> None:
        if line.startswith("open"):
            self.sessions += 1
            self.opened = True
            self.spawn_was_killed = False
        elif line.startswith(("gone", "closed")):
            self.was_open, self.opened = self.opened, False
            self.tasks += int(line.split()[1]) - self.client_tasks
            self.client_tasks = int(line.split()[1])
            if line.startswith("gone") and self.was_open and not self.spawn_was_killed:
                self.fault("lost", "a session ended, and its tarn-spawn had not been killed")
            if line.startswith("gone") and self.doomed:
                self.expect_gone(self.doomed)
                self.doomed = set()
        elif line.startswith("tasks="):
            self.result = line

    # ---- Kill and stop ----

    def strike(self) -> bool:
        """Kills or stops somebody. False if nobody is there for that."""
        roles = self.run.roles()
        now = time.monotonic()
        for pids in roles.values():
            for pid in pids:
                if (stat := harness.read_stat(pid)) is not None:
                    self.seen.setdefault((pid, stat[3]), now)
        role = self.random.choices(list(ROLES), list(ROLES.values()))[0]
        if not roles[role]:
            return False
        pid = self.random.choice(roles[role])
        stat = harness.read_stat(pid)
        if stat is None or any(entry[1] == pid for entry in self.due):
            return False
        stop = self.random.random() < 0.4
        if role == "worker" and not stop:
            is_young = now - self.seen.get((pid, stat[3]), now) < YOUNG_SECONDS
            if is_young and self.young_kills >= YOUNG_KILLS_MAX:
                return False
            self.young_kills = self.young_kills + 1 if is_young else 0
        if self.verbose:
            note(f"{now:.3f} {'stop' if stop else 'kill'} {role} {pid}")
        self.kills += 1
        if stop:
            later = now + self.random.uniform(0.001, STOP_SECONDS_MAX)
            end = signal.SIGCONT if self.random.random() < 0.6 or role == "worker" and self.young_kills > 0 else signal.SIGKILL
            harness.send(pid, signal.SIGSTOP)
            self.due.append((later, pid, stat[3], end))
        else:
            self.kill(role, pid)
        return True

    def kill(self, role: str, pid: int) -> None:
        if role == "spawn":
            # The whole session goes with it. The client may have noticed before, and be in another one already.
            self.doomed |= self.session_of(pid)
            self.spawn_was_killed = True
        harness.send(pid, signal.SIGKILL)
        if role == "client":
            self.client_killed = True
            self.run.process.wait()
            self.run.closed = True

    def session_of(self, pid: int) -> set[int]:
        everything = harness.descendants(os.getpid())
        top = pid
        while top in everything and everything[top][0] not in (os.getpid(), self.run.pid):
            top = everything[top][0]
        return {top, *harness.descendants(top)} & set(everything)

    def settle(self, pid: int, start: int, number: int) -> None:
        stat = harness.read_stat(pid)
        if stat is None or stat[3] != start:
            return
        if number == signal.SIGCONT:
            harness.send(pid, number)
            return
        role = {"tarnd": "tarnd", "tarn-spawn": "spawn"}.get(stat[1], "worker")
        self.kill("client" if pid == self.run.pid else role, pid)

    def settle_stopped(self) -> None:
        for _, pid, start, number in self.due:
            self.settle(pid, start, number)
        self.due.clear()

    # ---- What must hold ----

    def fault(self, name: str, text: str) -> None:
        self.count[name] += 1
        note(f"storm: {name}: client {self.clients}, after {self.kills} kills: {text}")

    def await_end(self) -> None:
        end = time.monotonic() + harness.LINE_SECONDS_MAX
        while not self.run.closed and time.monotonic() < end:
            self.wait(0.05)
        if not self.run.closed:
            self.fault("hung", "the client does not end\n" + self.run.explain() + "\n" + self.run.backtraces())
            self.client_killed = True
            self.run.end()

    def expect_gone(self, pids: set[int] | None) -> None:
        begin = time.monotonic()
        left = {}
        while True:
            left = self.run.wait_until_gone(pids, 0.02)
            if pids is None and not self.run.closed:
                left.pop(self.run.pid, None)
            if not left or time.monotonic() - begin > harness.GONE_SECONDS_MAX:
                break
            now = time.monotonic()
            for entry in [entry for entry in self.due if entry[0] <= now]:
                self.due.remove(entry)
                self.settle(*entry[1:])
        self.gone_seconds_max = max(self.gone_seconds_max, time.monotonic() - begin)
        if left:
            self.fault("leaked", f"still there: {left}\n{self.run.explain()}\n{self.run.backtraces()}")
            for pid in left:
                harness.send(pid, signal.SIGKILL)


def run_store(options: argparse.Namespace) -> int:
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    note(f"storm: {options.kills} kills, store, seed {seed}")
    harness.become_subreaper()
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))  # and tidy up: tarnd is nobody's private one here
    storm = StoreStorm(options.client, seed, options.verbose)
    begin = time.monotonic()
    while storm.kills < options.kills and (options.keep_going or not storm.bad()):
        with harness.temporary_folder() as folder:
            storm.run_host(min(KILLS_A_HOST_MAX, options.kills - storm.kills), Path(folder))
        note(f"storm: {storm.kills} kills, {storm.summary()}")
    note(f"storm: {time.monotonic() - begin:.1f} s; repeat with --only store --seed {seed}")
    print(f"kills={storm.kills} " + " ".join(f"{name}={number}" for name, number in storm.count.items()))
    return 1 if storm.bad() else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/storm", description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=200, help="how many kills and stops (default: 200)")
    parser.add_argument("--seed", type=int, help="repeats the choices of an earlier run (default: another each time)")
    parser.add_argument("--only", choices=["core", "store", "task", "actor"], default="core",
                        help="what the load is made of (default: core, all there is)")
    parser.add_argument("--keep-going", action="store_true", help="do not end with the first client that found a fault")
    parser.add_argument("--verbose", action="store_true", help="tell every kill")
    parser.add_argument("--client", type=Path, default=Path("build/gcc/tests/fault/fault_client"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.only == "store":
        return run_store(options)
    if options.only == "actor":
        print("storm: there are no actors yet; --only core, store or task", file=sys.stderr)
        return 2
    seed = options.seed if options.seed is not None else random.SystemRandom().getrandbits(32)
    note(f"storm: {options.kills} kills, seed {seed}")
    harness.become_subreaper()
    storm = Storm(options.client, seed, options.only, options.verbose)
    begin = time.monotonic()
    told = 0
    while storm.kills < options.kills:
        with harness.temporary_folder() as folder:
            storm.run_client(min(KILLS_A_CLIENT_MAX, options.kills - storm.kills), Path(folder))
        if storm.kills // 100 > told and not storm.bad():
            told = storm.kills // 100
            note(f"storm: {storm.kills} kills, {storm.sessions} sessions, {storm.tasks} tasks checked")
        if storm.bad() and not options.keep_going:
            break
    note(
        f"storm: {storm.sessions} sessions, {storm.tasks} tasks checked, {time.monotonic() - begin:.1f} s, "
        f"everything gone within {storm.gone_seconds_max:.2f} s; repeat with --seed {seed}"
    )
    print(f"kills={storm.kills} " + " ".join(f"{name}={number}" for name, number in storm.count.items()))
    return 1 if storm.bad() else 0


if __name__ == "__main__":
    sys.exit(main())
