#!/usr/bin/env python3
"""Builds programs outside the tree against the installed library and runs them.

    run.py BUILD_DIRECTORY MAIN_C MAIN_CPP README

Installs into one temporary directory, moves the tree to another, and there builds a C11 program by pkg-config and a
C++20 program by CMake: what was left behind at the first place, or is only in the build tree, is missed. Each program
runs its own function in a worker process. So do the examples of the README. Reports in TAP.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

# Nothing of this run's own environment may help the programs to find Tarn.
ENVIRONMENT = {key: os.environ[key] for key in ("PATH", "HOME", "TMPDIR", "LANG") if key in os.environ}

TIMEOUT_S = 60


def run(*command: str | Path, cwd: Path | None = None, **environment: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env=ENVIRONMENT | environment,
        capture_output=True, text=True, timeout=TIMEOUT_S, check=False,
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


def pkg_config(prefix: Path) -> list[str]:
    return run(
        "pkg-config", f"--define-variable=prefix={prefix}", "--cflags", "--libs", "tarn",
        PKG_CONFIG_PATH=str(library_directory(prefix) / "pkgconfig"),
    ).split()


def build_and_run(prefix: Path, compiler: list[str], source: Path) -> str:
    """Compiles one file with what pkg-config says, and returns what the program prints in the file's folder."""
    program = source.with_suffix("")
    run(*compiler, "-Wall", "-Wextra", "-Wpedantic", "-Werror", source, "-o", program, *pkg_config(prefix))
    return run(program, cwd=source.parent, LD_LIBRARY_PATH=str(library_directory(prefix)))


def use_from_c(prefix: Path, source: Path, scratch: Path) -> str:
    copy = shutil.copy(source, scratch / "consumer.c")
    return build_and_run(prefix, ["cc", "-std=c11", "-D_POSIX_C_SOURCE=200809L"], Path(copy))


def use_example(prefix: Path, readme: Path, language: str, scratch: Path) -> str:
    """The README's example counts the lines of app.log."""
    compiler = {"c": ["cc", "-std=c11"], "cpp": ["c++", "-std=c++20"]}[language]
    source = scratch / f"example.{language}"
    source.write_text(re.search(rf"```{language}\n(.*?)```", readme.read_text(), re.DOTALL)[1])
    (scratch / "app.log").write_text("one\ntwo\nthree\n" * 1000)
    return build_and_run(prefix, compiler, source)


def use_from_cmake(prefix: Path, source: Path, scratch: Path) -> str:
    project = shutil.copytree(source.parent, scratch / "cpp")
    build = scratch / "cpp-build"
    run("cmake", "-G", "Ninja", "-S", project, "-B", build, f"-DCMAKE_PREFIX_PATH={prefix}")
    run("cmake", "--build", build)
    return run(build / "consumer")


def use_from_cmake_in_c(prefix: Path, source: Path, scratch: Path) -> str:
    """A project that knows no C++."""
    project = scratch / "c"
    project.mkdir()
    shutil.copy(source, project / "main.c")
    (project / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.16)\nproject(consumer C)\nfind_package(Tarn 0.1 REQUIRED)\n"
        "add_executable(consumer main.c)\ntarget_link_libraries(consumer PRIVATE Tarn::tarn)\n"
    )
    build = scratch / "c-build"
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
    build, main_c, main_cpp, readme = (Path(argument).resolve() for argument in sys.argv[1:])
    with tempfile.TemporaryDirectory(prefix="tarn-consumer-") as name:
        scratch = Path(name)
        prefix = install(build, scratch / "stage", scratch / "elsewhere")
        # For each: what it says, how, and the answer expected.
        cases = [
            ("a C11 program finds Tarn by pkg-config",
             lambda: use_from_c(prefix, main_c, scratch), "42 by a worker"),
            ("a C++20 program finds Tarn by CMake",
             lambda: use_from_cmake(prefix, main_cpp, scratch), "5 by a worker"),
            ("a C program finds Tarn by CMake",
             lambda: use_from_cmake_in_c(prefix, main_c, scratch), "42 by a worker"),
            ("the C example of the README works",
             lambda: use_example(prefix, readme, "c", scratch), "3000 lines"),
            ("the C++ example of the README works",
             lambda: use_example(prefix, readme, "cpp", scratch), "3000 lines"),
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
