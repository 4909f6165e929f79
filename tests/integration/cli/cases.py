"""What the tests of this folder share: their cases, told in TAP, and patience."""

import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

CASES: list[Callable] = []


class LeftOut(Exception):
    """Raised by a case that cannot be tried here, with the reason."""


def test(function: Callable) -> Callable:
    CASES.append(function)
    return function


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.05)
    return False


def run_cases(*subjects: object, after: tuple[Callable, ...] = ()) -> None:
    """Runs each case on `subjects`; `after` are cases that somebody else runs later, by `run_case`."""
    print(f"1..{len(CASES) + len(after)}")
    for number, function in enumerate(CASES, 1):
        run_case(number, function, *subjects)


def run_case(number: int, function: Callable, *subjects: object) -> None:
    try:
        function(*subjects)
        print(f"ok {number} - {function.__name__}")
    except LeftOut as reason:
        print(f"ok {number} - {function.__name__} # SKIP {reason}")
    except Exception as error:  # reported as what it is: a failed test
        print(f"not ok {number} - {function.__name__}")
        where = traceback.extract_tb(error.__traceback__)[-1]
        text = f"{Path(where.filename).name}:{where.lineno}: {where.line}\n{type(error).__name__}: {error}"
        print("\n".join(f"# {line}" for line in text.splitlines()))
    sys.stdout.flush()
