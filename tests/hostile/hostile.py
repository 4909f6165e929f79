#!/usr/bin/env python3
"""A hostile user against a shared host: hostile.py TARND TARN_SPAWN TARN LIBTARN HOSTILE VICTIM. Prints TAP.

What could go wrong: what one user sends, keeps or writes is felt by another: a result of his is wrong, his session cannot
work, he cannot open a new one; or tarnd ends, or keeps something for somebody who has left. tarnd runs as root, or with
--service as the user of a service, as the systemd units have it. A victim, another user, works all the time, and root asks
tarnd for its lists. Each case of the hostile program is a process of a third user. A line says of each that it was refused,
or harmless; both only if the victim's results were right meanwhile and tarnd is back at what it held before. The cases that
are about rights run as root, too, who has them: there they must fail, or they would not notice anything. Times are told and
judged by nobody.
"""

import argparse
import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

SERVICE_UID, VICTIM_UID, HOSTILE_UID = 54_320, 54_321, 54_322
PATIENCE_SECONDS = 10.0
GONE_SECONDS = 8.0
DESCRIPTORS = 3000  # that tarnd may have: few, so that they can be exhausted
CONFIG = """
[daemon]
socket = "{folder}/run/tarnd.sock"
spawn_socket = "{folder}/spawn.sock"
log_level = "error"
[memory]
limit = "1GiB"
per_tenant = "400MiB"
"""
PR_SET_CHILD_SUBREAPER = 36
QUERIES = ("status", "objects", "memory", "tasks", "workers")


class Wrong(Exception):
    """Something that must not be."""


def eventually(condition, seconds: float = PATIENCE_SECONDS) -> bool:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.01)
    return True


def state_of(pid: int) -> str:
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return "X"
    return text[text.rindex(")") + 2]


def processes_of(uid: int) -> list[int]:
    found = []
    for name in os.listdir("/proc"):
        with contextlib.suppress(OSError):
            if name.isdigit() and os.stat(f"/proc/{name}").st_uid == uid and state_of(int(name)) not in "ZX":
                found.append(int(name))
    return found


def descriptors_of(pid: int) -> dict[str, int]:
    """How many descriptors of each kind a process has."""
    kinds: dict[str, int] = {}
    for entry in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(OSError):
            kind = os.readlink(f"/proc/{pid}/fd/{entry}").split(":[")[0]
            kinds[kind] = kinds.get(kind, 0) + 1
    return kinds


class Host:
    """tarnd and tarn-spawn of root in a folder that all may enter, with copies of the programs."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-hostile-"))
        self.folder.chmod(0o755)
        self.scratch = self.folder / "scratch"
        self.scratch.mkdir(0o700)
        os.chown(self.scratch, HOSTILE_UID, HOSTILE_UID)
        self.programs = {}
        for name in ("tarnd", "spawn", "tarn", "libtarn", "hostile", "victim"):
            source = Path(getattr(options, name))
            self.programs[name] = self.folder / ("libtarn.so.0" if name == "libtarn" else source.name)
            shutil.copy(source, self.programs[name])
            self.programs[name].chmod(0o755)
        self.uid = SERVICE_UID if options.service else 0
        (self.folder / "run").mkdir(0o755)
        os.chown(self.folder / "run", self.uid, self.uid)
        self.socket, self.spawn_socket = self.folder / "run/tarnd.sock", self.folder / "spawn.sock"
        self.address = f"unix:{self.socket}"
        (self.folder / "tarnd.toml").write_text(CONFIG.format(folder=self.folder))
        self.log = (self.folder / "log").open("w+")
        self.environment = {"PATH": os.environ.get("PATH", ""), "TARN_ADDRESS": self.address,
                            "LD_LIBRARY_PATH": str(self.folder)}
        self.spawn = self.start("spawn", 0, ["--service", "--listen", self.spawn_socket, "--allow", self.uid])
        if not eventually(self.spawn_socket.exists):
            raise Wrong(f"tarn-spawn does not listen: {self.log_text()}")
        # Not by prlimit in the child: tarnd raises what it has to what it may have.
        self.tarnd = self.start("tarnd", self.uid, ["--config", self.folder / "tarnd.toml"], DESCRIPTORS)
        if not eventually(self.socket.exists):
            raise Wrong(f"tarnd does not listen: {self.log_text()}")

    def start(self, name: str, uid: int, arguments: list, descriptors: int = 0) -> subprocess.Popen:
        command = [self.programs[name], *map(str, arguments)]
        if descriptors:
            command = ["sh", "-c", f'ulimit -n {descriptors} && exec "$0" "$@"', *command]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=self.log, env=self.environment, cwd="/",
                                user=uid, group=uid, extra_groups=[])

    def start_as(self, uid: int, name: str, *arguments: object) -> subprocess.Popen:
        return subprocess.Popen(
            [self.programs[name], *map(str, arguments)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
            env=self.environment, cwd="/", text=True, user=uid, group=uid, extra_groups=[])

    def ask(self, verb: str) -> dict:
        done = subprocess.run([self.programs["tarn"], "--address", self.address, verb, "--json"], capture_output=True,
                              text=True, timeout=PATIENCE_SECONDS, env=self.environment, check=False)
        if done.returncode != 0:
            raise Wrong(f"`tarn {verb}` ended {done.returncode}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def log_text(self) -> str:
        return (self.folder / "log").read_text(errors="replace")

    def close(self) -> None:
        for process in (self.tarnd, self.spawn):
            process.terminate()
        for process in (self.tarnd, self.spawn):
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
            process.kill()
            process.wait()
        for uid in (VICTIM_UID, HOSTILE_UID):
            for pid in processes_of(uid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        self.log.close()
        shutil.rmtree(self.folder)


class Asker(threading.Thread):
    """Root, who asks tarnd for everything all the time."""

    def __init__(self, host: Host) -> None:
        super().__init__(daemon=True)
        self.host, self.stopped, self.answers, self.slowest = host, threading.Event(), 0, 0.0
        self.faults: list[str] = []

    def run(self) -> None:
        while not self.stopped.is_set():
            for verb in QUERIES:
                begin = time.monotonic()
                try:
                    self.host.ask(verb)
                    self.answers += 1
                except (Wrong, subprocess.TimeoutExpired, json.JSONDecodeError) as error:
                    self.faults.append(f"{verb}: {error}")
                self.slowest = max(self.slowest, time.monotonic() - begin)
            self.stopped.wait(0.02)


class Victim:
    def __init__(self, host: Host) -> None:
        self.process = host.start_as(VICTIM_UID, "victim", "work")
        self.wrong = self.rounds = 0
        self.usual = 0.0

    def mark(self) -> tuple[int, float, float, float]:
        """Rounds since the last mark, and their median, 99th percentile and maximum in microseconds."""
        try:
            self.process.stdin.write("mark\n")
            self.process.stdin.flush()
        except OSError as error:
            raise Wrong("the victim has ended") from error
        # A round of its own may last for as long as the library waits.
        if not select.select([self.process.stdout], [], [], 25.0)[0]:
            raise Wrong("the victim hangs")
        line = self.process.stdout.readline().split()
        if len(line) != 5:
            raise Wrong(f"the victim ended: {self.process.poll()}")
        rounds, wrong = int(line[0]), int(line[1])
        if wrong > self.wrong:
            self.wrong = wrong
            raise Wrong(f"{wrong} results of the victim were wrong")
        self.rounds += rounds
        return rounds, float(line[2]), float(line[3]), float(line[4])


class Suite:
    def __init__(self, host: Host) -> None:
        self.host = host
        self.victim = Victim(host)
        self.asker = Asker(host)
        self.worst_ratio, self.worst_newcomer, self.slowest_return = 0.0, 0.0, 0.0

    def settle(self) -> None:
        """The victim at work, and what tarnd holds then."""
        if not eventually(lambda: self.victim.mark()[0] > 0 and len(self.workers()) == 2):
            raise Wrong("the victim does not begin")
        # It makes and keeps slabs at first; then it has what it needs.
        for _ in range(10):
            before = self.charged()
            time.sleep(0.4)
            if before == self.charged():
                break
        _, self.victim.usual, _, _ = self.victim.mark()
        self.victim_workers = self.workers()
        self.base = self.charged()
        self.base_descriptors = descriptors_of(self.host.tarnd.pid)

    def workers(self) -> list[int]:
        return [row["pid"] for row in self.host.ask("workers")["workers"]
                if row["uid"] == VICTIM_UID and row["state"] == "serving"]

    def charged(self) -> tuple[int, int, int]:
        """What all have; what is not in the rows of the victim, which is its board; and rows of others."""
        answer = self.host.ask("memory")
        rows = [row for row in answer["memory"] if row["tenant"] == VICTIM_UID]
        of_victim = sum(row["size"] + row["records"] for row in rows)
        return sum(row["slabs"] for row in rows), answer["memory_used"] - of_victim, len(answer["memory"]) - len(rows)

    def run(self, number: int, uid: int) -> tuple[str, str]:
        """Runs one case. Returns its verdict and its words."""
        self.victim.mark()
        process = self.host.start_as(
            uid, "hostile", number, self.host.socket, self.host.spawn_socket, self.host.folder, self.host.scratch,
            self.host.tarnd.pid, self.host.spawn.pid, self.victim.process.pid, *self.victim_workers)
        line = ""
        if select.select([process.stdout], [], [], PATIENCE_SECONDS)[0]:
            line = process.stdout.readline().strip("\n")
        try:
            # While it keeps what it got: others come, work and leave.
            self.newcomer()
            for verb in QUERIES:
                self.host.ask(verb)
            _, median, _, _ = self.victim.mark()
        finally:
            self.end(process)
        if self.victim.usual > 0:
            self.worst_ratio = max(self.worst_ratio, median / self.victim.usual)
        self.expect_as_before()
        verdict, _, text = line.partition("\t")
        if not verdict:
            raise Wrong("the hostile program says nothing" if process.returncode in (0, -9) else f"it ended {process.returncode}")
        return verdict, text

    def newcomer(self) -> None:
        begin = time.monotonic()
        process = self.host.start_as(VICTIM_UID, "victim", "once")
        try:
            told, _ = process.communicate(timeout=25)
        except subprocess.TimeoutExpired as error:
            process.kill()
            process.wait()
            raise Wrong("a new session of the victim hangs") from error
        if process.returncode != 0 or not told.startswith("ok"):
            raise Wrong(f"a new session of the victim ended {process.returncode}")
        self.worst_newcomer = max(self.worst_newcomer, time.monotonic() - begin)

    def end(self, process: subprocess.Popen) -> None:
        process.stdin.close()
        if state_of(process.pid) == "T":
            process.kill()
        try:
            process.wait(1.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        process.stdout.close()

    def expect_as_before(self) -> None:
        """tarnd is the same process, holds what it held, and nobody is left of who has gone."""
        begin = time.monotonic()
        if self.host.tarnd.poll() is not None or self.host.spawn.poll() is not None:
            raise Wrong(f"tarnd or tarn-spawn has ended: {self.host.tarnd.returncode} {self.host.spawn.returncode}")
        now: tuple = ()
        descriptors: dict[str, int] = {}

        def is_as_before() -> bool:
            nonlocal now, descriptors
            if processes_of(HOSTILE_UID):
                return False
            now, descriptors = self.charged(), descriptors_of(self.host.tarnd.pid)
            # A slab of the victim more or less is two descriptors; root, who asks, is a socket that comes and goes.
            slabs = 2 * (now[0] - self.base[0])
            few = {kind: count - self.base_descriptors.get(kind, 0) for kind, count in descriptors.items()}
            few["/memfd:tarn-slab (deleted)"] = few.get("/memfd:tarn-slab (deleted)", 0) - slabs
            few["socket"] = max(0, few.get("socket", 0) - 1)
            return now[1:] == self.base[1:] and not any(count > 0 for count in few.values())

        if not eventually(is_as_before, GONE_SECONDS):
            left = {pid: Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ") for pid in processes_of(HOSTILE_UID)}
            raise Wrong(f"not as before: charged {self.base} then, {now} now; descriptors {self.base_descriptors} then, "
                        f"{descriptors} now; processes {left}")
        self.slowest_return = max(self.slowest_return, time.monotonic() - begin)
        if self.asker.faults:
            faults, self.asker.faults = self.asker.faults, []
            raise Wrong(f"root got no answer: {faults[0]}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("tarnd", "spawn", "tarn", "libtarn", "hostile", "victim"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--service", action="store_true", help="tarnd as the user of a service, not as root")
    parser.add_argument("--only", metavar="WORDS", help="the cases with these words in their names")
    options = parser.parse_args()
    if os.getuid() != 0:
        print("1..0 # SKIP needs root, to be several users")
        return 0
    begin = time.monotonic()
    signal.signal(signal.SIGTERM, lambda *unused: sys.exit(1))  # and tidy up
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    listed = subprocess.run([options.hostile, "--list"], capture_output=True, text=True, check=True).stdout.splitlines()
    named = [(number, int(line.split()[0]), line.split(" ", 1)[1]) for number, line in enumerate(listed)]
    cases = [(number, name, HOSTILE_UID) for number, _, name in named]
    # Where tarnd is not root, root has no workers.
    cases += [(number, name, 0) for number, counter, name in named if counter == 1 or counter == 2 and not options.service]
    if options.only:
        cases = [case for case in cases if options.only in case[1]]
    print(f"1..{len(cases) + 1}", flush=True)
    bad = 0
    host = Host(options)
    try:
        suite = Suite(host)
        suite.settle()
        suite.asker.start()
        usual = suite.victim.usual
        for index, (number, name, uid) in enumerate(cases, 1):
            started = time.monotonic()
            try:
                verdict, text = suite.run(number, uid)
                if uid == 0 and verdict == "FAILED" and not text.startswith("cannot begin"):
                    verdict, text = "noticed", "root may"
                elif uid == 0:
                    verdict, text = "FAILED", f"root may do this, and yet it is {verdict}"
            except (Wrong, subprocess.TimeoutExpired) as error:
                verdict, text = "FAILED", str(error)
            good = verdict in ("refused", "harmless", "left out", "noticed")
            bad += not good
            took = time.monotonic() - started
            print(f"{'ok' if good else 'not ok'} {index} - {name}{' by root' if uid == 0 else ''}: {verdict}"
                  f"{' (' + text + ')' if text and good else ''}")
            if not good:
                print("\n".join(f"# {line}" for line in text.splitlines()))
            print(f"# {took:.1f} s", flush=True)
        suite.asker.stopped.set()
        suite.asker.join()
        good = suite.victim.wrong == 0 and suite.victim.rounds > 0 and suite.asker.answers > 0
        suite.victim.process.stdin.close()
        good = suite.victim.process.wait(25) == 0 and good
        good = eventually(lambda: host.ask("status")["memory_used"] == 0) and good
        print(f"{'ok' if good else 'not ok'} {len(cases) + 1} - the victim: {suite.victim.rounds} rounds, "
              f"{suite.victim.wrong} wrong")
        print(f"# a round of the victim takes {usual:.0f} us; during the worst case {suite.worst_ratio:.1f} times as long")
        print(f"# a new session took {suite.worst_newcomer:.2f} s at most; tarnd was as before within {suite.slowest_return:.2f} s")
        print(f"# root got {suite.asker.answers} answers, the slowest in {suite.asker.slowest:.2f} s; "
              f"all in {time.monotonic() - begin:.1f} s")
        bad += not good
        if bad:
            print("\n".join(f"# log: {line}" for line in host.log_text().splitlines()[-40:]))
    finally:
        host.close()
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
