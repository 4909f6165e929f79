#!/usr/bin/env python3
"""tarn trace against a real private daemon: trace_test.py TARN TRACED_CLIENT TARND. Prints TAP.

What could go wrong: a file that no viewer opens, a slice without its end, slices that overlap, arrows from or to nowhere, a
trace that stays on when its tracer is killed, or one that does not say that tarnd was away.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cases import eventually, run_cases, test

TARN, TRACED_CLIENT, TARND = sys.argv[1:4]
FOLDER = tempfile.TemporaryDirectory()


class Client:
    """The client that is traced; busy all the time, or for one turn at a time."""

    def __init__(self, *arguments: str) -> None:
        env = {**os.environ, "TARN_ADDRESS": "private", "TARN_TEST_TARND": TARND}
        self.process = subprocess.Popen([TRACED_CLIENT, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        self.pid = int(self.wait_for("ready").split()[1])
        self.address = f"private:{self.pid}"

    def wait_for(self, word: str) -> str:
        return next(line for line in iter(self.process.stdout.readline, "") if line.startswith(word))

    def take_turn(self) -> None:
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        self.wait_for("done")

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def tarn(*arguments: str, status: int = 0) -> subprocess.CompletedProcess:
    env = {k: v for k, v in os.environ.items() if k != "TARN_ADDRESS"}
    done = subprocess.run([TARN, *arguments], capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL, env=env)
    assert done.returncode == status, f"{arguments} ended {done.returncode}: {done.stdout!r} {done.stderr!r}"
    return done


class Trace:
    """A file that `tarn trace` made, by what is in it."""

    def __init__(self, path: Path, text: str = "") -> None:
        self.events = json.loads(text or path.read_text())["traceEvents"]
        self.tracks = {(e["pid"], e["tid"]): e["args"]["name"] for e in self.events if e["ph"] == "M" and e["name"] == "thread_name"}
        self.slices = [e for e in self.events if e["ph"] == "X"]
        self.instants = [e for e in self.events if e["ph"] == "i"]

    def of(self, category: str, name: str = "") -> list[dict]:
        return [e for e in self.slices if category in e["cat"].split(",") and (not name or e["name"] == name)]

    def track(self, event: dict) -> str:
        return self.tracks[event["pid"], event["tid"]]

    def flows(self, category: str) -> list[tuple[dict, dict]]:
        """The slices that the arrows of a category come from and go to."""
        begins = {e["id"]: e for e in self.events if e["ph"] == "s" and e["cat"] == category}
        ends = {e["id"]: e for e in self.events if e["ph"] == "f" and e["cat"] == category}
        assert begins.keys() == ends.keys(), "an arrow has one end only"
        return [(self.slice_at(begins[key]), self.slice_at(ends[key])) for key in begins]

    def slice_at(self, flow: dict) -> dict:
        if not hasattr(self, "by_track"):
            self.by_track: dict = {}
            for each in self.slices:
                self.by_track.setdefault((each["pid"], each["tid"]), []).append(each)
        within = [e for e in self.by_track[flow["pid"], flow["tid"]] if e["ts"] <= flow["ts"] + 1e-6 and flow["ts"] <= e["ts"] + e["dur"] + 1e-6]
        assert within, f"an arrow begins or ends in no slice: {flow}"
        return max(within, key=lambda e: (e["ts"], -e["dur"]))

    def check(self) -> None:
        """What a viewer wants, and what Tarn promises."""
        for event in self.events:
            assert event["ph"] in "MXisf" and isinstance(event["pid"], int) and isinstance(event["tid"], int) and event["ts"] >= 0, event
            assert event["ph"] == "M" or (event["pid"], event["tid"]) in self.tracks, event
            assert event["ph"] != "X" or (event["dur"] >= 0 and event["name"] and event["cat"]), event
            assert event["ph"] not in "sf" or isinstance(event["id"], int), event
        ids = [(e["ph"], e["id"]) for e in self.events if e["ph"] in "sf"]
        assert len(ids) == len(set(ids))
        for track in self.tracks:
            stack: list[float] = []  # ends of the slices that the next one lies in
            # Ends in whole nanoseconds, as a sum of two decimal fractions is not exact.
            rows = [(round(e["ts"] * 1000), round(e["ts"] * 1000) + round(e["dur"] * 1000), i, e) for i, e in enumerate(self.slices) if (e["pid"], e["tid"]) == track]
            for begin, end, _, event in sorted(rows, key=lambda row: (row[0], -row[1], row[2])):
                while stack and stack[-1] <= begin:
                    stack.pop()
                assert not stack or end <= stack[-1], f"slices overlap on {self.tracks[track]}: {event}"
                stack.append(end)
        for category in ("submit", "depends"):
            for before, after in self.flows(category):
                assert before["ts"] <= after["ts"] + 1e-6, (before, after)


def trace(client: Client, *arguments: str) -> tuple[Trace, subprocess.CompletedProcess]:
    path = Path(FOLDER.name) / "trace.json"
    path.unlink(missing_ok=True)
    done = tarn("--address", client.address, "trace", "--out", str(path), *arguments)
    result = Trace(path)
    result.check()
    return result, done


@test
def each_slot_and_the_client_have_a_track() -> None:
    with Client() as client:
        result, _ = trace(client, "--for", "0.5")
    names = sorted(result.tracks.values())
    assert "client" in names and sum(name.startswith("slot ") for name in names) == 2, names
    assert all("(core " in name for name in names if name.startswith("slot ")), names
    assert {result.track(e) for e in result.of("task")} == {name for name in names if name.startswith("slot ")}
    assert {result.track(e) for e in result.of("submit", "submit first_step")} == {"client"}
    process = next(e for e in result.events if e["name"] == "process_name")
    assert process["pid"] == client.pid and process["args"]["name"] == "session 1: traced", process


@test
def arrows_lead_from_submissions_and_dependencies_to_runs() -> None:
    with Client() as client:
        result, _ = trace(client, "--for", "0.5")
    submits = result.flows("submit")
    assert any(a["name"] == "submit first_step" and b["name"] == "first_step" for a, b in submits)
    for before, after in submits:
        if before["name"].startswith("submit "):
            assert before["name"] == f"submit {after['name']}" and before["args"]["task"] == after["args"]["task"], (before, after)
            assert before["args"]["generation"] == after["args"]["generation"]
            assert after["args"]["queue_ns"] >= 0
    depends = {(a["name"], b["name"]) for a, b in result.flows("depends")}
    assert ("first_step", "second_step") in depends and depends <= {("first_step", "second_step"), ("node", "node")}, depends
    for before, after in result.flows("depends"):
        assert before["ts"] + before["dur"] <= after["ts"] + 1e-3


@test
def tasks_of_tasks_lie_in_the_wait_of_their_parent_or_elsewhere() -> None:
    with Client() as client:
        result, _ = trace(client, "--for", "0.5")
    parents = result.of("task", "parent")
    assert parents
    inside = [w for w in result.of("wait") for p in parents
              if (w["pid"], w["tid"]) == (p["pid"], p["tid"]) and p["ts"] <= w["ts"] and w["ts"] + w["dur"] <= p["ts"] + p["dur"] + 1e-6]
    assert inside and all(w["name"] == "wait for 4" for w in inside), inside[:3]
    # Submitted on the track of a slot, by the parent.
    assert all(result.track(e).startswith("slot ") for e in result.of("submit", "submit leaf"))
    assert any(after["name"] == "leaf" for _, after in result.flows("submit"))


@test
def a_killed_run_ends_with_its_worker_and_the_next_attempt_is_its_own() -> None:
    with Client() as client:
        result, _ = trace(client, "--for", "1")
    runs = sorted(result.of("task", "dies_once"), key=lambda e: e["ts"])
    killed = [e for e in runs if e["args"]["attempt"] == 1]
    again = [e for e in runs if e["args"]["attempt"] == 2]
    assert killed and again
    # The last one may have been going on when the trace ended.
    assert [e["args"].get("cut") for e in killed[:-1]] == ["its process died"] * (len(killed) - 1)
    assert all(e["dur"] > 900 for e in killed[:-1])
    process = {(e["args"]["task"], e["args"]["generation"]): e["args"]["worker_pid"] for e in killed}
    pairs = [(process[which], e["args"]["worker_pid"]) for e in again if (which := (e["args"]["task"], e["args"]["generation"])) in process]
    assert pairs and all(first != second for first, second in pairs), pairs
    texts = {e["name"] for e in result.instants}
    assert any("was killed by signal 9" in text for text in texts) and "attempt 2" in texts, texts
    assert any(result.track(e) == "tarnd" and "serves" in e["name"] for e in result.instants)


@test
def failures_are_marked() -> None:
    with Client() as client:
        result, _ = trace(client, "--for", "0.5")
    failed = result.of("task", "fails")
    assert failed and all(e["args"]["failed"] and e["args"]["code"] == -1000 for e in failed if "cut" not in e["args"])
    attempts = {e["args"]["attempt"]: e["args"].get("failed", False) for e in result.of("task", "fails_once") if "cut" not in e["args"]}
    assert attempts == {1: True, 2: False}, attempts
    assert any("runs again after a while" in e["name"] for e in result.instants)


@test
def the_critical_path_of_a_graph_is_the_side_that_ended_last() -> None:
    with Client() as client:
        result, done = trace(client, "--for", "1", "--json")
    answer = json.loads(done.stdout)
    assert answer["schema"] == "tarn.trace/1" and answer["file"].endswith("trace.json")
    (session,) = answer["sessions"]
    complete = [graph for graph in session["graphs"] if graph["complete"]]
    assert complete and session["graph_runs"] >= len(complete)
    for graph in complete:
        path = graph["critical_path"]
        ends = {e["args"]["node"]: e["ts"] + e["dur"] for e in result.of("node") if e["args"]["graph_run"] == graph["run"]}
        # 2 takes longer, but 1 may have found no worker for a while.
        assert [step["node"] for step in path["steps"]] == [0, max((1, 2), key=lambda node: ends[node]), 3] and path["nodes"] == 3, (path, ends)
        assert 150_000 <= path["run_ns"] <= graph["wall_ns"] and path["run_ns"] == sum(step["run_ns"] for step in path["steps"]), graph
        assert path["run_ns"] + path["wait_ns"] <= graph["wall_ns"]
        assert len(graph["longest_waits"]) == 4 and graph["nodes_run"] == 4
        waits = [step["wait_ns"] for step in graph["longest_waits"]]
        assert waits == sorted(waits, reverse=True) and sum(waits) == graph["wait_ns"]
    critical = result.of("critical")
    assert critical and {0, 3} < {e["args"]["node"] for e in critical} and all(e["args"]["critical"] for e in critical)
    assert {e["args"]["node"] for e in result.of("node")} == {0, 1, 2, 3}
    assert all(e["args"]["wait_ns"] >= 0 for e in critical)
    assert 0 < sum(slot["busy"] for slot in session["slots"]) <= 2 and session["lost"] == 0
    by_name = {task["task"]: task for task in session["tasks"]}
    assert by_name["fails"]["failed"] + by_name["fails"]["cut"] == by_name["fails"]["runs"] > 0


@test
def the_summary_is_for_people() -> None:
    with Client() as client:
        _, done = trace(client, "--for", "500ms", "--summary")
    for word in ("slot ", "busy", "critical path of 3", "TASK", "first_step"):
        assert word in done.stdout, done.stdout


@test
def the_trace_may_go_to_the_standard_output() -> None:
    with Client() as client:
        text = tarn("--address", client.address, "trace", "--for", "0.2", "--out", "-").stdout
    Trace(Path(), text).check()


@test
def who_traces_later_sees_nothing_of_before_and_memory_is_given_back() -> None:
    def used() -> int:
        return json.loads(tarn("--address", client.address, "status", "--json").stdout)["memory_used"]

    with Client("once") as client:
        client.take_turn()
        before = used()
        result, _ = trace(client, "--for", "0.2")
        assert not result.of("task") and not result.of("submit"), result.slices[:3]
        assert eventually(lambda: used() <= before), (used(), before)
        client.take_turn()
        result, _ = trace(client, "--for", "0.1")
        assert not result.of("task")


@test
def a_tracer_that_is_killed_leaves_nothing_on() -> None:
    with Client() as client:
        def used() -> int:
            return json.loads(tarn("--address", client.address, "status", "--json").stdout)["memory_used"]

        # The lanes of its members are 2 MiB each; by the workers that die, what it uses goes up and down by less.
        limit = max(used() for _ in range(20)) + (4 << 20)
        tracer = subprocess.Popen([TARN, "--address", client.address, "trace", "--for", "60", "--out", str(Path(FOLDER.name) / "none.json")], stdout=subprocess.DEVNULL)
        assert eventually(lambda: used() > limit), (used(), limit)
        tracer.kill()
        tracer.wait()
        assert eventually(lambda: used() < limit), (used(), limit)
        result, _ = trace(client, "--for", "0.3")  # and it can be traced again
        assert result.of("task")
    assert not (Path(FOLDER.name) / "none.json").exists()


@test
def an_interrupt_ends_the_trace_and_writes_it() -> None:
    path = Path(FOLDER.name) / "interrupted.json"
    with Client() as client:
        tracer = subprocess.Popen([TARN, "--address", client.address, "trace", "--for", "0", "--out", str(path)], stdout=subprocess.DEVNULL)
        time.sleep(0.5)
        tracer.send_signal(signal.SIGINT)
        assert tracer.wait(10) == 0
    result = Trace(path)
    result.check()
    assert result.of("task")


@test
def it_ends_with_the_last_session() -> None:
    begin = time.monotonic()
    with Client() as client:
        path = Path(FOLDER.name) / "ended.json"
        tracer = subprocess.Popen([TARN, "--address", client.address, "trace", "--for", "60", "--out", str(path)], stdout=subprocess.DEVNULL)
        time.sleep(0.5)
    assert tracer.wait(20) == 0 and time.monotonic() - begin < 20
    result = Trace(path)
    result.check()
    assert result.of("task")


@test
def a_tarnd_that_is_killed_comes_back_and_that_is_told() -> None:
    with Client() as client:
        path = Path(FOLDER.name) / "restarted.json"
        tracer = subprocess.Popen([TARN, "--address", client.address, "trace", "--for", "2", "--out", str(path)], stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)
        time.sleep(0.7)
        daemon = json.loads(tarn("--address", client.address, "status", "--json").stdout)["pid"]
        os.kill(daemon, signal.SIGKILL)
        _, errors = tracer.communicate(timeout=30)
        assert tracer.returncode == 0 and "tarnd was away for" in errors, errors
    result = Trace(path)
    result.check()
    ends = [e["ts"] + e["dur"] for e in result.of("task")]
    assert max(ends) > 1.5e6, max(ends)


@test
def wrong_arguments_are_told() -> None:
    with Client("once") as client:
        address = ("--address", client.address)
        assert "no session 99" in tarn(*address, "trace", "--session", "99", "--for", "0.1", "--out", "/dev/null", status=4).stderr
        assert "cannot write" in tarn(*address, "trace", "--out", "/nonexistent/trace.json", status=1).stderr
        tarn(*address, "trace", "--for", "-1", status=2)
        tarn(*address, "trace", "--size", "12", status=2)
        tarn(*address, "trace", "--watch", "1", status=2)
        tarn(*address, "trace", "--filter", "a=b", status=2)
        tarn(*address, "trace", "--out", "-", "--json", status=2)


def main() -> None:
    run_cases()
    FOLDER.cleanup()


if __name__ == "__main__":
    main()
