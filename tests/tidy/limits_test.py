#!/usr/bin/env python3
"""docs/limits.md against the code, in TAP.

Each row that names a constant must give its value, and each constant whose comment points to the page must be in it.
"""

import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PAGE = ROOT / "docs/limits.md"
UNITS = {"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40, "s": 10**9, "ms": 10**6}
CODE = [*ROOT.glob("src/**/*.[ch]pp"), *ROOT.glob("daemon/**/*.[ch]pp"), *ROOT.glob("clients/c/**/*.[ch]pp")]


def expression_of(name: str, text: str) -> str | None:
    found = re.search(rf"\b{name} = ([^;]+);", text)
    return found[1] if found else None


def evaluate(expression: str, text: str) -> int:
    """Returns the value of a constant expression of C++ with names of the same file, or of any other."""
    expression = re.sub(r"\b(?:u?int\d+_t|size_t|u?int)\{(\w+)\}", r"\1", expression)
    expression = re.sub(r"(?<=\d)'(?=\d)", "", expression)
    expression = re.sub(r"\b(\d+)[uUlL]+\b", r"\1", expression)
    for name in re.findall(r"(?:\w+::)*(k[A-Z]\w*)", expression):
        other = next(e for t in [text, *map(read, CODE)] if (e := expression_of(name, t)) is not None)
        expression = re.sub(rf"(?:\w+::)*\b{name}\b", f"({evaluate(other, text)})", expression)
    if not re.fullmatch(r"[\da-fx\s()+*<\-]+", expression):
        raise ValueError(f"cannot evaluate {expression}")
    return eval(expression, {"__builtins__": {}})  # digits and operators only


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8")


def bound_of(text: str) -> int:
    found = re.fullmatch(r"([\d ]*\d) ?([A-Za-z]*)", text)
    if not found:
        raise ValueError(f"cannot read the bound {text!r}")
    return int(found[1].replace(" ", "")) * UNITS[found[2]]


def check_row(bound: str, file: str, name: str) -> str:
    """Returns what is wrong with a row, "" if nothing is."""
    path = ROOT / file
    if not path.is_file():
        return f"there is no {file}"
    expression = expression_of(name, read(path))
    if expression is None:
        return f"{file} has no {name}"
    value = evaluate(expression, read(path))
    return "" if value == bound_of(bound) else f"the page says {bound}, {file} says {name} = {value}"


def main() -> int:
    results = []
    named = set()
    for line in read(PAGE).splitlines():
        row = re.fullmatch(r"\| [^|]+ \| ([^|]+) \| `([\w/.]+)` `(\w+)` \| [^|]+ \| [^|]+ \|", line)
        if row:
            named.add((row[2], row[3]))
            results.append((f"{row[2]} {row[3]}", check_row(row[1], row[2], row[3])))
        elif line.startswith("|") and "`src/" in line:
            results.append((line[:40], "not of the form | what | bound | `file` `constant` | reason | beyond it |"))
    for path in CODE:
        for found in re.finditer(r"\b(k\w+) = [^;]+;[^\n]*docs/limits\.md", read(path)):
            file = str(path.relative_to(ROOT))
            if (file, found[1]) not in named:
                results.append((f"{file} {found[1]}", "its comment points to docs/limits.md, which does not have it"))
    print(f"1..{len(results)}")
    for number, (what, wrong) in enumerate(results, 1):
        print(f"not ok {number} - {what}\n# {wrong}" if wrong else f"ok {number} - {what}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
