#!/usr/bin/env python3
"""Runs the SPIN models of this folder, and expects each mutation of them to be found. Prints TAP.

    run.py [--long] [--only NAME]

Without spin or a C compiler, one line says so and the test is skipped. A trail of what went wrong is left as text in
the current directory.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Case:
    name: str
    model: str
    defines: dict[str, int]
    ltl: str = ""  # a property with weak fairness; otherwise assertions and end states
    holds: bool = True
    is_long: bool = False


CASES = [
    Case("one lane, two crashes of anybody", "session.pml", {"CRASHES": 2}),
    Case("two lanes, one crash of a worker", "session.pml", {"CRASHES": 1, "LANES": 2, "CLIENT_MAY_DIE": 0, "TARND_MAY_DIE": 0,
                                                                  "MAY_CLOSE": 0}),
    Case("two lanes, one crash of anybody", "session.pml", {"CRASHES": 1, "LANES": 2}, is_long=True),
    Case("one lane, two crashes of workers, never closed", "session.pml",
         {"CRASHES": 2, "CLIENT_MAY_DIE": 0, "TARND_MAY_DIE": 0, "MAY_CLOSE": 0}),
    Case("who waits is answered, one crash of anybody", "session.pml", {"CRASHES": 1}, ltl="answered"),
    Case("two lanes, one crash, answered", "session.pml", {"CRASHES": 1, "LANES": 2}, ltl="answered", is_long=True),
    Case("mutation: an index is used again before it is recovered", "session.pml", {"MUTATION": 1}, holds=False),
    Case("mutation: an order is not passed on when the replacement dies", "session.pml", {"MUTATION": 2}, holds=False),
    Case("mutation: a worker reports before it has recovered", "session.pml", {"MUTATION": 3}, holds=False),
    Case("mutation: workers are replaced while the session ends", "session.pml", {"MUTATION": 4}, holds=False),
    Case("mutation: the client's socket is closed before workers are reaped", "session.pml", {"MUTATION": 5}, holds=False),
]


def check(case: Case) -> tuple[bool, str]:
    """Returns whether it came out as expected, and a line about it."""
    with tempfile.TemporaryDirectory() as folder:
        defines = [f"-D{name}={value}" for name, value in case.defines.items()]
        shutil.copy(HERE / case.model, folder)

        def run(*command: str) -> str:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
            return done.stdout + done.stderr

        said = run("spin", *defines, "-a", case.model)
        if not (Path(folder) / "pan.c").exists():
            return False, "spin: " + said.strip()
        said = run("cc", "-O1", "-w", "-DCOLLAPSE", *([] if case.ltl else ["-DSAFETY", "-DNOCLAIM"]),
                   *(["-DNFAIR=3"] if case.ltl else []), "-o", "pan", "pan.c")
        if not (Path(folder) / "pan").exists():
            return False, "cc: " + said.strip()
        said = run("./pan", "-m200000", "-w22", *(["-a", "-f", "-N", case.ltl] if case.ltl else []))
        errors = re.search(r"errors: (\d+)", said)
        states = re.search(r"(\d+) states, stored", said)
        if errors is None or states is None or "max search depth too small" in said or "out of memory" in said:
            return False, "the search did not come to its end: " + said[-2000:]
        found = int(errors[1]) != 0
        line = f"{states[1]} states, {'violated' if found else 'holds'}"
        if found:
            line += ": " + (re.search(r"pan:1: (.*?) \(at depth", said) or re.search(r"(acceptance cycle)", said) or [0, "?"])[1]
        if found and case.holds:
            trail = run("spin", *defines, "-t", "-p", "-g", case.model)
            Path(f"{re.sub(r'[^a-z0-9]+', '_', case.name)}.trail.txt").write_text(trail)
        return found != case.holds, line


def main() -> int:
    parser = argparse.ArgumentParser(description="Runs the SPIN models.")
    parser.add_argument("--long", action="store_true", help="the long cases, too")
    parser.add_argument("--only", help="cases with this in their name")
    arguments = parser.parse_args()
    missing = [tool for tool in ("spin", "cc") if shutil.which(tool) is None]
    if missing:
        print(f"1..0 # SKIP {' and '.join(missing)} not installed: the state machines are not checked")
        return 0
    cases = [case for case in CASES if (arguments.long or not case.is_long) and (arguments.only or "") in case.name]
    print(f"1..{len(cases)}")
    failed = 0
    with ThreadPoolExecutor(max_workers=min(2, os.cpu_count() or 1)) as pool:
        for number, (case, (good, line)) in enumerate(zip(cases, pool.map(check, cases)), 1):
            print(f"{'ok' if good else 'not ok'} {number} - {case.name}: {line}".replace("\n", " "), flush=True)
            failed += not good
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
