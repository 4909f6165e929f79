#!/usr/bin/env python3
"""Runs log_search on files of many shapes, and wrongly, in TAP: log_search_test.py PROGRAM.

A demonstration that miscounts, or that dies of a bad file, demonstrates the wrong thing. So each shape of file must give
the count of LC_ALL=C grep -acF, and each mistake must be said on standard error, with exit status 1 or 2 and without a
count. Files that change while they are searched may give either, but nothing else.
"""

import json
import os
import pty
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

PROGRAM = sys.argv[1]
random.seed(3)


def lines(count: int) -> bytes:
    types = [b"INFO", b"WARNING", b"ERROR"]
    return b"".join(b"%s: Log message %d\n" % (random.choice(types), i) for i in range(count))


SHAPES: dict[str, bytes] = {
    "nothing": b"",
    "one newline": b"\n",
    "no newline at the end": b"ERROR\nno\nERROR",
    "only empty lines": b"\n" * 100_000,
    "a log": lines(200_000),
    "a log without its last newline": lines(200_000)[:-1],
    "one huge line": b"x" * 5_000_000 + b"ERROR" + b"y" * 5_000_000,
    "one huge line between short ones": lines(1000) + b"ERROR " * 1_000_000 + b"\n" + lines(1000),
    "NUL bytes": b"a\0ERROR\n\0\0\nERROR\0b\n" * 10_000 + b"\0",
    "no text at all": random.randbytes(3_000_000),
    "carriage returns": b"ERROR\r\nERR\rOR\r\n" * 50_000,
    "bytes that are no UTF-8": b"\xff\xfeERROR\n\xe9\n\xc3\xa9\n" * 20_000,
    "a match in every line": b"ERROR\n" * 500_000,
}
PATTERNS = [b"ERROR", b"message 99", b"", b"\xe9", b"not there", b"-e", b".*"]


def run(*arguments: str | bytes | Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, timeout=60, check=False, **options)


def grep(pattern: bytes, path: Path) -> int:
    command = ["grep", "-acF", "-e", pattern, "--", path]
    return int(subprocess.run(command, capture_output=True, env={**os.environ, "LC_ALL": "C"}, check=False).stdout)


class Failure(Exception):
    pass


def expect(good: bool, done: subprocess.CompletedProcess, why: str) -> None:
    if not good:
        raise Failure(f"{why}: ended {done.returncode}, wrote {done.stdout[:500]!r} and {done.stderr[:500]!r}")


def expect_refusal(done: subprocess.CompletedProcess, status: int, *words: bytes) -> None:
    expect(done.returncode == status, done, f"wanted exit status {status}")
    expect(done.stdout == b"", done, "wanted no output")
    expect(done.stderr.startswith(b"log_search: ") and done.stderr.count(b"\n") == 1, done, "wanted one line of error")
    for word in words:
        expect(word in done.stderr, done, f"wanted {word!r}")


def counts_as_grep(directory: Path, shape: bytes) -> None:
    path = directory / "a log with spaces.log"
    path.write_bytes(shape)
    for pattern in PATTERNS:
        done = run("--json", "--", path, pattern)
        expect(done.returncode == 0, done, f"pattern {pattern!r}")
        report = json.loads(done.stdout)
        expect(report["pattern"].encode("latin-1") == pattern, done, "wanted the pattern")
        counts = [report[who]["matches"] for who in ("all_cores", "one_core", "grep")]
        expect(counts == [grep(pattern, path)] * 3, done, f"pattern {pattern!r} gave {counts}")
        expect(sum(slot["bytes"] for slot in report["slots"]) == len(shape), done, "wanted every byte once")


def takes_any_number_of_slices(directory: Path) -> None:
    path = directory / "log"
    path.write_bytes(SHAPES["a log without its last newline"])
    for slices in ("1", "2", "7", "100", "10000"):
        done = run("--json", "--workers", "2", "--slices", slices, path, "ERROR")
        expect(json.loads(done.stdout)["all_cores"]["matches"] == grep(b"ERROR", path), done, f"{slices} slices")


def prints_plain_rows_into_a_pipe(directory: Path) -> None:
    path = directory / "log"
    path.write_bytes(SHAPES["a log"])
    done = run(path, "ERROR")
    expect(done.returncode == 0 and done.stderr == b"", done, "wanted a quiet success")
    expect(b"\x1b" not in done.stdout and "█".encode() not in done.stdout, done, "wanted neither colour nor bars")
    for word in (b"tarn, ", b"one core", b"grep -acF", b"slot", b"B/s"):
        expect(word in done.stdout, done, f"wanted {word!r}")


def on_terminal(path: Path, **environment: str) -> bytes:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [PROGRAM, path, "ERROR"], stdout=theirs, stderr=theirs,
        env={**os.environ, "TERM": "xterm", "LC_ALL": "C.UTF-8", **environment},
    )
    os.close(theirs)
    output = b""
    try:
        while part := os.read(ours, 65536):
            output += part
    except OSError:  # the other end is closed
        pass
    os.close(ours)
    if process.wait(60) != 0:
        raise Failure(f"ended {process.returncode}, wrote {output!r}")
    return output


def prints_bars_on_a_terminal(directory: Path) -> None:
    path = directory / "log"
    path.write_bytes(SHAPES["a log"])
    output = on_terminal(path)
    if "█".encode() not in output or b"\x1b[36m" not in output:
        raise Failure(f"no bars or no colour: {output!r}")
    output = on_terminal(path, NO_COLOR="1")
    if "█".encode() not in output or b"\x1b[36m" in output:
        raise Failure(f"no bars, or colour in spite of NO_COLOR: {output!r}")


def makes_the_sample_log_once(directory: Path) -> None:
    environment = {**os.environ, "XDG_CACHE_HOME": str(directory)}
    first = run("--json", env=environment)
    expect(first.returncode == 0, first, "wanted the sample log")
    report = json.loads(first.stdout)
    expect(report["file"].startswith(str(directory)), first, "wanted it in XDG_CACHE_HOME")
    expect(3_300_000 < report["all_cores"]["matches"] < 3_370_000, first, "wanted an error in every third line")
    second = run("--json", env=environment)
    expect(second.stderr == b"", second, "wanted it made only once")
    expect(json.loads(second.stdout)["all_cores"]["matches"] == report["all_cores"]["matches"], second, "wanted the same")
    expect(len(list((directory / "tarn").iterdir())) == 1, second, "wanted nothing beside it")


def refuses_what_is_no_file(directory: Path) -> None:
    expect_refusal(run(directory, "x"), 1, str(directory).encode())
    expect_refusal(run(directory / "missing", "x"), 1, b"missing")
    expect_refusal(run("/dev/null", "x"), 1)
    (directory / "fifo").unlink(missing_ok=True)
    os.mkfifo(directory / "fifo")
    expect_refusal(run(directory / "fifo", "x"), 1)


def refuses_an_unreadable_file(directory: Path) -> None:
    path = directory / "unreadable"
    path.write_bytes(b"ERROR\n")
    path.chmod(0)
    options: dict = {}
    if os.getuid() == 0:  # whom no permission stops
        directory.chmod(0o755)
        options = {"user": 65534, "group": 65534, "extra_groups": []}
    try:
        done = run(path, "x", **options)
    except PermissionError:
        return  # the program itself is out of that user's reach
    expect_refusal(done, 1)


def refuses_wrong_usage(directory: Path) -> None:
    expect_refusal(run("--workers"), 2, b"--workers")
    expect_refusal(run("--workers", "0"), 2, b"--workers")
    expect_refusal(run("--slices", "many"), 2, b"--slices", b"many")
    expect_refusal(run("--nonsense"), 2, b"--nonsense")
    expect_refusal(run("a", "b", "c"), 2)
    expect_refusal(run(""), 2)
    expect_refusal(run("/etc/passwd", "one\ntwo"), 2, b"newline")
    helped = run("--help")
    expect(helped.returncode == 0 and helped.stdout.startswith(b"usage: log_search"), helped, "wanted help")


def while_searching(directory: Path, change: Callable[[Path], None]) -> None:
    """Changes the file at some time of the search; expects the right count, or one line that says why not."""
    whole = SHAPES["a log"] * 4
    for delay_ms in range(0, 100, 5):
        path = directory / "changing"
        path.write_bytes(whole)
        timer = threading.Timer(delay_ms / 1000, change, [path])
        timer.start()
        done = run("--json", path, "ERROR")
        timer.join()
        if done.returncode == 0:
            matches = json.loads(done.stdout)["all_cores"]["matches"]
            expect(0 <= matches <= whole.count(b"ERROR"), done, "wanted a count of that file")
        else:
            expect(done.returncode == 1 and done.stderr.count(b"\n") == 1, done, f"changed after {delay_ms} ms")


def vanish(path: Path) -> None:
    path.unlink(missing_ok=True)


def shrink(path: Path) -> None:
    os.truncate(path, 5000)


def main() -> None:
    tests: list[tuple[str, Callable[[Path], None]]] = [
        (f"counts as grep does: {name}", lambda directory, shape=shape: counts_as_grep(directory, shape))
        for name, shape in SHAPES.items()
    ]
    tests += [
        (test.__name__.replace("_", " "), test)
        for test in (
            takes_any_number_of_slices,
            prints_plain_rows_into_a_pipe,
            prints_bars_on_a_terminal,
            makes_the_sample_log_once,
            refuses_what_is_no_file,
            refuses_an_unreadable_file,
            refuses_wrong_usage,
        )
    ]
    tests += [
        ("survives a file that vanishes", lambda directory: while_searching(directory, vanish)),
        ("survives a file that shrinks", lambda directory: while_searching(directory, shrink)),
    ]
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        start = time.monotonic()
        with tempfile.TemporaryDirectory() as directory:
            try:
                test(Path(directory))
                print(f"ok {number} - {name} # {time.monotonic() - start:.1f} s", flush=True)
            except (Failure, subprocess.TimeoutExpired, ValueError, KeyError) as failure:
                print(f"not ok {number} - {name}", flush=True)
                for line in str(failure).splitlines():
                    print("#", line, flush=True)


if __name__ == "__main__":
    main()
