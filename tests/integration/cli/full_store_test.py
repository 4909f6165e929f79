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
from pathlib import Path

from cases import eventually, run_cases, test

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

    def __init__(self, disk: str, disk_limit: str = "1GiB") -> None:
        self.disk = disk
        self.disk_limit = disk_limit

    def __enter__(self) -> "Host":
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-full-"))
        config = self.folder / "tarnd.toml"
        config.write_text(CONFIG.format(folder=self.folder, disk=self.disk, disk_limit=self.disk_limit))
        socket = self.folder / "tarnd.sock"
        self.log = open(self.folder / "log", "w+")
        self.process = subprocess.Popen([TARND, "--config", config], stderr=self.log, stdin=subprocess.DEVNULL)
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


def has_disk() -> bool:
    kind = subprocess.run(["stat", "-f", "-c", "%T", "/var/tmp"], capture_output=True, text=True, check=False)
    return kind.stdout.strip() not in ("tmpfs", "ramfs")


@test
def what_is_on_the_disk_is_no_memory_and_found() -> None:
    if not has_disk():
        return
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
    if not has_disk():
        return
    with Host("/var/tmp") as host:
        assert host.do("put 4") == "ok" and host.do("hold") == "ok" and host.do("pin 4") == "ok"
        # A worker's task reads one as well, by the client's reference. Expect: both are named as those who pin it.
        assert eventually(lambda: sorted(len(row["pinned_by"]) for row in host.parts()) == [1, 1, 1, 2])
        both = max(host.parts(), key=lambda row: len(row["pinned_by"]))
        # They are in use, so nobody counts since when they are not.
        assert all(row["unused_s"] is None for row in host.parts()), host.parts()
        assert both["held_by"] == ["client"] and both["pinned_by"] == ["client", "worker 2"], both
        # Everything is pinned, until nothing more can be had.
        refused = "ok"
        for _ in range(20):
            refused = host.do("put 1")
            if refused != "ok":
                break
            assert host.do("pin 1") == "ok"
        assert refused.startswith("error -12 "), refused
        answer = host.ask("memory")
        assert answer["pinned"] == sum_of(answer, "pinned") >= LIMIT // 2, answer
        (session,) = answer["sessions"]
        assert session["full"] and session["pinned"] == answer["pinned"], session
        (label,) = [row for row in host.ask("memory", "--by", "label")["memory"] if row["label"] == "part"]
        assert label["pinned"] == answer["pinned"] and label["label_read"] is True, label
        for by in ("label", "type"):
            assert host.ask("memory", "--by", by)["sessions"][0]["pinned"] == answer["pinned"]
            table = host.run("memory", "--by", by)
            assert "PINNED" in table and "may have no more" in table and "are pinned and cannot leave memory" in table, table
        table = host.run("memory")
        assert "PINNED" in table and "pinned by your programs" in table and "cannot leave memory" in table, table
        # Unpinned they go. Expect: there is room again, and the time starts anew.
        assert host.do("unpin") == "ok" and host.do("put 8") == "ok"
        assert host.ask("memory")["pinned"] <= SIZE and sum_of(host.ask("memory"), "on_disk") >= SIZE
        assert "cannot leave memory" not in host.run("memory")


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
    if not has_disk():
        return
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


def main() -> None:
    run_cases()


if __name__ == "__main__":
    main()
