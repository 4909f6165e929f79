#!/usr/bin/env python3
"""A lint that never fires looks like a clean repository. For each rule, break a small repository in one way and expect
scripts/tidy.py to name the file, the line and nothing else. Reports in TAP.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

TIDY = Path(__file__).resolve().parents[2] / "scripts" / "tidy.py"

CLEAN = {
    "ARCHITECTURE.md": (
        "| room | what | may use | libraries |\n|---|---|---|---|\n"
        "| `src/base/` | words | | |\n| `src/os/` | seam | `src/base` | hwloc |\n"
    ),
    "src/base/meson.build": "core_sources += files('word.cpp')\n",
    "src/base/word.hpp": "#pragma once\n",
    "src/base/word.cpp": '#include "base/word.hpp"\n',
    "src/os/meson.build": "core_sources += files('file.cpp')\n",
    "src/os/file.hpp": "#pragma once\n",
    "src/os/file.cpp": '#include "os/file.hpp"\n\n#include <hwloc.h>\n\n#include "base/word.hpp"\n',
}

# What is wrong: the files changed, and where tidy must point.
BROKEN = {
    "a room that uses one above it": (
        {"src/base/word.cpp": '#include "base/word.hpp"\n#include "os/file.hpp"\n'}, "src/base/word.cpp:2:"),
    "a library in a room that has no business with it": (
        {"src/base/word.cpp": '#include "base/word.hpp"\n#include <hwloc.h>\n'}, "src/base/word.cpp:2:"),
    "an include of nothing": ({"src/os/file.cpp": '#include "os/file.hpp"\n#include "os/gone.hpp"\n'},
                              "src/os/file.cpp:2:"),
    "rooms in a circle": (
        {"ARCHITECTURE.md": CLEAN["ARCHITECTURE.md"].replace("| words | |", "| words | `src/os` |")},
        "ARCHITECTURE.md:1:"),
    "a room that is not there": (
        {"ARCHITECTURE.md": CLEAN["ARCHITECTURE.md"] + "| `src/shm/` | rings | `src/base` | |\n"},
        "ARCHITECTURE.md:5:"),
    "a file in no room": (
        {"src/misc/x.cpp": "", "src/misc/meson.build": "core_sources += files('x.cpp')\n"}, "src/misc/x.cpp:1:"),
    "a file that is too long": ({"src/base/word.hpp": "#pragma once\n" * 1001}, "src/base/word.hpp:1001:"),
    "a tab": ({"src/base/word.hpp": "#pragma once\n//\tx\n"}, "src/base/word.hpp:2:"),
    "a space at the end of a line": ({"src/base/word.hpp": "#pragma once\n// x \n"}, "src/base/word.hpp:2:"),
    "a file without its last newline": ({"src/base/word.hpp": "#pragma once"}, "src/base/word.hpp:1:"),
    "work left over": ({"src/base/word.hpp": "#pragma once\n// TO" "DO: all\n"}, "src/base/word.hpp:2:"),
    "a file in no meson.build": ({"src/base/lost.cpp": ""}, "src/base/lost.cpp:1:"),
    "a test left out of the loop of its meson.build": (
        {"src/base/meson.build": CLEAN["src/base/meson.build"] + "foreach n : ['one']\n  t(n + '_test.cpp')\nendforeach\n",
         "src/base/one_test.cpp": "", "src/base/two_test.cpp": ""}, "src/base/two_test.cpp:1:"),
    "a header that nobody includes": ({"src/base/lost.hpp": "#pragma once\n"}, "src/base/lost.hpp:1:"),
    "a header without a guard": ({"src/base/word.hpp": "\nint x;\n"}, "src/base/word.hpp:1:"),
    "a path of one machine": ({"README.md": "See /ho" "me/somebody/tarn.\n"}, "README.md:1:"),
    "a host of packages": ({"README.md": "From https://py" "pi.org/simple.\n"}, "README.md:1:"),
    "a script that does not parse": ({"run.py": "x = 1\ny = (\n"}, "run.py:2:"),
    "a script that cannot be run": ({"run": "#!/bin/sh\n"}, "run:1:"),
}


def tidy(files: dict[str, str]) -> list[str]:
    """Returns what tidy says about a repository of these files."""
    with tempfile.TemporaryDirectory(prefix="tarn-tidy-") as name:
        for path, text in files.items():
            file = Path(name, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        subprocess.run(["git", "init", "-q", name], check=True)
        done = subprocess.run([TIDY, "--root", name], capture_output=True, text=True, check=False)
        return (done.stdout + done.stderr).splitlines()[: -1 if done.returncode in (0, 1) else None]


def main() -> int:
    cases = [("a clean repository", {}, None)]
    cases += [(what, files, place) for what, (files, place) in BROKEN.items()]
    print(f"1..{len(cases)}")
    for number, (what, files, place) in enumerate(cases, 1):
        said = tidy(CLEAN | files)
        good = not said if place is None else len(said) == 1 and said[0].startswith(place)
        print(f"{'ok' if good else 'not ok'} {number} - {what}")
        if not good:
            print("\n".join(said or ["nothing was found"]), file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
