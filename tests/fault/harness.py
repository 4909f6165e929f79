"""What the drivers of the fault tests share: the processes of a run, their roles, and what they leave behind.

The driver is a subreaper: whatever is orphaned becomes its child, so that no process of a run gets out of sight.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
GONE_SECONDS_MAX = 20.0  # for everything to be gone; one second is promised, but not on a busy machine
LINE_SECONDS_MAX = 60.0  # the client gives up after 20 s by itself


def become_subreaper() -> None:
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def read_stat(pid: int) -> tuple[int, str, str, int] | None:
    """Returns parent, name, state and start time, or None."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
    except OSError:
        return None
    begin, end = text.index(b"("), text.rindex(b")")
    fields = text[end + 2 :].split()
    return int(fields[1]), text[begin + 1 : end].decode(errors="replace"), fields[0].decode(), int(fields[19])


def descendants(root: int) -> dict[int, tuple[int, str, str, int]]:
    """All processes below `root`: pid to what read_stat says. Zombies, too."""
    everything = {}
    for name in os.listdir("/proc"):
        if name.isdigit() and (stat := read_stat(int(name))) is not None:
            everything[int(name)] = stat
    found: dict[int, tuple[int, str, str, int]] = {}
    level = {root}
    while level:
        level = {pid for pid, stat in everything.items() if stat[0] in level and pid not in found}
        found.update((pid, everything[pid]) for pid in level)
    return found


def shared_memory_files() -> set[str]:
    return set(os.listdir("/dev/shm"))


def send(pid: int, number: int) -> bool:
    try:
        os.kill(pid, number)
        return True
    except ProcessLookupError:
        return False


def reap_orphans(known: set[int]) -> None:
    """Takes the exit status of all children that have ended, except those in `known`."""
    for pid, (parent, _, state, _) in descendants(os.getpid()).items():
        if parent == os.getpid() and state == "Z" and pid not in known:
            try:
                os.waitpid(pid, os.WNOHANG | 0x40000000)  # __WALL: tarn-spawn ends without a signal
            except ChildProcessError:
                pass


def explain() -> str:
    """Where everybody is: for a run that hangs."""
    text = []
    for pid, stat in descendants(os.getpid()).items():
        where = []
        for task in Path(f"/proc/{pid}/task").glob("*"):
            try:
                where.append((task / "wchan").read_text() + " " + (task / "syscall").read_text().split()[0])
            except (OSError, IndexError):
                pass
        text.append(f"  {pid} {stat[1]} ({stat[2]}) parent {stat[0]}: {'; '.join(where)}")
    return "\n".join(text)


def backtraces() -> str:
    """The same with gdb, if there is one."""
    text = ""
    for pid, stat in descendants(os.getpid()).items():
        try:
            done = subprocess.run(
                ["gdb", "-p", str(pid), "-batch", "-ex", "thread apply all bt 14"],
                capture_output=True, text=True, timeout=30, check=False,
            )
            text += f"--- {pid} {stat[1]}\n" + "\n".join(
                line for line in done.stdout.splitlines() if line.startswith(("#", "Thread"))
            ) + "\n"
        except (OSError, subprocess.TimeoutExpired):
            pass
    return text


class Run:
    """One client program and everything it brings with it."""

    def __init__(self, client: Path, arguments: list[str], environment: dict[str, str], folder: Path) -> None:
        self.shm_before = shared_memory_files()
        self.journal = folder / "journal"
        self.journal.write_bytes(b"")
        self.log_file = folder / "log"
        self.log = self.log_file.open("w+b")
        self.process = subprocess.Popen(
            [str(client), *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            env={**os.environ, "TARN_TEST_JOURNAL": str(self.journal), **environment},
        )
        assert self.process.stdout is not None
        os.set_blocking(self.process.stdout.fileno(), False)
        self.pending = b""
        self.closed = False

    @property
    def pid(self) -> int:
        return self.process.pid

    def lines(self, seconds: float) -> list[str]:
        """Waits for up to `seconds` and returns the lines that came."""
        assert self.process.stdout is not None
        if not self.closed and select.select([self.process.stdout], [], [], seconds)[0]:
            data = os.read(self.process.stdout.fileno(), 65536)
            self.closed = data == b""
            self.pending += data
        elif self.closed:
            time.sleep(min(seconds, 0.01))
        *complete, self.pending = self.pending.split(b"\n")
        return [line.decode(errors="replace") for line in complete]

    def roles(self) -> dict[str, list[int]]:
        """The living processes by role: client, spawn, tarnd, worker."""
        roles: dict[str, list[int]] = {"client": [], "spawn": [], "tarnd": [], "worker": []}
        everything = descendants(os.getpid())
        for pid, (parent, name, state, _) in everything.items():
            if state in "ZX":
                continue
            if pid == self.pid:
                roles["client"].append(pid)
            elif name == "tarn-spawn":
                # Also what it has forked and not yet turned into something else.
                above = everything.get(parent)
                roles["worker" if above is not None and above[1] == "tarn-spawn" else "spawn"].append(pid)
            elif name == "tarnd":
                roles["tarnd"].append(pid)
            else:
                roles["worker"].append(pid)
        return roles

    def reap(self) -> None:
        """Takes the exit status of orphans that came to us."""
        self.process.poll()
        reap_orphans({self.pid})

    def wait_until_gone(self, pids: set[int] | None = None, seconds: float = GONE_SECONDS_MAX) -> dict[int, str]:
        """Waits until `pids` (all, if None) have ended. Returns those that have not, by pid."""
        end = time.monotonic() + seconds
        while True:
            self.reap()
            left = {
                pid: f"{stat[1]} ({stat[2]})"
                for pid, stat in descendants(os.getpid()).items()
                if (pids is None or pid in pids) and stat[2] not in "ZX"
            }
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.003)

    def explain(self) -> str:
        return explain()

    def backtraces(self) -> str:
        return backtraces()

    def end(self) -> dict[int, str]:
        """Kills what is left of the run, whatever it is. Returns what that was."""
        left = self.wait_until_gone(None, 0)
        for _ in range(50):
            living = self.wait_until_gone(None, 0.02)
            if not living:
                break
            for pid in living:
                send(pid, signal.SIGKILL)
        self.process.wait()
        self.reap()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass
        return left

    def complaints(self) -> str:
        self.log.flush()
        self.log.seek(0)
        text = self.log.read().decode(errors="replace")
        self.log.close()
        return text

    def shared_memory_left(self) -> set[str]:
        return shared_memory_files() - self.shm_before


def temporary_folder() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="tarn-fault-")


def note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
