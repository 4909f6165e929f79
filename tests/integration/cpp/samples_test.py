#!/usr/bin/env python3
"""Runs the small samples and expects their results, in TAP: samples_test.py SQUARES MATRIX_PRODUCT MONTE_CARLO."""

import subprocess
import sys

EXPECTED = [
    "The sum of the squares of 1 to 10000 is 333383335000.",
    "The product has 262144 elements; the largest relative error is",
    "10000 simulations: the mean final price is 100.",
]


def main() -> None:
    print(f"1..{len(EXPECTED)}")
    for number, (program, expected) in enumerate(zip(sys.argv[1:], EXPECTED), 1):
        done = subprocess.run([program], capture_output=True, text=True, timeout=60, check=False)
        good = done.returncode == 0 and done.stdout.startswith(expected) and done.stderr == ""
        print("ok" if good else "not ok", number, "-", program.rsplit("/", 1)[-1])
        if not good:
            print(f"# ended {done.returncode}, wrote {done.stdout!r} and {done.stderr!r}")


if __name__ == "__main__":
    main()
