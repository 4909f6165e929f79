#!/usr/bin/env python3
"""The units, as systemd reads them: nothing misspelt, and tarnd as locked in as we say.

Usage: units_test.py UNIT_DIR TARND TARN_SPAWN. Prints TAP. Without systemd-analyze everything is skipped.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

EXPOSURE_MAX = {"tarnd.service": 2.0}  # the spawn service's workers inherit what it is denied: see the unit


def analyze(*arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["systemd-analyze", *map(str, arguments)], capture_output=True, text=True, check=False, timeout=60
    )


def read_units(folder: Path, programs: dict[str, Path]) -> dict[str, str]:
    """The units as they are installed, but with the programs of this build."""
    units = {}
    for file in sorted(folder.glob("*.in")) + sorted(folder.glob("*.socket")):
        text = file.read_text(encoding="utf-8")
        text = re.sub(r"@\w+@/([\w-]+)", lambda found: str(programs[found[1]]), text)
        units[file.name.removesuffix(".in")] = text
    return units


def main() -> int:
    source, programs = Path(sys.argv[1]), {"tarnd": Path(sys.argv[2]).resolve(), "tarn-spawn": Path(sys.argv[3]).resolve()}
    units = read_units(source, programs)
    if not shutil.which("systemd-analyze"):
        print("1..0 # SKIP systemd-analyze is not there: the units are not checked")
        return 0
    tests = []
    with tempfile.TemporaryDirectory(prefix="tarn-units-") as name:
        folder = Path(name)
        for unit, text in units.items():
            (folder / unit).write_text(text, encoding="utf-8")
        for unit in units:
            done = analyze("verify", "--man=no", folder / unit)
            # Of other units of this machine it complains, too.
            about_ours = [line for line in done.stderr.splitlines() if "tarn" in line]
            tests.append((f"{unit} is valid", not about_ours, "\n".join(about_ours)))
        for unit, most in EXPOSURE_MAX.items():
            done = analyze("security", "--offline=true", "--no-pager", f"--threshold={int(most * 10)}", folder / unit)
            score = re.search(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
            passed = bool(score) and float(score[1]) <= most and done.returncode == 0
            tests.append((f"{unit} is exposed at most {most}", passed, score[0] if score else done.stdout + done.stderr))
    print(f"1..{len(tests)}")
    for number, (what, passed, detail) in enumerate(tests, 1):
        print(f"{'ok' if passed else 'not ok'} {number} - {what}")
        for line in detail.splitlines():
            print(f"# {line}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
