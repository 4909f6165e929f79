"""Runs the benchmarks: the subjects of each case in turn, round after round, and says how they compare.

Needs a build in build/bench (scripts/bench makes it) and Python's standard library. The programs under bench/
measure and print one line of JSON a figure; this file decides what runs when, and what is made of it:

- The subjects of a case alternate within a round (tarn, bare, tarn, bare, ...), on the same cores. Ratios are taken
  within a round, and the median of the rounds' ratios counts, so that a machine that changes its speed between
  rounds does not change the verdict.
- A probe (the bare ping-pong, a few milliseconds) runs before and after each turn of a case. A turn during which it
  moved is disturbed: it is repeated, a few times at most, and counted in the note when it stays so.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / "bench"
PROBE_MOVED = 1.4  # times the smaller of the two probes
REPEATS_MAX = 2  # of a disturbed turn
PROGRAM_TIMEOUT_S = 120  # beyond what it was asked to measure
SIZES = {"64": 64, "4k": 4 << 10, "1m": 1 << 20, "64m": 64 << 20, "1g": 1 << 30}
MEMORY_PER_SIZE = 3  # of the largest object: it, what is copied into it, and room for the daemon's limit


@dataclass(frozen=True)
class Subject:
    """A program that measures, and the name under which it prints the figure."""

    name: str
    command: tuple[str, ...]
    measure: str


@dataclass(frozen=True)
class Case:
    name: str
    better: str
    subjects: tuple[Subject, ...]
    rounds_max: int = 1000
    size: int = 0  # of its objects, where that may be too much for a machine


@dataclass
class Series:
    """What one subject of one case gave, round by round; None where it could not run."""

    values: list[float] = field(default_factory=list)
    unit: str = ""
    note: str = ""


class BenchError(Exception):
    pass


# ---- The cases ------------------------------------------------------------------------------------


def all_cases(build: Path, args: argparse.Namespace, peers: dict[str, list[Subject]], log: Path) -> list[Case]:
    system, bare = build / "bench/system", build / "bench/bare"
    ms = ("--ms", str(args.ms))

    def tarn(case: str, *more: str, program: str = "tarn_bench", command: str | None = None) -> Subject:
        first = (str(system / program),) + ((command or case,) if program == "tarn_bench" else ())
        return Subject("tarn", first + ms + more, case)

    def limit(program: str, measure: str, *more: str) -> Subject:
        return Subject("bare", (str(bare / f"bare_{program}"),) + ms + more, measure)

    def share(case: str) -> Subject:
        return Subject("tarn", (str(system / "tarn_bench"), case, "--ms", str(args.share_ms)), case)

    size = ("--size", str(args.size))

    def sized(name: str, of: str, better: str, *bare: Subject) -> Case:
        """The case `name`.`of`, whose objects have that size, or less in a smoke test."""
        return Case(f"{name}.{of}", better, (tarn(f"{name}.{of}", *size_of(of)),) + bare, size=SIZES[of])

    def size_of(of: str) -> tuple[str, str]:
        return "--size", str(min(SIZES[of], args.size_cap))

    idle = ("--idle-ms", str(args.idle_ms))
    search = ("--file", str(log))
    skewed = ("--elements", "100" if args.smoke else "2000")
    cases = [
        Case("task.sync.spin", "lower", (tarn("task.sync.spin"), limit("pingpong", "pingpong"))),
        Case("task.sync.parked", "lower",
             (tarn("task.sync.parked"), limit("futex_pingpong", "futex_pingpong", "--place", "cross"))),
        Case("task.sync.parked.same", "lower",
             (tarn("task.sync.parked.same"), limit("futex_pingpong", "futex_pingpong", "--place", "same"))),
        Case("task.async", "higher", (tarn("task.async"), limit("ring", "ring"))),
        Case("stream.items", "lower", (tarn("stream.items"), limit("spsc", "spsc"))),
        Case("task.forkjoin", "lower", (tarn("task.forkjoin", "--depth", "10" if args.smoke else "24"),)),
        Case("map.skewed", "lower",
             (tarn("map.skewed", *skewed, program="tarn_map"), limit("skewed", "skewed", *skewed),
              Subject("static", (str(system / "tarn_map"),) + ms + skewed, "map.skewed.static"))),
        *[Case(f"metg.{of}", "lower", (tarn(f"metg.{of}"),)) for of in ("independent", "stencil")],
        Case("task.floor", "lower", (tarn("task.floor", program="tarn_graph_floor"),)),
        Case("trace.event", "lower", (Subject("tarn", (str(system / "tarn_trace_event"), "trace.event") + ms, "trace.event"),
                                      Subject("bare", (str(system / "tarn_trace_event"), "clock") + ms, "clock"))),
        Case("trace.event.off", "lower", (Subject("tarn", (str(system / "tarn_trace_event"), "trace.event.off") + ms, "trace.event.off"),)),
        Case("graph.build", "lower", (tarn("graph.build"),)),
        Case("put.64", "lower", (tarn("put.64"), limit("alloc_store", "store.64"))),
        Case("get.64", "lower", (tarn("get.64"), limit("alloc_store", "load.64"))),
        sized("get.other", "64", "lower", limit("alloc_store", "load.64")),
        *[sized("get.other", of, "lower") for of in ("4k", "1m", "64m", "1g")],
        Case("get.other.spread", "lower", (tarn("get.other.spread", *size_of("1g")),), size=SIZES["1g"]),
        *[sized("put.bw", of, "higher", limit("copy", "copy", *size_of(of))) for of in ("1m", "64m", "1g")],
        Case("put.bw.100m", "higher", (tarn("put.bw.100m", *size), limit("copy", "copy", *size))),
        Case("create_seal.100m", "lower", (tarn("create_seal.100m", *size),)),
        sized("create_seal", "64", "lower", limit("alloc_store", "store.64")),
        *[sized("create_seal", of, "lower") for of in ("1m", "1g")],
        *[Case(f"create_seal.{of}.kernel", "lower",
               (Subject("tarn", tarn(f"create_seal.{of}", *size_of(of)).command, f"create_seal.{of}.kernel"),),
               size=SIZES[of]) for of in ("64", "1m", "1g")],
        *[Case(f"objects.1m.{of}", better,
               (tarn(f"objects.1m.{of}", "--objects", str(args.objects), command="objects.1m"),))
          for of, better in (("rate", "higher"), ("overhead", "lower"))],
        *[Case(f"queue.1m.{of}", "lower", (tarn(f"queue.1m.{of}", "--tasks", str(args.objects), command="queue.1m"),))
          for of in ("time", "bytes", "wakes")],
        Case("wait.1m", "lower", (tarn("wait.1m", "--tasks", str(args.objects), command="queue.1m"),
                                  limit("lines", "lines", "--lines", str(args.objects)))),
        Case("release.same", "lower", (tarn("release.same"),)),
        Case("release.other", "lower", (tarn("release.other"),)),
        *[Case(f"store.churn.{of}", better,
               (Subject("tarn", (str(system / "tarn_bench"), "store.churn", "--ms", str(args.churn_ms),
                                 "--size", str(args.store)), f"store.churn.{of}"),),
               args.churn_rounds, 0 if args.smoke else args.store)
          for of, better in (("waste", "lower"), ("decay", "higher"))],
        *[Case(case, "higher",
               (tarn(case, "--size", str(args.spill), command="spill"),
                limit("disk", f"disk.{way}", "--size", str(args.spill))),
               3, 0 if args.smoke else args.spill) for case, way in (("spill.bw", "write"), ("restore.bw", "read"))],
        Case("overcommit", "lower", (tarn("overcommit", "--size", str(args.overcommit)),), 1,
             0 if args.smoke else args.overcommit),
        Case("cleanup.kill", "lower", (tarn("cleanup.kill"),)),
        Case("recover.worker", "lower", (tarn("recover.worker"),)),
        Case("recover.tarnd", "lower", (tarn("recover.tarnd"),)),
        Case("print.line", "lower", (tarn("print.line"),)),
        Case("oversubscribed.p99", "lower",
             (tarn("oversubscribed.p99"), limit("futex_pingpong", "futex_pingpong", "--place", "same"))),
        Case("shared.short.p99", "lower", (tarn("shared.short.p99"),)),
        Case("fairness.jain", "higher", (share("fairness.jain"),), args.share_rounds),
        *[Case("fairness.weights", "higher", (share("fairness.weights"),), args.share_rounds)
          for _ in range(may_be_two_users(build))],
        Case("idle.after", "lower", (tarn("idle.after"),)),
        Case("start.first_result", "lower", (tarn("start.first_result"), limit("start", "start"))),
        Case("idle.cpu", "lower", (tarn("idle.cpu", *idle, command="idle"),), args.idle_rounds),
        Case("idle.rss.tarnd", "lower",
             (tarn("idle.rss.tarnd", *idle, command="idle"), limit("idle", "idle.rss")), args.idle_rounds),
        Case("idle.rss.worker", "lower",
             (tarn("idle.rss.worker", *idle, command="idle"), limit("idle", "idle.rss")), args.idle_rounds),
    ]
    if (system / "tarn_search").exists():
        cases.append(Case("demo.search", "higher",
                          (tarn("demo.search", *search, program="tarn_search"), limit("search", "search", *search),
                           Subject("bare, 2 cores", (str(bare / "bare_search"), "--cores", "2") + ms + search,
                                   "search.2"))))
    return [replace(c, subjects=c.subjects + tuple(peers.get(c.name, ()))) for c in cases if c.size <= args.size_max]


def may_be_two_users(build: Path) -> bool:
    """Whether we are root, and what was built can be read by everybody."""
    if os.geteuid() == 0 and all(folder.stat().st_mode & 0o001 for folder in [build, *build.parents]):
        return True
    print("bench: fairness.weights left out: it wants root, and a tree that every user can read", file=sys.stderr)
    return False


def find_peers(build: Path, ms: int) -> dict[str, list[Subject]]:
    """Which rivals can run here, by case; says in one line each which cannot."""
    found: dict[str, list[Subject]] = {}

    def add(case: str, name: str, command: list[str], measure: str) -> None:
        found.setdefault(case, []).append(Subject(name, tuple(command), measure))

    script = str(BENCH / "peers" / "peers.py")
    for name, module in [("pool", "multiprocessing"), ("futures", "concurrent.futures"), ("ray", "ray"),
                         ("dask", "distributed")]:
        if subprocess.run([sys.executable, "-c", f"import {module}"], capture_output=True).returncode != 0:
            print(f"bench: peer {name} left out: {sys.executable} cannot import {module}", file=sys.stderr)
            continue
        for case, measure in [("task.sync.parked", "sync"), ("task.async", "async"), ("start.first_result", "start")]:
            add(case, name, [sys.executable, script, name, measure, "--ms", str(ms)], measure)
    tbb = build / "bench/peers/peer_tbb"
    if tbb.exists():
        add("task.sync.spin", "tbb", [str(tbb), "sync", "--ms", str(ms)], "sync")
        add("task.forkjoin", "tbb", [str(tbb), "forkjoin", "--ms", str(ms)], "forkjoin")
        add("task.async", "tbb", [str(tbb), "async", "--ms", str(ms)], "async")
    else:
        print("bench: peer tbb left out: not built (package libtbb-dev)", file=sys.stderr)
    openmp = build / "bench/peers/peer_openmp"
    if not openmp.exists():
        print("bench: peer openmp left out: not built (the compiler has no OpenMP)", file=sys.stderr)
    for name, program in (("tbb", tbb), ("openmp", openmp)):
        for case in ("metg.independent", "metg.stencil"):
            if program.exists():
                add(case, name, [str(program), case, "--ms", str(ms)], case)
    return found


def make_log(path: Path, size: int) -> None:
    """Writes a log of `size` bytes of numbered lines, every third an error, unless it is there."""
    if path.exists() and path.stat().st_size == size:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = (f"{('ERROR', 'INFO', 'DEBUG')[i % 3]}: Log message {i}\n" for i in range(400_000))
    block = "".join(lines).encode()
    temporary = path.with_suffix(".tmp")
    with open(temporary, "wb") as file:
        left = size
        while left > 0:
            left -= file.write(block[:left])
    temporary.rename(path)


# ---- Running --------------------------------------------------------------------------------------


class Runner:
    def __init__(self, build: Path, verbose: bool, timeout_s: int):
        self.verbose = verbose
        self.timeout_s = timeout_s
        self.probe_command = [str(build / "bench/bare/bare_pingpong"), "--ms", "5"]

    def run(self, command: tuple[str, ...] | list[str]) -> dict[str, dict]:
        """Runs a program and returns what it measured, by name."""
        try:
            # In a session of its own, so that a program that hangs goes with all it started.
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                       start_new_session=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
        except OSError as error:
            raise BenchError(f"{command[0]}: {error.strerror}; build it by scripts/build bench") from error
        try:
            out, err = process.communicate(timeout=self.timeout_s)
        except subprocess.TimeoutExpired as error:
            os.killpg(process.pid, 9)
            process.communicate()
            raise BenchError(f"{' '.join(command)}: still running after {self.timeout_s} s") from error
        if process.returncode != 0:
            raise BenchError(f"{' '.join(command)}: ended with {process.returncode}: {err.strip()[-500:]}")
        if self.verbose:
            print(out, file=sys.stderr, end="")
        return {line["measure"]: line for line in map(json.loads, out.splitlines())}

    def probe(self) -> float:
        return self.run(self.probe_command)["pingpong"]["value"]


def run_rounds(runner: Runner, cases: list[Case], rounds: int) -> tuple[dict, dict[str, int], list[float]]:
    """Returns the series by (case, subject), the number of disturbed rounds by case, and all probes."""
    series = {(case.name, subject.name): Series() for case in cases for subject in case.subjects}
    disturbed = {case.name: 0 for case in cases}
    probes: list[float] = []
    for number in range(rounds):
        say(f"bench: round {number + 1} of {rounds}")
        seen: dict[tuple[str, ...], dict] = {}  # one program may give the figures of several cases
        for case in cases:
            if number >= case.rounds_max:
                continue
            turn: list[tuple[Subject, dict]] = []
            for repeat in range(REPEATS_MAX + 1):
                before = runner.probe()
                turn = []
                # Every other round backwards, so that nobody always runs after the same one.
                for subject in case.subjects if number % 2 == 0 else case.subjects[::-1]:
                    if repeat == 0 and subject.command in seen:
                        turn.append((subject, seen[subject.command]))
                        continue
                    result = runner.run(subject.command)
                    seen[subject.command] = result
                    turn.append((subject, result))
                after = runner.probe()
                probes += [before, after]
                if max(before, after) <= PROBE_MOVED * min(before, after):
                    break
            else:
                disturbed[case.name] += 1
            for subject, result in turn:
                if subject.measure not in result:
                    raise BenchError(f"{subject.command[0]} printed no figure called {subject.measure}")
                figure = result[subject.measure]
                entry = series[case.name, subject.name]
                entry.values.append(figure["value"])
                entry.unit, entry.note = figure["unit"], figure["note"]
    return series, disturbed, probes


# ---- What is made of it ---------------------------------------------------------------------------


@dataclass
class Row:
    case: str
    subject: str
    value: float
    unit: str
    better: str
    low: float
    high: float
    runs: int
    note: str
    ratio: float | None  # to bare
    verdict: str  # "", "met", "MISSED"
    target: str

    def to_json(self) -> str:
        note = self.note
        if self.ratio is not None:
            note += f"; {self.ratio:.3g} x bare"
        if self.target:
            note += f"; target {self.target}: {self.verdict}"
        return json.dumps({"case": self.case, "subject": self.subject, "value": self.value, "unit": self.unit,
                           "better": self.better, "min": self.low, "max": self.high, "runs": self.runs, "note": note})


def judge(target: dict | None, value: float, unit: str, ratio: float | None) -> tuple[str, str]:
    """Returns the target as text, and whether it is met."""
    if target is None:
        return "", ""
    is_ratio = target["of"] == "ratio"
    figure = ratio if is_ratio else value
    if figure is None:
        return "", ""
    sign, bound = ("<=", target["at_most"]) if "at_most" in target else (">=", target["at_least"])
    met = figure <= bound if sign == "<=" else figure >= bound
    text = f"{sign} {bound:.3g} x bare" if is_ratio else f"{sign} {human(bound, unit)}"
    return text, "met" if met else "MISSED"


def make_rows(cases: list[Case], series: dict, disturbed: dict[str, int], targets: dict) -> list[Row]:
    rows = []
    for case in cases:
        bare = series.get((case.name, "bare"))
        for subject in case.subjects:
            entry = series[case.name, subject.name]
            value = statistics.median(entry.values)
            ratio = None
            if bare is not None and subject.name != "bare":
                ratio = statistics.median(a / b for a, b in zip(entry.values, bare.values))
            target, verdict = "", ""
            if subject.name == "tarn":
                target, verdict = judge(targets.get(case.name), value, entry.unit, ratio)
            note = entry.note
            if disturbed[case.name] > 0:
                note += f"; {disturbed[case.name]} of {len(entry.values)} rounds disturbed"
            rows.append(Row(case.name, subject.name, value, entry.unit, case.better, min(entry.values),
                            max(entry.values), len(entry.values), note, ratio, verdict, target))
    return rows


def human(value: float, unit: str) -> str:
    if unit == "ns":
        steps = [(1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1, "ns")]
    elif unit == "B":
        steps = [(1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")]
    elif unit == "B/s":
        steps = [(1e9, "GB/s"), (1e6, "MB/s"), (1, "B/s")]
    elif unit == "1":
        return f"{value:.3g}"
    else:
        steps = [(1e6, "M/s"), (1e3, "k/s"), (1, "/s")]
    for step, name in steps:
        if abs(value) >= step:
            return f"{value / step:.3g} {name}"
    return f"{value:.3g} {steps[-1][1]}"


def print_table(rows: list[Row], probes: list[float], disturbed: dict[str, int]) -> None:
    header = ("case", "subject", "median", "min", "max", "x bare", "target", "")
    lines = [header]
    last = None
    for row in rows:
        lines.append(("" if row.case == last else row.case, row.subject, human(row.value, row.unit),
                      human(row.low, row.unit), human(row.high, row.unit),
                      "" if row.ratio is None else f"{row.ratio:.3g}", row.target, row.verdict))
        last = row.case
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    print()
    for line in lines:
        cells = [text.ljust(w) if i in (0, 1, 6, 7) else text.rjust(w) for i, (text, w) in enumerate(zip(line, widths))]
        print("  ".join(cells).rstrip())
    print()
    missed = [row.case for row in rows if row.verdict == "MISSED"]
    met = sum(row.verdict == "met" for row in rows)
    print(f"probe: ping-pong {min(probes):.0f} to {max(probes):.0f} ns, median {statistics.median(probes):.0f} ns; "
          f"{sum(disturbed.values())} disturbed rounds")
    print(f"targets: {met} met, {len(missed)} missed" + (f": {' '.join(missed)}" if missed else ""))


def memory(what: str) -> int:
    return int(re.search(rf"{what}:\s+(\d+)", Path("/proc/meminfo").read_text())[1]) * 1024


def describe_machine(build: Path) -> dict:
    def output(*command: str) -> str:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
        return done.stdout.strip() if done.returncode == 0 else "unknown"

    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.split(":", 1)[1].strip()
            break
    flags, compiler = "unknown", "unknown"
    for entry in json.loads((build / "compile_commands.json").read_text()):
        if entry["file"].endswith("submitter.cpp"):
            words = entry["command"].split()
            flags = " ".join(w for w in words if re.match(r"-(O|m|std|f(no-)?(exceptions|rtti|lto))", w))
            compiler = output(*[w for w in words[:2] if "ccache" not in w][:1], "--version").splitlines()[0]
            break
    commit = output("git", "rev-parse", "--short=12", "HEAD")
    if commit != "unknown" and output("git", "status", "--porcelain", "--untracked-files=no") != "":
        commit += "+changes"
    return {"machine": f"{model}, {len(os.sched_getaffinity(0))} cores, {memory('MemTotal') / 2**30:.0f} GiB",
            "kernel": platform.release(), "compiler": compiler, "flags": flags, "commit": commit,
            "date": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}


def draw_plots(rows: list[Row], directory: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        print("bench: no plots: matplotlib is not installed (package python3-matplotlib)", file=sys.stderr)
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    directory.mkdir(parents=True, exist_ok=True)
    for case in dict.fromkeys(row.case for row in rows):
        mine = [row for row in rows if row.case == case]
        figure, axes = pyplot.subplots(figsize=(6, 0.6 + 0.4 * len(mine)))
        values = [row.value for row in mine]
        errors = [[row.value - row.low for row in mine], [row.high - row.value for row in mine]]
        axes.barh([row.subject for row in mine], values, xerr=errors, color=["C0" if r.subject == "tarn" else "0.7"
                                                                             for r in mine])
        if min(values) > 0 and max(values) > 30 * min(values):
            axes.set_xscale("log")
        axes.invert_yaxis()
        axes.set_title(f"{case}: {mine[0].better} is better")
        axes.set_xlabel(mine[0].unit)
        figure.tight_layout()
        figure.savefig(directory / f"{case}.svg")
        pyplot.close(figure)


# ---- The command line -----------------------------------------------------------------------------


def say(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\033[K{text}", file=sys.stderr, end="", flush=True)
    else:
        print(text, file=sys.stderr, flush=True)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/bench", description="Measures Tarn beside the bare limits.")
    parser.add_argument("--quick", action="store_true", help="fewer, shorter rounds; about a minute")
    parser.add_argument("--only", metavar="REGEX", default="", help="only the cases whose name matches")
    parser.add_argument("--json", metavar="FILE", help="write one JSON object a line to FILE, - for stdout")
    parser.add_argument("--plots", metavar="DIR", help="draw one SVG a case into DIR (needs matplotlib)")
    parser.add_argument("--peers", action="store_true", help="measure the rivals that are installed, too")
    parser.add_argument("--runs", metavar="N", type=int, help="rounds (9, with --quick 3)")
    parser.add_argument("--size-max", metavar="BYTES", type=int,
                        help="leave out cases with larger objects (a third of the memory that is available)")
    parser.add_argument("--churn-s", metavar="S", type=int,
                        help="measure store.churn once, for S seconds (10, with --quick 3); its target means 600")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a target is missed")
    parser.add_argument("--list", action="store_true", help="print the names of the cases and end")
    parser.add_argument("--verbose", action="store_true", help="print every single figure")
    parser.add_argument("--smoke", action="store_true", help="everything once and tiny: proves only that it runs")
    parser.add_argument("--build", metavar="DIR", type=Path, default=ROOT / "build/bench", help=argparse.SUPPRESS)
    args = parser.parse_args()
    # milliseconds a program; bytes of a large object; of the log; milliseconds and rounds of idling; rounds
    args.ms, args.size, args.log, args.idle_ms, args.idle_rounds, runs = (
        (2, 1 << 20, 1 << 20, 20, 1, 1) if args.smoke else
        (100, 100 << 20, 1 << 30, 5000, 1, 3) if args.quick else (300, 100 << 20, 1 << 30, 5000, 3, 9))
    args.objects = 1000 if args.smoke else 1_000_000
    # Milliseconds and rounds of store.churn, and bytes of its store.
    args.churn_ms, args.churn_rounds, args.store = (
        (20, 1, 64 << 20) if args.smoke else (3000, 1, 1 << 30) if args.quick else (10_000, 3, 1 << 30))
    args.share_ms, args.share_rounds = (20, 1) if args.smoke else (2000, 1) if args.quick else (3000, 3)
    args.spill, args.overcommit = (64 << 20, 64 << 20) if args.smoke else (1 << 30, 2 << 30)
    if args.churn_s is not None:
        args.churn_ms, args.churn_rounds = 1000 * args.churn_s, 1
    args.size_cap = 1 << 20 if args.smoke else 1 << 40
    args.runs = args.runs or runs
    if args.size_max is None:
        args.size_max = (1 << 40) if args.smoke else memory("MemAvailable") // MEMORY_PER_SIZE
    if args.runs < 1:
        parser.error("--runs is at least 1")
    return args


def main() -> int:
    args = parse_arguments()
    build = args.build.resolve()
    log = build / f"bench/sample-{args.log >> 20}m.log"
    peers = find_peers(build, args.ms) if args.peers else {}
    try:
        wanted = re.compile(args.only)
    except re.error as error:
        print(f"bench: --only {args.only}: {error}", file=sys.stderr)
        return 2
    cases = [case for case in all_cases(build, args, peers, log) if wanted.search(case.name)]
    if args.list:
        print("\n".join(case.name for case in cases))
        return 0
    if not cases:
        print(f"bench: no case matches {args.only}; --list prints them", file=sys.stderr)
        return 2

    # The programs run what this tree built, whatever is installed.
    os.environ["TARN_LIBEXEC"] = str(build / "daemon/spawn")
    for name in ("TARN_ADDRESS", "TARN_WORKERS"):
        os.environ.pop(name, None)
    try:
        if any(case.name == "demo.search" for case in cases):
            make_log(log, args.log)
        series, disturbed, probes = run_rounds(Runner(build, args.verbose, PROGRAM_TIMEOUT_S + args.churn_ms // 1000), cases, args.runs)
    except BenchError as error:
        print(f"\nbench: {error}", file=sys.stderr)
        return 1
    say("")
    rows = make_rows(cases, series, disturbed, json.loads((BENCH / "targets.json").read_text()))
    machine = describe_machine(build)
    if args.json:
        text = "".join(line + "\n" for line in [json.dumps(machine)] + [row.to_json() for row in rows])
        if args.json == "-":
            sys.stdout.write(text)
        else:
            Path(args.json).write_text(text)
    if args.json != "-":
        print(f"{machine['machine']}, Linux {machine['kernel']}, {machine['compiler']} {machine['flags']}, "
              f"commit {machine['commit']}")
        print_table(rows, probes, disturbed)
    if args.plots:
        draw_plots(rows, Path(args.plots))
    return 1 if args.strict and any(row.verdict == "MISSED" for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
