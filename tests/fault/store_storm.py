"""scripts/storm --only store: kills random processes while several clients work with objects.

The clients (fault_client store) share the tarnd of a host, whose sessions are small. A client, a worker, tarnd or tarn-spawn
is killed, ends by a fault, or is stopped and killed a moment later; what died is started again, and what it held must be
given back meanwhile. Each tarnd has other limits, most of them so that objects leave memory for the disk and come back.
Every now and then all clients end in order, and tarnd must hold nothing any more, neither in memory nor on the disk.
"""

import contextlib
import json
import os
import random
import re
import resource
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path

import harness
from harness import Run, note

ROLES = {"worker": 82, "client": 12, "tarnd": 3, "spawn": 3}
CLIENTS = 3
PAUSE_SECONDS = (0.002, 0.03)
STOP_SECONDS_MAX = 0.1
KILLS_A_HOST_MAX = 400
# tarnd calls a session broken when five workers in a row die before they serve. That is right, and not a subject here.
YOUNG_KILLS_MAX = 2
YOUNG_WINDOW_SECONDS = 3.0
START_SECONDS_MAX = 20.0
PROMISED_SECONDS = 0.1  # in which memory is given back after a kill, where the machine has time
RESULT = re.compile(r"tasks=(\d+) hung=(\d+) lost=(\d+) doubled=(\d+) leaked=(\d+)")
CONFIG = """
[daemon]
socket = "{folder}/tarnd.sock"
spawn_socket = "{folder}/spawn.sock"
log_level = "error"
[memory]
limit = "{limit}MiB"
per_client = "{per_client}MiB"
spill_directory = "{spill_directory}"
{spill_limit}
"""
SPILL_DIRECTORY = "/var/tmp"  # a disk, where /tmp may be memory
# How the tarnd of a while has it: how often, and MiB of the host, of a client, and of the disk (None: no limit; 0: no disk).
SITUATIONS = [
    (2, 640, 128, None),  # room for most
    (4, 240, 48, None),   # for a third
    (3, 100, 48, None),   # the host is short, not the client
    (2, 240, 48, 40),     # the disk is small
    (2, 400, 96, 0),      # nothing leaves memory
]


def ask(path: Path, what: str) -> dict | None:
    """The answer of tarnd to a tool; None if it is not there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link:
        link.settimeout(20)
        try:
            link.connect(str(path))
            link.send(struct.pack("<4sHHII", b"TARN", 1, 1, 136, 1) +
                      struct.pack("<IIIiIIII20s4s64s", 2, 0, 0, os.getpid(), 0, 0, 0, 0, b"", b"", b"storm"))
            link.send(struct.pack("<4sHHII", b"TARN", 1, 9, 56, 2) + struct.pack("<32sII", what.encode(), 0, 0))
            text = b""
            while True:
                packet = link.recv(128 << 10)
                if len(packet) < 24:
                    return None
                text += packet[24:]
                if struct.unpack_from("<I", packet, 16)[0] == 0:
                    return json.loads(text)
        except OSError:
            return None


class StoreStorm:
    def __init__(self, client: Path, seed: int, verbose: bool) -> None:
        self.client = client
        build = client.resolve().parents[2]
        self.programs = {"tarnd": build / "daemon/tarnd", "spawn": build / "daemon/spawn/tarn-spawn"}
        self.random = random.Random(seed)
        self.verbose = verbose
        self.kills = self.checked = self.sessions = self.clients = self.full = 0
        self.count = {"hung": 0, "lost": 0, "doubled": 0, "leaked": 0}
        self.due: list[tuple[float, int, int, int]] = []  # when, pid, its start time, signal
        self.services: dict[str, subprocess.Popen] = {}
        self.runs: list[Run] = []
        self.disk_bytes = [0, 0]  # written and read by all tarnd so far, without the one that runs
        self.disk_now = [0, 0]
        self.young_kills: list[float] = []
        self.session_seconds: list[float] = []  # from the death of a client until what it had is free
        self.object_seconds: list[float] = []   # from the last release in a living session until nothing is left of it
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def bad(self) -> bool:
        return any(self.count.values())

    def fault(self, name: str, text: str) -> None:
        self.count[name] += 1
        note(f"storm: {name}: after {self.kills} kills: {text}")

    # ---- A host and its clients ----

    def run_host(self, kills: int, folder: Path) -> None:
        try:
            self.storm_over_host(kills, folder)
        finally:
            # Nothing is left here unless this was cut off.
            for pid in harness.descendants(os.getpid()):
                harness.send(pid, signal.SIGKILL)

    def storm_over_host(self, kills: int, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "tarnd.sock"
        self.log = (folder / "log").open("a")
        shm_before = harness.shared_memory_files()
        self.doomed: set[int] = set()
        self.dying: set[int] = set()  # services that were killed, and may not have ended yet
        self.start_services()
        self.runs = [self.start_client() for _ in range(CLIENTS)]
        left = kills
        while left > 0 and not self.bad():
            self.wait(self.random.uniform(*PAUSE_SECONDS))
            if self.strike():
                left -= 1
            self.tend()
        self.end_clients()
        self.end_services()
        if left_over := harness.shared_memory_files() - shm_before:
            self.fault("leaked", f"/dev/shm: {left_over}")
        if self.bad():
            note(self.explain())
        self.log.close()

    def start(self, name: str, arguments: list[str]) -> None:
        self.services[name] = subprocess.Popen([self.programs[name], *arguments], stdin=subprocess.DEVNULL,
                                               stdout=subprocess.DEVNULL, stderr=self.log)

    def start_services(self) -> None:
        """Starts who is not there. tarn-spawn first, or tarnd would bring one of its own along."""
        if "spawn" not in self.services:
            self.start("spawn", ["--service", "--listen", str(self.folder / "spawn.sock")])
            self.await_socket(self.folder / "spawn.sock")
        if "tarnd" not in self.services:
            self.configure()
            self.start("tarnd", ["--config", str(self.folder / "tarnd.toml")])
            self.await_socket(self.path)

    def configure(self) -> None:
        _, limit, per_client, disk = self.random.choices(SITUATIONS, [weight for weight, *_ in SITUATIONS])[0]
        (self.folder / "tarnd.toml").write_text(CONFIG.format(
            folder=self.folder, limit=limit, per_client=per_client, spill_directory="" if disk == 0 else SPILL_DIRECTORY,
            spill_limit=f'spill_limit = "{disk}MiB"' if disk else ""))
        if self.verbose:
            note(f"tarnd: limit {limit} MiB, per client {per_client} MiB, disk {disk}")
        self.disk_bytes = [a + b for a, b in zip(self.disk_bytes, self.disk_now)]
        self.disk_now = [0, 0]

    def await_socket(self, path: Path) -> None:
        end = time.monotonic() + START_SECONDS_MAX
        while time.monotonic() < end:
            with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as link, contextlib.suppress(OSError):
                link.connect(str(path))
                return
            time.sleep(0.002)
        self.fault("hung", f"nobody listens at {path.name}")

    def start_client(self) -> Run:
        self.clients += 1
        folder = self.folder / f"client-{self.clients}"
        folder.mkdir()
        run = Run(self.client, ["store", str(self.random.getrandbits(32))],
                  {"TARN_ADDRESS": f"unix:{self.path}", "TARN_WORKERS": str(self.random.randint(1, min(2, os.cpu_count() or 1)))},
                  folder)
        run.result, run.tasks, run.killed_at = "", 0, 0.0
        return run

    def wait(self, seconds: float) -> None:
        """Lets time pass, hears what the clients say, and kills who was stopped."""
        end = time.monotonic() + seconds
        while True:
            now = time.monotonic()
            for entry in [entry for entry in self.due if entry[0] <= now]:
                self.due.remove(entry)
                self.settle(*entry[1:])
            for run in self.runs:
                for line in run.lines(0.0):
                    self.hear(run, line)
            if time.monotonic() >= end:
                return
            time.sleep(min(0.003, max(0.0, end - time.monotonic())))

    def hear(self, run: Run, line: str) -> None:
        if line.startswith("open"):
            self.sessions += 1
        elif line.startswith("released"):
            self.object_seconds.append(int(line.split()[1]) / 1e6)
        elif line.startswith("full"):
            self.full += int(line.split()[1])
        elif line.startswith("checked"):
            self.checked += int(line.split()[1]) - run.tasks
            run.tasks = int(line.split()[1])
        elif line.startswith(("gone", "closed")):
            self.checked += int(line.split()[1]) - run.tasks
            run.tasks = int(line.split()[1])
        elif line.startswith("tasks="):
            run.result = line

    # ---- Kill ----

    def roles(self) -> dict[str, list[int]]:
        spawn = self.services.get("spawn")
        roles = {"client": [run.pid for run in self.runs if run.process.returncode is None], "worker": [],
                 "tarnd": [self.services["tarnd"].pid] if "tarnd" in self.services else [],
                 "spawn": [spawn.pid] if spawn else []}
        if spawn:
            roles["worker"] = [pid for pid, stat in harness.descendants(spawn.pid).items() if stat[2] not in "ZX"]
        return roles

    def strike(self) -> bool:
        roles = self.roles()
        now = time.monotonic()
        role = self.random.choices(list(ROLES), list(ROLES.values()))[0]
        if not roles[role]:
            return False
        pid = self.random.choice(roles[role])
        stat = harness.read_stat(pid)
        if stat is None or stat[2] in "ZX" or any(entry[1] == pid for entry in self.due):
            return False
        # With tarn-spawn go all workers, the young ones, too.
        if role == "spawn" or role == "worker" and not self.serves(pid):
            self.young_kills = [when for when in self.young_kills if now - when < YOUNG_WINDOW_SECONDS]
            if len(self.young_kills) >= YOUNG_KILLS_MAX:
                return False
            self.young_kills.append(now)
        how = self.random.choices([signal.SIGKILL, signal.SIGSEGV, signal.SIGSTOP], [4, 3, 3])[0]
        if self.verbose:
            note(f"{now:.3f} {how.name} {role} {pid}")
        self.kills += 1
        harness.send(pid, how)
        if how == signal.SIGSTOP:
            self.due.append((now + self.random.uniform(0.001, STOP_SECONDS_MAX), pid, stat[3], signal.SIGKILL))
        else:
            self.note_death(pid)
        return True

    def serves(self, worker: int) -> bool:
        """Whether a worker is known to have begun to serve."""
        if "tarnd" not in self.services or any(entry[1] == self.services["tarnd"].pid for entry in self.due):
            return False
        answer = ask(self.path, "workers")
        return answer is not None and any(row["pid"] == worker and row["state"] == "serving" for row in answer["workers"])

    def settle(self, pid: int, start: int, number: int) -> None:
        stat = harness.read_stat(pid)
        if stat is None or stat[3] != start:
            return
        harness.send(pid, number)
        self.note_death(pid)

    def note_death(self, pid: int) -> None:
        for run in self.runs:
            if run.pid == pid:
                run.killed_at = time.monotonic()
        if pid not in [process.pid for process in self.services.values()]:
            return
        self.dying.add(pid)
        # The workers go with either; and with a tarnd that found no tarn-spawn, the tarn-spawn and the tarnd that it became.
        for process in self.services.values():
            self.doomed |= set(harness.descendants(process.pid))

    def tend(self) -> None:
        """Takes the exit status of who has ended, sees that what it had has gone, and starts another."""
        self.bury_services()
        if len(self.services) < 2:
            self.expect_gone(self.doomed)
            self.bury_services()  # that may have been the moment to kill the other one, which had been stopped
            self.doomed = set()
            self.start_services()
        for number, run in enumerate(self.runs):
            if run.process.poll() is None:
                if run.killed_at > 0 and time.monotonic() - run.killed_at > harness.GONE_SECONDS_MAX:
                    self.fault("hung", f"client {run.pid} does not die")
                continue
            self.bury(run)
            self.runs[number] = self.start_client()
        self.watch_disk()
        self.reap()

    def bury_services(self) -> None:
        for name in ("tarnd", "spawn"):
            process = self.services.get(name)
            if process is not None and process.poll() is not None:
                if process.returncode not in (-signal.SIGKILL, -signal.SIGSEGV):
                    self.fault("lost", f"{name} ended {process.returncode}\n{self.explain()}")
                del self.services[name]

    def watch_disk(self) -> None:
        """What tarnd has written and read so far; its objects are all that it moves."""
        if (process := self.services.get("tarnd")) is not None:
            with contextlib.suppress(OSError, ValueError):
                fields = dict(line.split(": ") for line in Path(f"/proc/{process.pid}/io").read_text().splitlines())
                self.disk_now = [int(fields["write_bytes"]), int(fields["read_bytes"])]

    def bury(self, run: Run) -> None:
        """A client has ended. What it had must be free soon, though somebody else may be stopped meanwhile."""
        for line in run.lines(0.0):
            self.hear(run, line)
        if run.killed_at > 0 and "tarnd" in self.services:
            self.await_end_of_session(run)
        complaints = run.complaints()
        for stream in (run.process.stdin, run.process.stdout):
            with contextlib.suppress(OSError):
                stream.close()
        if found := RESULT.match(run.result):
            for name, number in zip(self.count, found.groups()[1:]):
                self.count[name] += int(number)
        elif run.killed_at == 0:
            self.fault("lost", f"client {run.pid} ended {run.process.returncode} without a result")
        elif "fault:" in complaints:
            self.fault("lost", "a client complained before it was killed")
        if self.bad() or self.verbose:
            note(complaints.rstrip())

    def await_end_of_session(self, run: Run) -> None:
        end = time.monotonic() + harness.GONE_SECONDS_MAX
        disturbed = False
        while True:
            now = time.monotonic()
            for entry in [entry for entry in self.due if entry[0] <= now]:
                self.due.remove(entry)
                self.settle(*entry[1:])
            services = [process.pid for process in self.services.values()]
            disturbed = disturbed or len(services) < 2 or any(entry[1] in services for entry in self.due)
            answer = ask(self.path, "sessions") if not disturbed else {"sessions": []}
            if answer is None:
                return
            if not any(row["pid"] == run.pid for row in answer["sessions"]):
                break
            if now > end:
                return self.fault("leaked", f"the session of the dead client {run.pid} is still there: {answer}")
            time.sleep(0.001)
        if not disturbed:
            self.session_seconds.append(time.monotonic() - run.killed_at)

    # ---- What must hold ----

    def known(self) -> set[int]:
        return {run.pid for run in self.runs} | {process.pid for process in self.services.values()}

    def reap(self) -> None:
        harness.reap_orphans(self.known())

    def expect_gone(self, pids: set[int]) -> None:
        end = time.monotonic() + harness.GONE_SECONDS_MAX
        while True:
            # A tarn-spawn that is stopped lets its workers live until it is killed.
            for entry in [entry for entry in self.due if entry[0] <= time.monotonic()]:
                self.due.remove(entry)
                self.settle(*entry[1:])
            self.reap()
            left = {pid: stat for pid, stat in harness.descendants(os.getpid()).items() if pid in pids and stat[2] not in "ZX"}
            if not left:
                return
            if time.monotonic() > end:
                self.fault("leaked", f"still there: {left}\n{self.explain()}")
                for pid in left:
                    harness.send(pid, signal.SIGKILL)
                return
            time.sleep(0.003)

    def end_clients(self) -> None:
        """All end in order, and tarnd holds nothing any more."""
        for _, pid, start, number in self.due:
            self.settle(pid, start, number)
        self.due.clear()
        end = time.monotonic() + harness.GONE_SECONDS_MAX
        while time.monotonic() < end and any(
            process.pid in self.dying and process.poll() is None for process in self.services.values()
        ):
            time.sleep(0.003)
        self.tend()
        for run in self.runs:
            run.process.stdin.close()
        end = time.monotonic() + harness.LINE_SECONDS_MAX
        for run in self.runs:
            while run.process.poll() is None and time.monotonic() < end:
                for line in run.lines(0.02):
                    self.hear(run, line)
            if run.process.poll() is None:
                self.fault("hung", f"client {run.pid} does not end\n{self.explain()}")
                run.killed_at = time.monotonic()
                run.process.kill()
                run.process.wait()
            self.bury(run)
        self.runs = []
        end = time.monotonic() + harness.GONE_SECONDS_MAX
        while (answer := ask(self.path, "memory")) is None or answer["memory_used"] != 0 or self.files():
            if time.monotonic() > end:
                return self.fault("leaked", f"after the last session: {answer}, {self.files()}")
            time.sleep(0.01)

    def files(self) -> list[str]:
        """Of sessions, that tarnd has open: in memory, or without a name on the disk."""
        found = []
        folder = f"/proc/{self.services['tarnd'].pid}/fd"
        for entry in os.listdir(folder):
            with contextlib.suppress(OSError):
                target = os.readlink(f"{folder}/{entry}")
                if target.startswith(("/memfd:tarn-", SPILL_DIRECTORY + "/#")):
                    found.append(f"{target} of {os.stat(f'{folder}/{entry}').st_blocks * 512} bytes")
        return found

    def end_services(self) -> None:
        self.watch_disk()
        for name in ("tarnd", "spawn"):
            process = self.services.pop(name)
            process.terminate()
            try:
                if process.wait(harness.GONE_SECONDS_MAX) not in (0, -signal.SIGTERM):
                    self.fault("lost", f"{name} ended {process.returncode} when it was asked to")
            except subprocess.TimeoutExpired:
                self.fault("hung", f"{name} does not end")
                process.kill()
                process.wait()
        self.expect_gone(set(harness.descendants(os.getpid())))

    def explain(self) -> str:
        return harness.explain() + "\n" + harness.backtraces() + (self.folder / "log").read_text(errors="replace")

    def summary(self) -> str:
        def worst(name: str, seconds: list[float]) -> str:
            if not seconds:
                return f"{name}: none"
            late = sum(each > PROMISED_SECONDS for each in seconds)
            return f"{name} within {max(seconds):.3f} s ({late} of {len(seconds)} later than {PROMISED_SECONDS} s)"

        written, read = (a + b for a, b in zip(self.disk_bytes, self.disk_now))
        return (f"{self.clients} clients, {self.sessions} sessions, {self.checked} results checked, {self.full} times full, "
                f"{written >> 20} MiB to the disk, {read >> 20} MiB back; "
                f"memory back: {worst('of killed clients', self.session_seconds)}, "
                f"{worst('of what was released', self.object_seconds)}")
