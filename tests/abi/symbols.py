#!/usr/bin/env python3
"""Compares what libtarn.so exports and needs with libtarn.map and the C headers.

    symbols.py LIBRARY MAP HEADER... [--any-runtime]

A function that is declared but not exported fails when a user links; one that is exported but not declared becomes an
interface by accident. Reports in TAP.
"""

import re
import subprocess
import sys
from pathlib import Path

C_LIBRARY = re.compile(r"libc\.so\.6|ld-linux[\w-]*\.so\.\d+")


def output_of(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def declared(header: str) -> set[str]:
    """Returns the functions that a header declares as TARN_API."""
    code = re.sub(r"/\*.*?\*/", "", header, flags=re.DOTALL)
    return set(re.findall(r"^TARN_API\b[^;{]*?\b(tarn_\w+)\s*\(", code, flags=re.MULTILINE))


def mapped(version_script: str) -> set[str]:
    """Returns the names of all version nodes, as name@NODE."""
    code = re.sub(r"#.*|/\*.*?\*/", "", version_script, flags=re.DOTALL if "/*" in version_script else 0)
    names = set()
    for node, body in re.findall(r"(\w[\w.]*)\s*\{(.*?)\}", code, flags=re.DOTALL):
        exported = body.split("local:")[0].replace("global:", "")
        names |= {f"{name.strip()}@{node}" for name in exported.split(";") if name.strip()}
    return names


def exported(library: str) -> set[str]:
    """Returns the defined dynamic symbols, as name@NODE, without the version nodes themselves."""
    names = set()
    for line in output_of("nm", "-D", "--defined-only", "--with-symbol-versions", library).splitlines():
        _, kind, name = line.split()
        if kind != "A":
            names.add(name.replace("@@", "@"))
    return names


def dynamic(library: str, tag: str) -> list[str]:
    return re.findall(rf"\({tag}\).*\[(.*)\]", output_of("readelf", "-dW", library))


def main() -> int:
    library, map_file, *headers = [word for word in sys.argv[1:] if not word.startswith("--")]
    in_header = set().union(*(declared(Path(header).read_text()) for header in headers))
    in_map = mapped(Path(map_file).read_text())
    in_library = exported(library)
    names_in_map = {name.split("@")[0] for name in in_map}
    needed = dynamic(library, "NEEDED")
    if "--any-runtime" in sys.argv:  # a sanitizer's runtime is needed by all it instruments
        needed = []

    # For each: what it says, and what speaks against it.
    checks = [
        ("the header declares functions", [] if in_header else ["none found"]),
        ("every declared function is in the map", sorted(in_header - names_in_map)),
        ("every name in the map is declared", sorted(names_in_map - in_header)),
        ("the library exports all of the map", sorted(in_map - in_library)),
        ("the library exports nothing else", sorted(in_library - in_map)),
        ("the library needs the C library only", [name for name in needed if not C_LIBRARY.fullmatch(name)]),
        ("the soname is libtarn.so.0", [name for name in dynamic(library, "SONAME") if name != "libtarn.so.0"]),
        ("no search path is built in", dynamic(library, "RUNPATH") + dynamic(library, "RPATH")),
    ]
    print(f"1..{len(checks)}")
    for number, (what, against) in enumerate(checks, 1):
        print(f"{'not ok' if against else 'ok'} {number} - {what}")
        for item in against:
            print(f"{what}: {item}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
