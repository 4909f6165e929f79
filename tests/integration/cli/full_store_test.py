#!/usr/bin/env python3
"""What the tools say of a store that is full: full_store_test.py TARND TARN FULL_CLIENT. Prints TAP.

What could go wrong: who is told that nothing can be had cannot find out why, because the tools show what is on the disk as
memory, do not say who pins what, or leave out that the disk is not used.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cases import LeftOut, eventually, run_cases, test

TARND, TARN, FULL_CLIENT = sys.argv[1:4]
MIB = 1 << 20
LIMIT = 128 * MIB
SIZE = 8 * MIB
CONFIG = """
[daemon]
socket = "{folder}/tarnd.sock"
spawn_socket = "{folder}/spawn.sock"
[memory]
limit = "128MiB"
spill_directory = "{disk}"
spill_limit = "{disk_limit}"
"""


class Host:
    """A daemon with little memory, a disk at `disk` and one client."""

    def __init__(self, disk: str, disk_limit: str = "1GiB", before: tuple[str, ...] = ()) -> None:
        self.before = before  # a command that runs tarnd
        self.disk = disk
        self.disk_limit = disk_limit

    def __enter__(self) -> "Host":
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-full-"))
        config = self.folder / "tarnd.toml"
        config.write_text(CONFIG.format(folder=self.folder, disk=self.disk, disk_limit=self.disk_limit))
        socket = self.folder / "tarnd.sock"
        self.log = open(self.folder / "log", "w+")
        self.process = subprocess.Popen([*self.before, TARND, "--config", config], stderr=self.log, stdin=subprocess.DEVNULL)
        self.address = f"unix:{socket}"
        assert eventually(socket.exists), Path(self.log.name).read_text()
        self.client = subprocess.Popen([FULL_CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                       env={**os.environ, "TARN_ADDRESS": self.address})
        assert self.client.stdout.readline().startswith("ready")
        return self

    def __exit__(self, *unused: object) -> None:
        self.client.stdin.close()
        self.client.wait(10)
        self.client.stdout.close()
        self.process.terminate()
        self.process.wait(10)
        self.log.close()
        shutil.rmtree(self.folder)

    def do(self, line: str) -> str:
        print(line, file=self.client.stdin, flush=True)
        return self.client.stdout.readline().strip()

    def run(self, *arguments: str) -> str:
        command = [TARN, "--address", self.address, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{done.returncode} {done.stderr}"
        return done.stdout

    def ask(self, *arguments: str) -> dict:
        return json.loads(self.run(*arguments, "--json"))

    def doctor(self) -> dict:
        done = subprocess.run([TARN, "doctor", "--address", self.address, "--json"], capture_output=True, text=True, check=False)
        (disk,) = [check for check in json.loads(done.stdout)["checks"] if check["check"] == "disk"]
        return disk

    def parts(self) -> list[dict]:
        return [row for row in self.ask("objects")["objects"] if row["size"] == SIZE]


def sum_of(answer: dict, key: str) -> int:
    return sum(row[key] for row in answer["memory"])


def expect_part(text: str, line: str) -> None:
    """Expect: below the table, of a session that is full, so much of it `line`."""
    assert re.search(rf"^    [0-9.]+ [KM]iB {line}", text, re.MULTILINE), text


def need_disk() -> None:
    kind = subprocess.run(["stat", "-f", "-c", "%T", "/var/tmp"], capture_output=True, text=True, check=False)
    if kind.stdout.strip() in ("tmpfs", "ramfs"):
        raise LeftOut("/var/tmp lies in memory here")


@contextmanager
def disk_of_its_own(size: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """A folder, and the command that has it on an ext4 of `size` bytes, for what it runs and for nobody else."""
    make = shutil.which("mkfs.ext4", path="/usr/sbin:/sbin:/usr/bin:/bin")
    if os.geteuid() != 0 or make is None:
        raise LeftOut("needs root and mkfs.ext4, to have a disk that is small")
    with tempfile.TemporaryDirectory(prefix="tarn-disk-") as folder:
        image, place = Path(folder) / "image", Path(folder) / "disk"
        place.mkdir()
        with image.open("wb") as file:
            file.truncate(size)
        subprocess.run([make, "-q", "-m", "0", image], check=True, stdout=subprocess.DEVNULL)
        mount = f'mount -o loop "{image}" "{place}" && exec "$@"'
        tried = subprocess.run(["unshare", "--mount", "sh", "-c", mount, "sh", "true"], capture_output=True, text=True, check=False)
        if tried.returncode != 0:
            raise LeftOut(f"no disk can be mounted here: {tried.stderr.strip()}")
        yield str(place), ("unshare", "--mount", "sh", "-c", mount, "sh")


@test
def what_is_on_the_disk_is_no_memory_and_found() -> None:
    need_disk()
    with Host("/var/tmp") as host:
        assert host.do("put 24") == "ok"
        # More than the memory there is was put. Expect: each object is shown where it is, the sums go with it.
        assert eventually(lambda: all(row["held_by"] == ["client"] for row in host.parts()))
        rows = host.parts()
        assert len(rows) == 24 and {row["where"] for row in rows} == {"memory", "disk"}, rows
        assert all(row["pinned_by"] == [] and 0 <= row["unused_s"] < 60 for row in rows), rows
        assert {row["label"] for row in rows} == {"part"}
        away = sum(row["where"] == "disk" for row in rows)
        answer = host.ask("memory")
        assert sum_of(answer, "objects_on_disk") == away and sum_of(answer, "on_disk") >= away * SIZE, answer
        assert sum_of(answer, "size") + sum_of(answer, "records") <= answer["memory_used"] <= LIMIT, answer
        assert sum_of(answer, "bytes") <= sum_of(answer, "size") and answer["pinned"] == 0, answer
        assert away * SIZE <= answer["disk_used"] <= answer["disk_limit"] == 1 << 30, answer
        assert answer["disk_off"] is None and answer["disk_directory"] == "/var/tmp", answer
        types = host.ask("memory", "--by", "type")["memory"]
        assert sum(row["bytes"] for row in types) <= LIMIT and sum(row["on_disk"] for row in types) == away * SIZE
        (label,) = [row for row in host.ask("memory", "--by", "label")["memory"] if row["label"] == "part"]
        assert label["objects"] == 24 and label["on_disk"] == away * SIZE, label
        table = host.run("memory")
        assert "ON DISK" in table and "MiB of 1.0 GiB, in /var/tmp" in table and "cannot leave memory" not in table, table
        assert "disk" in host.run("objects")


@test
def a_store_full_of_pinned_objects_says_so() -> None:
    need_disk()
    with Host("/var/tmp") as host:
        for wish in ("put 4", "hold", "pin 4"):
            assert (said := host.do(wish)) == "ok", f"{wish}: {said}"
        # A worker's task reads one as well. Expect: both are named as those who pin it, and hold it.
        assert eventually(lambda: sorted(len(row["pinned_by"]) for row in host.parts()) == [1, 1, 1, 2]), host.parts()
        both = max(host.parts(), key=lambda row: len(row["pinned_by"]))
        # They are in use, so nobody counts since when they are not.
        assert all(row["unused_s"] is None for row in host.parts()), host.parts()
        assert both["held_by"] == both["pinned_by"] == ["client", "worker 2"], both
        # Everything is pinned, until nothing more can be had.
        refused = "ok"
        for _ in range(20):
            refused = host.do("put 1")
            if refused != "ok":
                break
            assert (said := host.do("pin 1")) == "ok", said
        assert refused.startswith("error -12 "), refused
        answer = host.ask("memory")
        assert answer["pinned"] == sum_of(answer, "pinned") >= LIMIT // 2, answer
        (session,) = answer["sessions"]
        assert session["full"] and session["pinned"] == answer["pinned"], session
        (label,) = [row for row in host.ask("memory", "--by", "label")["memory"] if row["label"] == "part"]
        assert label["pinned"] == answer["pinned"] and label["label_read"] is True, label
        for by in ("label", "type"):
            assert (said := host.ask("memory", "--by", by)["sessions"][0])["pinned"] == answer["pinned"], (said, answer)
            table = host.run("memory", "--by", by)
            assert "PINNED" in table and "may have no more" in table and "are pinned and cannot leave memory" in table, table
        table = host.run("memory")
        assert "PINNED" in table and "pinned by your programs" in table and "cannot leave memory" in table, table
        # Unpinned they go. Expect: there is room again, and the time starts anew.
        for wish in ("unpin", "put 8"):
            assert (said := host.do(wish)) == "ok", f"{wish}: {said}"
        answer = host.ask("memory")
        assert answer["pinned"] <= SIZE and sum_of(answer, "on_disk") >= SIZE, answer
        # While they are still going it is full, and the worker's one is pinned.
        assert eventually(lambda: "cannot leave memory" not in host.run("memory")), host.run("memory")


@test
def a_disk_that_is_not_used_is_named() -> None:
    with Host("/dev/shm") as host:
        assert "error -12 " in host.do("put 24")
        answer = host.ask("memory")
        assert answer["disk_off"] == "/dev/shm lies in memory itself" and answer["disk_used"] == 0, answer
        assert {row["where"] for row in host.parts()} == {"memory"}
        assert "disk: not used: /dev/shm lies in memory itself" in host.run("memory")
        # The store is full of what could leave, and it is said why it does not.
        expect_part(host.run("memory"), "could leave, but nothing goes to the disk: /dev/shm lies in memory itself")
        # Whoever asks a doctor hears of it too.
        disk = host.doctor()
        assert disk["state"] == "warn" and "/dev/shm lies in memory itself" in disk["found"] and disk["do"], disk


@test
def a_store_full_of_small_objects_says_so() -> None:
    with Host("/var/tmp") as host:
        assert host.do("small 9000").startswith("error -12 ")
        answer, table = host.ask("memory"), host.run("memory")
        (session,) = answer["sessions"]
        assert session["full"] and session["pinned"] == 0 and session["small"] >= LIMIT * 3 // 4, session
        assert session["small"] == answer["small"] == sum_of(answer, "small"), answer
        parts = sum(session[key] for key in ("pinned", "small", "movable", "empty", "records"))
        assert parts == session["memory_used"], session
        assert "may have no more; of " in table and "in your objects of up to 32 KiB" in table, table
        expect_part(table, "are in objects of up to 32 KiB, which do not go to the disk")
        # More have a label than are looked at for one answer. Expect: the others are no unlabelled ones, and nobody is told
        # to ask for more rows.
        answer = host.ask("memory", "--by", "label")
        rows = {(row["label"], row["label_read"]): row for row in answer["memory"]}
        assert rows["crumb", True]["objects"] == 4096 and rows[None, False]["objects"] > 1000, rows
        assert rows["crumb", True]["small"] + rows[None, False]["small"] + rows.get((None, True), {"small": 0})["small"] == \
            answer["small"] and not answer["truncated"], answer
        for limit in ((), ("--limit", "0")):
            command = [TARN, "--address", host.address, "memory", "--by", "label", *limit]
            done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
            assert "(not looked at)" in done.stdout and not done.stderr, done


@test
def a_disk_that_takes_no_more_is_named() -> None:
    need_disk()
    with Host("/var/tmp", "32MiB") as host:
        assert host.doctor()["state"] == "ok", host.doctor()
        assert host.do("put 30").startswith("error -12 ")
        # No other object fits on the disk, and what could leave memory stays there. Expect: all say so, and go on to do so
        # when nobody asks for memory any more.
        time.sleep(1.5)
        (session,) = host.ask("memory")["sessions"]
        assert session["disk_refused"] and session["disk_refused_s"] >= 1 and session["movable"] >= LIMIT // 2, session
        assert host.ask("status")["disk_refused"] == session["disk_refused"]
        expect_part(host.run("memory"), "could leave, but nothing goes to the disk: no room for .* ago")
        disk = host.doctor()
        assert disk["state"] == "warn" and "refused an object" in disk["found"] and "spill_limit" in disk["do"], disk


@test
def a_disk_that_others_fill_is_used_as_far_as_it_goes_and_no_further() -> None:
    with disk_of_its_own(96 * MIB) as (place, before), Host(place, before=before) as host:
        # tarnd sees the disk, and so does who looks through its eyes. All but 20 MiB are taken by somebody else.
        disk = Path(f"/proc/{host.process.pid}/root{place}")

        def free() -> int:
            status = os.statvfs(disk)
            return status.f_bavail * status.f_frsize

        with (disk / "others").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, free() - 20 * MIB)
        refused = host.do("put 24")
        # Expect: two objects went there, what they do not need is free for others, and it is said who has no room.
        assert refused.startswith("error -12 "), refused
        on_disk = sum_of(host.ask("memory"), "on_disk")
        assert 2 * SIZE <= on_disk <= 20 * MIB, on_disk
        assert free() >= 20 * MIB - on_disk - MIB, f"{free()} bytes are free beside {on_disk} of objects"
        assert f"{place} has no room for" in host.run("memory"), host.run("memory")


def main() -> None:
    run_cases()


if __name__ == "__main__":
    main()
