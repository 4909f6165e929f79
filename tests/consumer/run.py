#!/usr/bin/env python3
"""Builds programs outside the tree against the installed library and runs them.

    run.py BUILD_DIRECTORY MAIN_C MAIN_CPP

Installs into one temporary directory, moves the tree to another, and there builds a C11 program by pkg-config and a
C++20 program by CMake: what was left behind at the first place, or is only in the build tree, is missed. Each program
runs its own function in a worker process. Reports in TAP.
"""

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Nothing of this run's own environment may help the programs to find Tarn.
ENVIRONMENT = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in os.environ}

TIMEOUT_S = 60


def run(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(
        command, env=ENVIRONMENT | environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, command))} ended {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


def install(build: Path, stage: Path, moved: Path) -> Path:
    """Returns the prefix of an installed tree that is not where it was installed."""
    run("meson", "install", "-C", build, "--no-rebuild", "--quiet", "--destdir", stage)
    prefix = next(stage.rglob("tarn.h")).parents[2]
    shutil.move(prefix, moved)
    return moved


def library_directory(prefix: Path) -> Path:
    return next(prefix.rglob("libtarn.so")).parent


def use_from_c(prefix: Path, source: Path, scratch: Path) -> str:
    libraries = library_directory(prefix)
    flags = run(
        "pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "tarn",
        PKG_CONFIG_PATH=str(libraries / "pkgconfig"),
    ).split()
    program = scratch / "consumer_c"
    strict = ("-std=c11", "-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    run("cc", *strict, shutil.copy(source, scratch), "-o", program, *flags)
    return run(program, LD_LIBRARY_PATH=str(libraries))


def use_from_cmake(prefix: Path, source: Path, scratch: Path) -> str:
    project = shutil.copytree(source.parent, scratch / "cpp")
    build = scratch / "cpp-build"
    run("cmake", "-G", "Ninja", "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    return run(build / "consumer")


def version_is_the_same_everywhere(prefix: Path) -> str:
    packages = library_directory(prefix) / "pkgconfig"
    version = run("pkg-config", "--modversion", "tarn", PKG_CONFIG_PATH=str(packages)).strip()
    header = (prefix / "include" / "tarn" / "tarn_version.h").read_text()
    tool = run(prefix / "bin" / "tarn", "version")
    return "same" if f'"{version}"' in header and version in tool else f"{version}\n{header}\n{tool}"


def main() -> int:
    build, main_c, main_cpp = (Path(argument).resolve() for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="tarn-consumer-") as name:
        scratch = Path(name)
        prefix = install(build, scratch / "stage", scratch / "elsewhere")
        # For each: what it says, how, and the answer expected.
        cases = [
            ("a C11 program finds Tarn by pkg-config",
             lambda: use_from_c(prefix, main_c, scratch), "42 by a worker"),
            ("a C++20 program finds Tarn by CMake",
             lambda: use_from_cmake(prefix, main_cpp, scratch), "5 by a worker"),
            ("package, header and tool name one version",
             lambda: version_is_the_same_everywhere(prefix), "same"),
        ]
        print(f"1..{len(cases)}")
        for number, (what, use, expected) in enumerate(cases, 1):
            try:
                answer = use().strip()
            except (RuntimeError, subprocess.TimeoutExpired, StopIteration) as error:
                answer = repr(error) if not isinstance(error, RuntimeError) else str(error)
            print(f"{'ok' if answer == expected else 'not ok'} {number} - {what}")
            if answer != expected:
                print(f"{what}:\n{answer}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())
