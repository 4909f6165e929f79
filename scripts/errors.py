#!/usr/bin/env python3
"""Turns the list of errors in include/tarn/tarn.h into what is made from it.

    scripts/errors.py --page [FILE]     writes docs/errors.md
    scripts/errors.py --check [FILE]    ends 1 if the page is not what --page would write
    scripts/errors.py --table FILE      writes the table that tarn_strerror is compiled from

The enum is the only place where a code, its meaning and the advice are written down.
"""

import argparse
import re
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
HEADER = ROOT / "include/tarn/tarn.h"
EXCEPTIONS = ROOT / "include/tarn/error.hpp"

# Codes that only tasks fail with.
OF_TASKS = ("TARN_E_TASK_FAILED", "TARN_E_WORKER_CRASHED", "TARN_E_DEPENDENCY")
PAGE = ROOT / "docs/errors.md"

ENTRY = re.compile(r"\s*(TARN_\w+) = (-?\d+),?\s*/\* (.*?) \| (.*?) \*/\s*")


@dataclass(frozen=True)
class Entry:
    name: str
    code: int
    meaning: str
    advice: str


def read_entries(header: str) -> list[Entry]:
    found = re.search(r"^enum tarn_error \{\n(.*?)^\};", header, re.MULTILINE | re.DOTALL)
    if not found:
        sys.exit("errors.py: tarn.h has no enum tarn_error")
    entries = []
    for line in found[1].splitlines():
        parts = ENTRY.fullmatch(line)
        if not parts:
            sys.exit(f"errors.py: not of the form NAME = number, /* meaning | what to do */: {line.strip()}")
        entries.append(Entry(parts[1], int(parts[2]), parts[3].strip(), parts[4].strip()))
    # The table is indexed by -code, and numbers are never given twice.
    for number, entry in enumerate(entries):
        if entry.code != -number:
            sys.exit(f"errors.py: {entry.name} is {entry.code}; the next number is {-number}")
    return entries


def read_exceptions(header: str) -> dict[str, str]:
    """Which class error.hpp throws for a code, by name; tarn::error for all others."""
    exceptions = dict.fromkeys(OF_TASKS, "task_error")
    for cases, exception in re.findall(r"((?:case TARN_\w+:\s*)+)throw (\w+)\(", header):
        for name in re.findall(r"TARN_\w+", cases):
            exceptions[name] = exception
    if len(exceptions) == len(OF_TASKS):
        sys.exit("errors.py: error.hpp throws nothing for any code")
    return exceptions


def page(entries: list[Entry]) -> str:
    exceptions = read_exceptions(EXCEPTIONS.read_text(encoding="utf-8"))
    rows = "".join(
        f"| {entry.code} | `{entry.name}` | `{exceptions.get(entry.name, 'error')}` | {entry.meaning} | {entry.advice} |\n"
        if entry.code != 0
        else f"| {entry.code} | `{entry.name}` | | {entry.meaning} | {entry.advice} |\n"
        for entry in entries
    )
    return (
        "# Errors\n\n"
        "Made from the list in `include/tarn/tarn.h` by `scripts/errors.py --page`; change them there.\n\n"
        "Every call of `tarn.h` returns 0 or one of these codes. A number keeps its meaning for ever, and new ones are added at the\n"
        "end. `tarn_strerror(code)` returns the meaning, `tarn_error_name(code)` the name; `tarn_last_error()` says what happened in\n"
        "this thread's last failed call, to what, and what to do.\n\n"
        "After `tarn_close` a client is freed: to use it is undefined in C, may crash, and gives no code. A variable set to NULL\n"
        "gives `TARN_E_NOT_INITIALISED`; so do the objects, futures and the client of C++, which know that it was closed.\n\n"
        "In C++ they arrive as the exception `tarn::` of the third column, which is a `tarn::error`. What went wrong inside a task\n"
        "arrives as a `tarn::task_error`, with the code that the task gave, whatever number it is.\n\n"
        "| code | name | C++ | meaning | what to do |\n|---:|---|---|---|---|\n" + rows
    )


def table(entries: list[Entry]) -> str:
    def quoted(text: str) -> str:
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    head = "// {code, name, meaning, what to do}, in the order of -code. Made by scripts/errors.py from tarn.h.\n"
    return head + "".join(
        f"{{{entry.code}, {quoted(entry.name)}, {quoted(entry.meaning)}, {quoted(entry.advice)}}},\n"
        for entry in entries
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Makes the error page and the error table from tarn.h.")
    parser.add_argument("--header", type=Path, default=HEADER)
    action = parser.add_mutually_exclusive_group(required=True)
    action.add_argument("--page", type=Path, nargs="?", const=PAGE, metavar="FILE")
    action.add_argument("--check", type=Path, nargs="?", const=PAGE, metavar="FILE")
    action.add_argument("--table", type=Path, metavar="FILE")
    arguments = parser.parse_args()

    entries = read_entries(arguments.header.read_text(encoding="utf-8"))
    if arguments.page:
        arguments.page.write_text(page(entries), encoding="utf-8")
    elif arguments.table:
        arguments.table.write_text(table(entries), encoding="utf-8")
    elif not arguments.check.exists() or arguments.check.read_text(encoding="utf-8") != page(entries):
        print(f"{arguments.check} is not what tarn.h says; run scripts/errors.py --page")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
