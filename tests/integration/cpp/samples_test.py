#!/usr/bin/env python3
"""Runs the small samples and expects their results, in TAP:
samples_test.py SQUARES MANDELBROT MATRIX_PRODUCT MONTE_CARLO RECURSIVE_SORT CHOLESKY WORD_COUNT CROSS_VALIDATION [INVERTED_INDEX].

The word count must find what Python finds. The inverted index must find what LC_ALL=C grep -w finds: as many places, lines and files.
"""

import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

EXPECTED = [
    "The sum of the squares of 1 to 10000 is 333383335000.",
    "942",
    "The product has 262144 elements; the largest relative error is",
    "10000 simulations: the mean final price is 100.",
    "1000000 numbers are sorted.",
    "5 matrices of 512 x 512 were factored by one graph of 120 tasks",
    "1000000 words, 1000 different: word0 7504 word1 6472 word2 5860 word3 5597 word4 5460\n",
    "20 lines, each fitted to four fifths of the points, are off by 1.00 on the others.\n",
]

WORDS = ["the", "The", "of", "GPL", "snake_case", "case", "x", "2", "not_there"]
SHAPES = {
    "words and what parts them": b"the the,the(the)\nThe-the snake_case case\nx2 2x 2 x\n" * 50,
    "no newline at the end": b"one of the",
    "nothing": b"",
    "bytes that are no text": b"the\0the \xffthe\xe9 x\r\nthe\n\n\nof\n" * 20,
    "every word another": b"".join(b"%x\n" % number for number in range(20_000)),
}
LICENSES = Path("/usr/share/common-licenses")


def run(*command: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def count_lines(*command: str | Path) -> int:
    environment = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(command, capture_output=True, timeout=60, check=False, env=environment)
    return done.stdout.count(b"\n")


def grep(files: list[Path], word: str) -> str:
    def count(option: str) -> int:
        return count_lines("grep", "-awF", option, "-e", word, "--", *files)

    return f"{word}: {count('-o')} places in {count('-h')} lines of {count('-l')} files"


def index_files(program: str, files: list[Path], words: list[str]) -> str:
    """Returns what is wrong with the answers, or nothing."""
    done = run(program, "--words", ",".join(words), *files)
    lines = done.stdout.splitlines()
    wanted = [grep(files, word) for word in words]
    if done.returncode != 0 or done.stderr != "" or lines[1:-1] != wanted:
        return f"ended {done.returncode}, wrote {done.stdout!r} and {done.stderr!r}, not {wanted}"
    counts = re.fullmatch(r"\d+ files of \d+ bytes have (\d+) words; their index has \d+ bytes\.", lines[0])
    found = re.fullmatch(r"\d+ workers looked up \d+ different words in .* ms and found (\d+) places\.", lines[-1])
    if not counts or not found or counts[1] != found[1]:
        return f"wrote {done.stdout!r}"
    every = count_lines("grep", "-aohE", "[A-Za-z0-9_]+", "--", *files)
    return "" if int(found[1]) == every else f"found {found[1]} words of {every}"


def index_shapes(program: str) -> str:
    with tempfile.TemporaryDirectory() as directory:
        files = []
        for name, shape in SHAPES.items():
            files.append(Path(directory) / name)
            files[-1].write_bytes(shape)
        for few in [*([file] for file in files), files]:
            if wrong := index_files(program, few, WORDS):
                return f"{[file.name for file in few]}: {wrong}"
    return ""


def index_licenses(program: str) -> str:
    files = sorted(path for path in LICENSES.glob("*") if path.is_file() and not path.is_symlink())
    return index_files(program, files, WORDS) if files else ""


def index_default(program: str) -> str:
    done = run(program)
    if not any(LICENSES.glob("*")) and done.returncode == 1 and "name some files" in done.stderr:
        return ""
    good = done.returncode == 0 and done.stderr == "" and re.search(r"^the: [1-9]", done.stdout, re.MULTILINE)
    return "" if good else f"ended {done.returncode}, wrote {done.stdout!r} and {done.stderr!r}"


def index_missing(program: str) -> str:
    done = run(program, "/nowhere/at/all")
    good = done.returncode == 1 and done.stdout == "" and "/nowhere/at/all" in done.stderr
    return "" if good else f"ended {done.returncode}, wrote {done.stdout!r} and {done.stderr!r}"


def count_words(program: str) -> str:
    for name, shape in [*SHAPES.items(), ("many words", b"".join(b"w%d " % (i % 977) + b"\n" * (i % 50 == 0) for i in range(400_000))),
                        ("one long line", b"abc def" * 200_000)]:
        with tempfile.TemporaryDirectory() as directory:
            file = Path(directory) / "text"
            file.write_bytes(shape)
            done = run(program, file)
        words = [word.decode() for word in re.findall(rb"[A-Za-z0-9_]+", shape)]
        most = sorted(Counter(words).items(), key=lambda entry: (-entry[1], entry[0]))
        wanted = f"{len(words)} words, {len(most)} different:" + "".join(f" {word} {times}" for word, times in most[:5])
        if done.returncode != 0 or done.stderr != "" or done.stdout.splitlines()[0] != wanted:
            return f"{name}: ended {done.returncode}, wrote {done.stdout!r} and {done.stderr!r}, not {wanted!r}"
    return ""


def print_sample(program: str, expected: str) -> str:
    done = run(program)
    good = done.returncode == 0 and done.stdout.startswith(expected) and done.stderr == ""
    return "" if good else f"ended {done.returncode}, wrote {done.stdout!r} and {done.stderr!r}"


def main() -> None:
    tests = [
        (program.rsplit("/", 1)[-1], print_sample, (program, expected))
        for program, expected in zip(sys.argv[1:], EXPECTED)
    ]
    tests.append(("word_count finds what Python finds in files of many shapes", count_words, (sys.argv[7],)))
    for program in sys.argv[1 + len(EXPECTED):]:
        tests += [
            ("inverted_index finds what grep -w finds in files of many shapes", index_shapes, (program,)),
            ("inverted_index finds what grep -w finds in licences", index_licenses, (program,)),
            ("inverted_index has texts of its own", index_default, (program,)),
            ("inverted_index names a file that is missing", index_missing, (program,)),
        ]
    print(f"1..{len(tests)}")
    for number, (name, test, arguments) in enumerate(tests, 1):
        wrong = test(*arguments)
        print("not ok" if wrong else "ok", number, "-", name, flush=True)
        if wrong:
            print(f"# {wrong}")


if __name__ == "__main__":
    main()
