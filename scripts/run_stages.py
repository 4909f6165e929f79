#!/usr/bin/env python3
"""Runs the stages of scripts/test and counts what passed and failed.

A stage is a build configuration (scripts/build), the Meson test suites to run in it, or a command. Each test program's
own tests are counted one by one (GoogleTest, TAP); a program without such a report counts as one. A stage that finds
nothing to run has failed: a suite that vanished must not look like success.
"""

import argparse
import json
import os
import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build"

# Results of Meson that do not fail a run.
GOOD_RESULTS = {"OK", "SKIP", "EXPECTEDFAIL"}

# Sanitizers stop at the first finding, so that it fails the test that met it.
SANITIZER_ENVIRONMENT = {
    "ASAN_OPTIONS": "halt_on_error=1:detect_stack_use_after_return=1:strict_string_checks=1",
    "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
    "TSAN_OPTIONS": "halt_on_error=1:second_deadlock_stack=1",
}


@dataclass
class Outcome:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    notes: list[str] = field(default_factory=list)

    def fail(self, note: str) -> None:
        self.failed += 1
        self.notes.append(note)


@dataclass
class Stage:
    name: str
    proves: str
    run: Callable[["Stage", bool], Outcome]
    quick: bool = False  # runs with --quick, too
    configuration: str = ""
    suites: tuple[str, ...] = ()
    build: str = "needed"  # what is built first: "all", what the suites need, or "nothing"
    slower: int = 1  # times as slow as a plain build, for time limits
    root: bool = False  # left out where this is not run by root
    command: tuple[str, ...] = ()
    command_quick: tuple[str, ...] = ()


def call(command: list[str], **environment: str) -> int:
    return subprocess.run(
        command, cwd=ROOT, stdin=subprocess.DEVNULL, env={**os.environ, **environment}
    ).returncode


def tests_of(directory: Path, suites: tuple[str, ...]) -> list[str]:
    """Returns the names of the tests that a configured build directory has in these suites."""
    tests = json.loads((directory / "meson-info" / "intro-tests.json").read_text())
    return [
        test["name"]
        for test in tests
        if any(suite.split(":")[-1] in suites for suite in test["suite"])
    ]


def read_report(directory: Path, stage: str) -> Outcome:
    """Counts the single tests in Meson's reports of one run."""
    outcome = Outcome()
    report = directory / "meson-logs" / f"{stage}.junit.xml"
    failed_programs = set()
    for suite in ElementTree.parse(report).getroot().iter("testsuite"):
        for case in suite.iter("testcase"):
            name = f"{suite.get('name')}: {case.get('name')}"
            if case.find("failure") is not None or case.find("error") is not None:
                outcome.fail(name)
                # A suite is called PROJECT.PROGRAM.SUITE or PROJECT.PROGRAM; PROJECT alone if the case is the program.
                parts = (suite.get("name") or "").split(".")
                program = parts[1] if len(parts) > 1 else case.get("name") or ""
                failed_programs.add(program.split(" / ")[-1])
            elif (skipped := case.find("skipped")) is not None:
                outcome.skipped += 1
                # GoogleTest puts the place before the reason.
                reason = (skipped.get("message") or "").strip().splitlines()
                outcome.notes.append(f"skipped {name}: {reason[-1] if reason else 'no reason given'}")
            elif case.get("status") == "notrun":
                outcome.skipped += 1
                outcome.notes.append(f"skipped {name}: run by another test")
            else:
                outcome.passed += 1
    # A program may fail with no failed test in its report: it crashed, leaked at exit, or ran out of time.
    for line in (directory / "meson-logs" / f"{stage}.json").read_text().splitlines():
        test = json.loads(line)
        program = test["name"].split(" / ")[-1]
        if test["result"] not in GOOD_RESULTS and program not in failed_programs:
            outcome.fail(f"{program}: {test['result'].lower()}")
    return outcome


def run_suites(stage: Stage, quick: bool) -> Outcome:
    directory = BUILD / stage.configuration
    targets = [] if stage.build == "all" else ["none"]
    if call(["scripts/build", stage.configuration, *targets]) != 0:
        return Outcome(failed=1, notes=[f"{stage.configuration} does not build"])
    if not tests_of(directory, stage.suites):
        return Outcome(failed=1, notes=["no test in suite " + ", ".join(stage.suites)])
    # A report of an earlier run must not stand in for one that this run fails to write.
    for old in [*directory.glob("*.xml"), *(directory / "meson-logs").glob(f"{stage.name}.*")]:
        old.unlink()
    command = ["meson", "test", "-C", str(directory), "--logbase", stage.name, "--print-errorlogs"]
    command += ["--timeout-multiplier", str(stage.slower)]
    if stage.build != "needed":
        command.append("--no-rebuild")
    for suite in stage.suites:
        command += ["--suite", suite]
    status = call(command, **SANITIZER_ENVIRONMENT)
    if not (directory / "meson-logs" / f"{stage.name}.junit.xml").exists():
        return Outcome(failed=1, notes=[f"{stage.configuration} does not build"])
    outcome = read_report(directory, stage.name)
    if status != 0 and outcome.failed == 0:
        outcome.fail(f"meson test ended {status}")
    if outcome.passed + outcome.failed == 0:
        outcome.fail("everything was skipped")
    return outcome


def run_command(stage: Stage, quick: bool) -> Outcome:
    command = list(quick and stage.command_quick or stage.command)
    if not (ROOT / command[0]).exists():
        return Outcome(failed=1, notes=[f"{command[0]} is missing"])
    if call(command) != 0:
        return Outcome(failed=1, notes=[" ".join(command)])
    return Outcome(passed=1)


STAGES = [
    Stage(
        "tidy", "the repository keeps its own rules", run_suites, quick=True,
        configuration="gcc", suites=("tidy",), build="nothing",
    ),
    Stage(
        "gcc", "everything builds without a warning and works", run_suites, quick=True,
        configuration="gcc", suites=("unit", "conformance", "integration", "regression", "fuzz"), build="all",
    ),
    Stage(
        "fault", "killed and stopped processes cost nobody else anything", run_suites, quick=True,
        configuration="gcc", suites=("fault",),
    ),
    Stage(
        "kill", "a process may be killed or stopped at any operation on shared memory and any message", run_suites,
        configuration="kill", suites=("fault",),
    ),
    Stage(
        "model", "the shared state machines, in every interleaving", run_suites,
        configuration="gcc", suites=("model",),
    ),
    Stage(
        "sim", "random histories on virtual time obey their rules", run_suites,
        configuration="gcc", suites=("sim",),
    ),
    Stage(
        "abi", "header, map and library agree; libtarn needs the C library only", run_suites, quick=True,
        configuration="gcc", suites=("abi",),
    ),
    Stage(
        "consumer", "programs outside the tree use the installed library", run_suites, quick=True,
        configuration="gcc", suites=("consumer",),
    ),
    Stage(
        "bench", "every benchmark runs, at its smallest size", run_suites, quick=True,
        configuration="gcc", suites=("bench",),
    ),
    Stage(
        "storm", "random kills under load: nothing hung, lost, doubled or leaked", run_command,
        command=("scripts/storm", "--kills", "200"), command_quick=("scripts/storm", "--kills", "20"),
    ),
    Stage(
        "storm-task", "the same with tasks alone, graphs and streams among them", run_command,
        command=("scripts/storm", "--only", "task", "--kills", "500"),
    ),
    Stage(
        "storm-store", "the same with objects: nothing unreadable, no memory that stays", run_command,
        command=("scripts/storm", "--only", "store", "--kills", "500"),
    ),
    Stage(
        "hostile", "a hostile user of a shared host is felt by nobody else", run_suites,
        configuration="gcc", suites=("hostile",), root=True,
    ),
    Stage(
        "asan", "no bad access, leak or undefined behaviour", run_suites,
        configuration="asan", suites=("unit", "conformance", "integration", "regression"), slower=4,
    ),
    Stage(
        "tsan", "no data race, with workers as threads", run_suites,
        configuration="tsan", suites=("unit", "conformance"), slower=8,
    ),
    Stage(
        "clang", "the second compiler agrees, without a warning", run_suites,
        configuration="clang", suites=("unit", "conformance", "fuzz"), build="all",
    ),
    Stage(
        "fuzz", "hostile bytes are refused", run_suites,
        configuration="fuzz", suites=("fuzz",), slower=4,
    ),
]


def say(text: str) -> None:
    print(text, flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/test", description="Sets up, builds, and runs every test.")
    parser.add_argument("--quick", action="store_true", help="leave out sanitizers, clang, models, fuzzing, the storms and the hostile user")
    parser.add_argument("--only", action="append", default=[], metavar="STAGE", help="run this stage; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the stages and what each proves")
    arguments = parser.parse_args()

    if arguments.list:
        for stage in STAGES:
            say(f"{stage.name:11} {stage.proves}")
        return 0
    unknown = set(arguments.only) - {stage.name for stage in STAGES}
    if unknown:
        parser.error("no such stage: " + ", ".join(sorted(unknown)))
    chosen = [
        stage
        for stage in STAGES
        if (stage.name in arguments.only if arguments.only else stage.quick or not arguments.quick)
    ]

    total = Outcome()
    rows = []
    for stage in chosen:
        say(f"\n=== {stage.name}: {stage.proves}")
        if stage.root and os.geteuid() != 0:
            say(f"{stage.name} is left out: it needs root, to be several users")
            rows.append(f"{stage.name:11} left out: needs root")
            continue
        start = time.monotonic()
        outcome = stage.run(stage, arguments.quick)
        seconds = time.monotonic() - start
        verdict = "FAILED" if outcome.failed else "ok"
        rows.append(
            f"{stage.name:11} {verdict:7} {outcome.passed:5} passed {outcome.failed:4} failed"
            f" {outcome.skipped:4} skipped {seconds:7.1f} s"
        )
        rows += [f"           - {note}" for note in outcome.notes]
        total.passed += outcome.passed
        total.failed += outcome.failed
    say("\n=== outcome")
    for row in rows:
        say(row)
    say(f"{total.passed} passed, {total.failed} failed")
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
