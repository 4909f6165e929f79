#!/usr/bin/env python3
"""Lint of the repository, run as a test (suite tidy).

    scripts/tidy.py [--tap] [--root DIR]

Prints every violation as FILE:LINE: what, and ends 1 if there is one. The rooms and what each may include are read from
the table in ARCHITECTURE.md, so that the page and the code cannot drift apart.
"""

import argparse
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

LINES_MAX = 1000

SOURCES = (".cpp", ".c")
HEADERS = (".hpp", ".h")

# How an include names a library, and what ARCHITECTURE.md calls it.
LIBRARIES = {
    r"hwloc(/|\.h)": "hwloc",
    r"toml\+\+/": "toml++",
    r"spdlog/": "spdlog",
    r"fmt/": "fmt",
    r"CLI/": "CLI11",
    r"nlohmann/": "nlohmann-json",
    r"boost/": "Boost",
    r"systemd/": "libsystemd",
    r"g(test|mock)/": "GoogleTest",
    r"benchmark/": "Google Benchmark",
}

# Folders from which a quoted or angled include may start.
INCLUDE_ROOTS = ("src", "include", "daemon", "tests", "bench", "clients/cli", "")

INCLUDE = re.compile(r'\s*#\s*include\s*([<"])([^">]+)[">]')

# Written so that these lines do not match themselves.
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
FOREIGN = {
    "path of one machine": re.compile(r"(?<![\w.$}*])/(?:work|root|home/\w+)/\w"),
    "package host": re.compile(r"https?://[\w.-]*(?:pypi|pythonhosted|deb\.debian|mirror|artifactory|proxy)[\w.-]*"),
}

# Texts that are not ours to format, and data.
FOREIGN_FILES = ("LICENSE",)
DATA_FOLDERS = ("tests/fuzz/", "bench/history/", "docs/benchmarks/")


@dataclass(frozen=True)
class Violation:
    file: PurePosixPath
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.what}"


@dataclass(frozen=True)
class Room:
    name: str  # its folder, such as src/shm
    may_use: frozenset[str]
    libraries: frozenset[str]
    line: int  # in ARCHITECTURE.md


class Repository:
    """The files that git tracks or would track, read once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def files(self) -> list[PurePosixPath]:
        listed = subprocess.run(
            ["git", "-C", self.root, "-c", f"safe.directory={self.root}",
             "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            check=True, capture_output=True, text=True,
        ).stdout
        names = [PurePosixPath(name) for name in listed.split("\0") if name]
        return sorted(name for name in names if (self.root / name).is_file())

    @cached_property
    def texts(self) -> dict[PurePosixPath, str]:
        texts = {}
        for file in self.files:
            if str(file).startswith(DATA_FOLDERS) and file.suffix not in (*SOURCES, *HEADERS, ".build", ".py", ".md"):
                continue
            try:
                texts[file] = (self.root / file).read_text(encoding="utf-8")
            except UnicodeDecodeError:
                continue  # a binary file
        return texts

    def code(self, *suffixes: str) -> Iterator[tuple[PurePosixPath, str]]:
        for file, text in self.texts.items():
            if file.suffix in suffixes:
                yield file, text

    @cached_property
    def rooms(self) -> dict[str, Room]:
        """Parses the table of ARCHITECTURE.md: | `room` | what | may use | libraries |."""
        rooms = {}
        for number, line in enumerate(self.texts[PurePosixPath("ARCHITECTURE.md")].splitlines(), 1):
            cells = [cell.strip() for cell in line.strip().strip("|").split("|")]
            name = re.fullmatch(r"`([\w/]+)/`", cells[0])
            if not line.startswith("|") or not name or len(cells) < 4:
                continue
            may_use = frozenset(found.rstrip("/") for found in re.findall(r"`([\w/]+)`", cells[2]))
            libraries = frozenset(found.strip() for found in cells[3].split(",")) - {""}
            rooms[name[1]] = Room(name[1], may_use, libraries, number)
        return rooms

    def room_of(self, file: PurePosixPath) -> Room | None:
        for folder in file.parents:
            if str(folder) in self.rooms:
                return self.rooms[str(folder)]
        return None

    @cached_property
    def generated(self) -> set[str]:
        """The names of the headers that Meson writes."""
        return {
            name
            for file, text in self.texts.items() if file.name == "meson.build"
            for name in re.findall(r"output: '([\w.]+)'", text)
        }

    @cached_property
    def names(self) -> set[str]:
        """The names of all files, for an include that is found by a search path of one target (tests/model)."""
        return {file.name for file in self.texts}

    def resolve(self, file: PurePosixPath, included: str) -> PurePosixPath | None:
        for start in (file.parent, *map(PurePosixPath, INCLUDE_ROOTS)):
            parts: list[str] = []
            for part in (start / included).parts:
                if part == ".." and parts:
                    parts.pop()
                else:
                    parts.append(part)
            candidate = PurePosixPath(*parts)
            if candidate in self.texts:
                return candidate
        return None


def includes(text: str) -> Iterator[tuple[int, bool, str]]:
    """Yields line number, whether quoted, and name of every include."""
    for number, line in enumerate(text.splitlines(), 1):
        if found := INCLUDE.match(line):
            yield number, found[1] == '"', found[2]


def rooms_are_described(repo: Repository) -> Iterator[Violation]:
    page = PurePosixPath("ARCHITECTURE.md")
    folders = {str(parent) for file in repo.files for parent in file.parents}
    for room in repo.rooms.values():
        if room.name not in folders:
            yield Violation(page, room.line, f"there is no {room.name}/")
        for used in sorted(room.may_use - set(repo.rooms)):
            yield Violation(page, room.line, f"{room.name} may use {used}, which is not a room")
    for file, _ in repo.code(*SOURCES, *HEADERS):
        if repo.room_of(file) is None:
            yield Violation(file, 1, "belongs to no room of ARCHITECTURE.md")
    # The direction is only a direction if there is no way back.
    order: list[str] = []
    waiting = dict(repo.rooms)
    while waiting:
        free = [name for name, room in waiting.items() if room.may_use <= {name, *order}]
        if not free:
            yield Violation(page, 1, "rooms that use one another in a circle: " + ", ".join(waiting))
            return
        order += free
        for name in free:
            del waiting[name]


def includes_follow_the_rooms(repo: Repository) -> Iterator[Violation]:
    for file, text in repo.code(*SOURCES, *HEADERS):
        room = repo.room_of(file)
        if room is None:
            continue
        for number, quoted, included in includes(text):
            target = repo.resolve(file, included)
            if target is not None:
                other = repo.room_of(target)
                if other and other.name != room.name and other.name not in room.may_use:
                    yield Violation(file, number, f"{room.name} may not use {other.name} ({included})")
            elif quoted and PurePosixPath(included).name not in repo.generated | repo.names:
                yield Violation(file, number, f"includes {included}, which is not in the repository")
            else:
                for pattern, library in LIBRARIES.items():
                    if re.match(pattern, included) and library not in room.libraries:
                        yield Violation(file, number, f"{room.name} may not use {library} ({included})")


def files_are_short(repo: Repository) -> Iterator[Violation]:
    for file, text in repo.code(*SOURCES, *HEADERS, ".py", ".build", ".pml"):
        count = len(text.splitlines())
        if count > LINES_MAX:
            yield Violation(file, LINES_MAX + 1, f"{count} lines; split it by noun or event ({LINES_MAX} at most)")


def whitespace_is_clean(repo: Repository) -> Iterator[Violation]:
    for file, text in repo.texts.items():
        if str(file) in FOREIGN_FILES:
            continue
        for number, line in enumerate(text.split("\n"), 1):
            if "\t" in line:
                yield Violation(file, number, "tab")
            if line != line.rstrip():
                yield Violation(file, number, "space at the end of the line")
        if text and not text.endswith("\n"):
            yield Violation(file, len(text.splitlines()), "no newline at the end")
        if text.endswith("\n\n"):
            yield Violation(file, len(text.splitlines()), "empty line at the end")


def nothing_is_left_for_later(repo: Repository) -> Iterator[Violation]:
    for file, text in repo.texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if found := UNFINISHED.search(line):
                yield Violation(file, number, f"{found[0]} left")


def is_listed(name: str, quoted: set[str]) -> bool:
    """Returns whether a meson.build names a file: as 'ring_test.cpp', or in a loop as name + '_test.cpp' or name / 'x.cpp'."""
    return name in quoted or any(
        rest in quoted or rest.removeprefix("/") in quoted
        for start in quoted if start and name.startswith(start) for rest in [name[len(start):]]
    )


def files_are_used(repo: Repository) -> Iterator[Violation]:
    listed = {
        file.parent: set(re.findall(r"'([^'\n]*)'", text))
        for file, text in repo.texts.items() if file.name == "meson.build"
    }
    for file, _ in repo.code(*SOURCES):
        folders = [folder for folder in file.parents if folder in listed]
        if not any(is_listed(str(file.relative_to(folder)), listed[folder]) for folder in folders):
            yield Violation(file, 1, "in no meson.build")
    included = {
        repo.resolve(file, name)
        for file, text in repo.code(*SOURCES, *HEADERS) for _, _, name in includes(text)
    }
    for file, _ in repo.code(*HEADERS):
        if file not in included and not str(file).startswith("include/"):
            yield Violation(file, 1, "included by nobody")


def headers_are_guarded(repo: Repository) -> Iterator[Violation]:
    for file, text in repo.code(*HEADERS):
        # A public C header is also read by compilers for which #pragma once is an extension.
        guarded = file.suffix == ".h" and re.search(r"^#ifndef (\w+)\n#define \1$", text, re.MULTILINE)
        if not guarded and not re.search(r"^#pragma once$", text, re.MULTILINE):
            yield Violation(file, 1, "no #pragma once")


def texts_speak_of_the_project_alone(repo: Repository) -> Iterator[Violation]:
    for file, text in repo.texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            for what, pattern in FOREIGN.items():
                if found := pattern.search(line):
                    yield Violation(file, number, f"{what}: {found[0]}")


def scripts_parse(repo: Repository) -> Iterator[Violation]:
    for file, text in repo.texts.items():
        first = text.split("\n", 1)[0]
        if first.startswith("#!") and not (repo.root / file).stat().st_mode & 0o100:
            yield Violation(file, 1, "starts with #! but is not executable")
        if file.suffix == ".py":
            try:
                compile(text, str(file), "exec")
            except SyntaxError as error:
                yield Violation(file, error.lineno or 1, f"does not parse: {error.msg}")
        elif re.match(r"#!.*\b(?:ba)?sh\b", first):
            done = subprocess.run(["bash", "-n", repo.root / file], capture_output=True, text=True, check=False)
            if done.returncode != 0:
                number = re.search(r"line (\d+)", done.stderr)
                yield Violation(file, int(number[1]) if number else 1, f"does not parse: {done.stderr.strip()}")


RULES: list[Callable[[Repository], Iterator[Violation]]] = [
    rooms_are_described,
    includes_follow_the_rooms,
    files_are_short,
    whitespace_is_clean,
    nothing_is_left_for_later,
    files_are_used,
    headers_are_guarded,
    texts_speak_of_the_project_alone,
    scripts_parse,
]


def main() -> int:
    parser = argparse.ArgumentParser(description="Lint of the repository.")
    parser.add_argument("--tap", action="store_true", help="report each rule as a test, in TAP")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    arguments = parser.parse_args()

    repo = Repository(arguments.root)
    if arguments.tap:
        print(f"1..{len(RULES)}")
    broken = 0
    for number, rule in enumerate(RULES, 1):
        violations = list(rule(repo))
        broken += len(violations)
        if arguments.tap:
            print(f"{'not ok' if violations else 'ok'} {number} - {rule.__name__}")
        for violation in violations:
            print(violation, file=sys.stderr if arguments.tap else sys.stdout)
    if arguments.tap:
        return 0  # the report says it
    print(f"{broken} violations" if broken else "tidy")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
