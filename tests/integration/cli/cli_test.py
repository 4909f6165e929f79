#!/usr/bin/env python3
"""tarn against a real private daemon: cli_test.py TARN BUSY_CLIENT. Prints TAP.

What could go wrong: the wrong daemon is asked, a number is another than the one meant, a client's name reaches the
terminal, or a mistake ends with status 0.
"""

import json
import os
import pty
import signal
import subprocess
import sys
import time

from cases import CASES, eventually, run_case, run_cases, test

TARN, BUSY_CLIENT = sys.argv[1:3]


class Client:
    """A client that is busy until the end of the `with`."""

    def __enter__(self) -> "Client":
        self.process = subprocess.Popen([BUSY_CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                                        env={**os.environ, "TARN_ADDRESS": "private", "TARN_RESOURCES": "licence=1"})
        # What its task prints comes here as well, before or behind that.
        ready = next(line.split() for line in iter(self.process.stdout.readline, "") if line.startswith("ready"))
        if ready[:1] != ["ready"]:
            raise RuntimeError("the client did not start")
        self.pid = int(ready[1])
        self.address = f"private:{self.pid}"
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.stdin.close()
        self.process.wait(10)
        self.process.stdout.close()


def tarn(*arguments: str, status: int = 0, **environment: str) -> subprocess.CompletedProcess:
    done = subprocess.run(
        [TARN, *arguments], capture_output=True, text=True, timeout=30, check=False, stdin=subprocess.DEVNULL,
        env={**{k: v for k, v in os.environ.items() if k != "TARN_ADDRESS"}, **environment},
    )
    assert done.returncode == status, f"{arguments} ended {done.returncode}: {done.stdout!r} {done.stderr!r}"
    assert bool(done.stderr) == (status != 0) or "there are more" in done.stderr, done.stderr
    return done


def ask(client: Client, *arguments: str) -> dict:
    return json.loads(tarn("--address", client.address, *arguments, "--json").stdout)


@test
def status_counts_the_session_and_its_tasks(client: Client) -> None:
    assert eventually(lambda: ask(client, "status")["session_list"][0]["tasks"]["running"] == 1)
    answer = ask(client, "status")
    assert answer["schema"] == "tarn.status/1" and answer["address"] == client.address
    assert answer["private"] is True and answer["sessions"] == 1 and answer["workers"] == 1
    assert 0 < answer["memory_used"] < answer["memory_limit"] and answer["uptime_ns"] > 0
    session = answer["session_list"][0]
    assert session["pid"] == client.pid and session["uid"] == os.getuid()
    assert session["tasks"]["waiting"] == 1, session


@test
def slots_are_the_cores_we_have(client: Client) -> None:
    answer = ask(client, "slots")
    assert answer["schema"] == "tarn.slots/1" and len(answer["slots"]) >= 1
    assert len(answer["slots"]) <= len(os.sched_getaffinity(0))
    assert sum(slot["workers"] for slot in answer["slots"]) == 1
    for slot in answer["slots"]:
        assert slot["memory"] > 0 and int(slot["cpus"]) in os.sched_getaffinity(0)


@test
def workers_are_pinned_where_they_say(client: Client) -> None:
    assert eventually(lambda: ask(client, "workers")["workers"][0]["state"] == "serving")
    (worker,) = ask(client, "workers")["workers"]
    assert os.sched_getaffinity(worker["pid"]) == {worker["core"]}
    assert worker["worker"] >= 2 and worker["tasks_done"] == 0 and worker["rank"] == 0


@test
def tasks_show_who_runs_what(client: Client) -> None:
    assert eventually(lambda: ask(client, "tasks")["counts"]["running"] == 1)
    answer = ask(client, "tasks")
    running, waiting = answer["tasks"]
    assert running["state"] == "running" and running["worker"] == ask(client, "workers")["workers"][0]["worker"]
    assert running["attempts"] == 1 and running["member"] == 1
    assert running["priority"] == 0 and waiting["priority"] == 2 and running["waits_for"] == 0 and waiting["waits_for"] == 1
    assert not running["cancelled"] and not waiting["cancelled"]
    assert waiting["state"] == "waiting" and waiting["worker"] is None
    assert running["needs"] is None and waiting["needs"] == "slot 0, licence=1", waiting
    assert "resources licence 0 of 1 in use" in tarn("--address", client.address, "status").stdout
    assert ask(client, "status")["resources"] == [{"name": "licence", "total": 1, "used": 0}]
    assert running["why"] is None and running["waits_on"] == []
    assert waiting["why"] == "another task is not done" and waiting["waits_on"] == [f"1.{running['record']} sleep_for_long"], waiting
    assert f"1.{running['record']} sleep_for_long" in tarn("--address", client.address, "tasks").stdout
    assert running["task"] == waiting["task"] == "sleep_for_long" and not answer["truncated"]
    assert running["labels"] == [] and waiting["labels"] == ["part=2", "kind=evil?[2J"] and waiting["retry_in_ns"] is None
    assert [task["state"] for task in ask(client, "tasks", "--filter", "labels=part=2")["tasks"]] == ["waiting"]
    assert ask(client, "tasks", "--filter", "labels=part=3")["tasks"] == []
    assert "part=2" in tarn("--address", client.address, "tasks").stdout


@test
def top_shows_who_is_busy(client: Client) -> None:
    assert eventually(lambda: ask(client, "tasks")["counts"]["running"] == 1)
    begin = time.monotonic_ns()
    answer = ask(client, "top", "--once")
    assert answer["schema"] == "tarn.top/1" and 250_000_000 <= answer["interval_ns"] <= time.monotonic_ns() - begin
    (session,) = answer["sessions"]
    assert session["session"] == 1 and session["pid"] == client.pid and session["running"] == 1 and session["waiting"] == 1
    assert session["finished"] == session["failed"] == session["finished_per_s"] == session["ready"] == 0 and session["oldest_ready_ns"] is None
    assert 0 < session["memory_used"] < session["memory_limit"] and session["disk_used"] == 0
    (slot,) = session["slots"]
    (worker,) = ask(client, "workers")["workers"]
    assert (slot["pid"], slot["worker"], slot["slot"], slot["died"]) == (worker["pid"], worker["worker"], worker["slot"], 0)
    # It sleeps: with a task, and without the processor.
    assert slot["busy"] == 1 and slot["cpu"] < 0.5 and slot["rss"] > 100_000 and slot["task"] == "sleep_for_long", slot
    assert 250_000_000 <= slot["running_ns"] <= answer["interval_ns"], slot
    table = tarn("--address", client.address, "top", "--once").stdout
    assert "sleep_for_long" in table and "100 %" in table and "session 1" in table and "\x1b" not in table, table
    tarn("--address", client.address, "top", "--watch", "1", status=2)


@test
def top_goes_on_until_it_is_interrupted(client: Client) -> None:
    process = subprocess.Popen([TARN, "--address", client.address, "top", "--json"], stdout=subprocess.PIPE, text=True)
    looks = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert process.returncode == 0
    ages = [look["sessions"][0]["slots"][0]["running_ns"] for look in looks]
    assert ages[1] > ages[0] + 500_000_000, ages


@test
def top_ends_with_q_on_a_terminal(client: Client) -> None:
    main, other = pty.openpty()
    process = subprocess.Popen([TARN, "--address", client.address, "top"], stdin=other, stdout=other, env={**os.environ, "TERM": "xterm"})
    text = b""
    while b"q ends this" not in text:
        text += os.read(main, 65536)
    os.write(main, b"q")
    assert process.wait(10) == 0 and b"sleep_for_long" in text
    os.close(other)
    os.close(main)


@test
def objects_show_who_holds_what(client: Client) -> None:
    answer = ask(client, "objects")
    assert answer["count"] >= 1 and answer["bytes"] >= 1 << 20
    largest = answer["objects"][0]
    assert largest["size"] == 1 << 20 and largest["state"] == "sealed" and largest["holders"] == [1]
    assert largest["held_by"] == ["client"] and largest["pinned_by"] == [] and largest["where"] == "memory", largest
    assert 0 <= largest["unused_s"] < 120, largest
    # A small one stays in memory, so nobody pins it.
    small = next(row for row in answer["objects"] if row["size"] == 1000)
    assert small["pinned_by"] is None and small["unused_s"] is None and small["where"] == "memory", small
    assert any(slab["owner"] == 1 and slab["size"] >= 1 << 20 for slab in answer["slabs"])


@test
def objects_and_memory_show_what_the_objects_say_they_are(client: Client) -> None:
    rows = {row["size"]: row for row in ask(client, "objects")["objects"]}
    assert rows[1 << 20]["type"] is None and rows[1 << 20]["label"] is None
    assert rows[4096]["type"] == "string" and rows[4096]["label"].startswith("evil?[2J")
    assert (rows[1000]["type"], rows[1000]["label"]) == ("0x10001", "part") == (rows[0]["type"], rows[0]["label"])
    assert len(ask(client, "objects", "--filter", "LABEL=part")["objects"]) == 3
    table = tarn("--address", client.address, "objects").stdout
    assert "TYPE" in table and "LABEL" in table and "part" in table and "\x1b" not in table and "\x9b" not in table
    types = {row["type"]: row for row in ask(client, "memory", "--by", "type")["memory"]}
    assert types["0x10001"] == {"type": "0x10001", "objects": 3, "bytes": 3000, "pinned": 0, "small": 3000, "on_disk": 0,
                                "dropped": 0}
    assert types["string"]["bytes"] == 4096 and types[None]["bytes"] >= 1 << 20
    answer = ask(client, "memory", "--by", "label")
    labels = {row["label"]: row for row in answer["memory"]}
    assert labels["part"] == {"label": "part", "label_read": True, "objects": 3, "bytes": 3000, "pinned": 0, "small": 3000,
                              "on_disk": 0, "dropped": 0} and len(labels) == 3
    assert not answer["truncated"] and answer["schema"] == "tarn.memory/1"
    table = tarn("--address", client.address, "memory", "--by", "label").stdout
    assert "IN USE" in table and "part" in table and "\x1b" not in table


@test
def memory_shows_who_has_how_much(client: Client) -> None:
    rows = ask(client, "memory")["memory"]
    mine = [row for row in rows if row["member"] == 1]
    assert sum(row["bytes"] for row in mine) >= 1 << 20 and sum(row["records"] for row in mine) > 0
    assert all(row["bytes"] <= row["size"] for row in rows)
    assert {row["member"] for row in rows} == {1} | {worker["worker"] for worker in ask(client, "workers")["workers"]}
    for by in ("session", "client", "tenant", "node"):
        groups = ask(client, "memory", "--by", by)["memory"]
        assert len(groups) == len({row[by] for row in rows})
        for key in ("slabs", "size", "objects", "bytes", "records"):
            assert sum(group[key] for group in groups) >= sum(row[key] for row in mine)
    # The limit is for what is shown, not for what is summed up.
    assert ask(client, "memory", "--by", "session", "--limit", "1")["memory"][0]["records"] == sum(row["records"] for row in rows)
    by_node = tarn("memory", "--by", "node", "--address", client.address).stdout
    assert "IN USE" in by_node and any(line.split()[0] == "all" for line in by_node.splitlines() if line.strip())
    # The large object, which is interleaved; the small ones are near their maker.
    assert sum(row["bytes"] for row in mine if row["node"] == -2) == 1 << 20
    assert sum(row["bytes"] for row in mine if row["node"] >= 0) >= 4096
    # There is room, so nobody waits.
    assert ask(client, "memory")["waiting"] == {"requests": 0, "bytes": 0, "oldest_s": 0.0}
    assert all(row["waiting"] == 0 for row in rows)
    table = tarn("memory", "--address", client.address).stdout
    assert "WAITING" in table and "for memory:" not in table
    assert "--by" in tarn("memory", "--by", "colour", "--address", client.address, status=2).stderr


@test
def filters_and_limits_choose_rows(client: Client) -> None:
    assert [task["state"] for task in ask(client, "tasks", "--filter", "state=waiting")["tasks"]] == ["waiting"]
    assert ask(client, "tasks", "--filter", "state=waiting", "--filter", "member=9")["tasks"] == []
    assert ask(client, "tasks", "--filter", "from=9")["tasks"] == []  # by the heading of the column
    assert len(ask(client, "tasks", "--filter", "STATE=waiting", "--filter", "From=1")["tasks"]) == 1
    one = ask(client, "tasks", "--limit", "1")
    assert len(one["tasks"]) == 1 and one["truncated"]
    assert "there are more" in tarn("--address", client.address, "tasks", "--limit", "1").stderr
    assert "there is no colour" in tarn("--address", client.address, "tasks", "--filter", "colour=red", status=2).stderr
    tarn("--address", client.address, "tasks", "--filter", "state", status=2)
    # Also where no row is left to compare with; what rows have besides the columns is allowed.
    for verb, key in {"tasks": "number", "workers": "uid", "objects": "slab", "slots": "cpus", "status": "uid"}.items():
        none = ("--filter", "state=none") if verb not in ("slots", "status") else ("--filter", f"{key}=none")
        tarn("--address", client.address, verb, *none, "--filter", "colour=red", status=2)
        tarn("--address", client.address, verb, *none, "--filter", f"{key}=none")


@test
def logs_show_who_printed_what(client: Client) -> None:
    assert eventually(lambda: len(ask(client, "logs")["logs"]) == 2)
    (worker,) = ask(client, "workers")["workers"]
    answer = ask(client, "logs")
    assert answer["schema"] == "tarn.logs/1" and answer["address"] == client.address and not answer["truncated"]
    out, error = sorted(answer["logs"], key=lambda row: row["stream"], reverse=True)
    for row, stream, cut in ((out, "stdout", False), (error, "stderr", True)):
        assert row["task"] == "sleep_for_long" and row["stream"] == stream and row["cut"] is cut, row
        assert row["session"] == 1 and row["from"] == 1 and row["generation"] == 1 and row["slot"] == worker["slot"], row
        assert row["worker"] == worker["worker"] and row["pid"] == worker["pid"] and abs(time.time_ns() - row["time_ns"]) < 120e9, row
    assert out["text"] == "going to \x1b[2J sleep" and error["text"] == "not a word"
    record = next(task["record"] for task in ask(client, "tasks")["tasks"] if task["state"] == "running")
    for what in ("1", str(worker["pid"]), "sleep_for_long", f"1.{record}"):
        assert len(ask(client, "logs", what)["logs"]) == 2, what
    assert [row["stream"] for row in ask(client, "logs", "--filter", "stream=stderr")["logs"]] == ["stderr"]
    last = ask(client, "logs", "--limit", "1")
    assert last["logs"] == answer["logs"][1:] and last["truncated"]
    assert "nothing is kept" in tarn("--address", client.address, "logs", "frobnicate", status=4).stderr
    assert "there is no colour" in tarn("--address", client.address, "logs", "--filter", "colour=red", status=2).stderr
    table = tarn("--address", client.address, "logs").stdout
    assert f"(sleep_for_long pid={worker['pid']} slot={worker['slot']}) " in table and "\x1b" not in table, table


@test
def logs_can_be_followed(client: Client) -> None:
    command = [TARN, "--address", client.address, "logs", "--follow", "--json"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    first = json.loads(process.stdout.readline())
    process.terminate()
    process.communicate(timeout=10)
    assert first["schema"] == "tarn.logs/1" and len(first["logs"]) == 2
    tarn("--address", client.address, "logs", "--follow", "--watch", "1", status=2)


@test
def tables_show_the_same(client: Client) -> None:
    for verb, word in {"status": "SESSION", "slots": "SIBLINGS", "workers": "serving", "tasks": "waiting", "objects": "1.0 MiB", "memory": "RECORDS"}.items():
        text = tarn(verb, "--address", client.address).stdout
        assert word in text, text
        assert all(line == line.rstrip() for line in text.splitlines())


@test
def a_name_never_reaches_the_terminal_as_it_is(client: Client) -> None:
    for arguments in (["status"], ["workers"], ["status", "--json"], ["workers", "--json"]):
        text = tarn("--address", client.address, *arguments).stdout
        assert "\x1b" not in text and "\x9b" not in text, repr(text)
        assert "evil" in text


@test
def colours_only_on_a_terminal_that_wants_them(client: Client) -> None:
    def on_terminal(**environment: str) -> bytes:
        main, other = pty.openpty()
        command = [TARN, "--address", client.address, "workers"]
        done = subprocess.run(command, stdout=other, env={**os.environ, "TERM": "xterm", **environment}, check=False)
        os.close(other)
        text = os.read(main, 65536)
        os.close(main)
        assert done.returncode == 0
        return text

    assert b"\x1b[" in on_terminal()
    assert b"\x1b[" not in on_terminal(NO_COLOR="1")


@test
def the_daemon_is_found_by_itself(client: Client) -> None:
    addresses = [json.loads(line)["address"] for line in tarn("--address", "private", "status", "--json").stdout.splitlines()]
    assert client.address in addresses
    assert json.loads(tarn("status", "--json", TARN_ADDRESS=client.address).stdout)["address"] == client.address
    assert client.address in tarn("version").stdout


@test
def watching_goes_on_until_interrupted(client: Client) -> None:
    command = [TARN, "--address", client.address, "status", "--json", "--watch", "0.1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    lines = [json.loads(process.stdout.readline()) for _ in range(3)]
    process.terminate()
    process.communicate(timeout=10)
    assert lines[2]["uptime_ns"] - lines[0]["uptime_ns"] > 150_000_000


@test
def mistakes_end_as_the_manual_says(client: Client) -> None:
    for arguments, status in {
        (): 2, ("frobnicate",): 2, ("status", "--limit", "-1"): 2, ("status", "--limit", "x"): 2,
        ("status", "--address", "nonsense"): 2, ("status", "--address", "unix:/nonexistent"): 3,
        ("status", "--address", "private:1"): 3, ("man", "nonsense"): 4,
    }.items():
        message = tarn(*arguments, status=status).stderr
        assert message.startswith("tarn: "), message
    assert "there is no subcommand `stauts`; did you mean `status`?" in tarn("stauts", status=2).stderr
    assert "there is no subcommand `frobnicate`\n" in tarn("--json", "frobnicate", status=2).stderr
    stopped = ask(client, "status")["pid"]
    os.kill(stopped, 19)
    try:
        tarn("--address", client.address, "--timeout", "0.3", "status", status=124)
    finally:
        os.kill(stopped, 18)


@test
def doctor_has_an_opinion_on_everything(client: Client) -> None:
    done = subprocess.run([TARN, "doctor", "--json", "--address", client.address], capture_output=True, text=True, check=False)
    answer = json.loads(done.stdout)
    assert answer["schema"] == "tarn.doctor/1" and done.returncode == (1 if answer["fail"] else 0)
    checks = {check["check"]: check for check in answer["checks"]}
    for name in ("kernel", "cpuset", "cpu_quota", "memory_limit", "governor", "hugetlb", "memlock", "nofile", "disk", "versions"):
        assert name in checks, name
    for check in checks.values():
        assert check["state"] == "ok" or (check["means"] and check["do"]), check


@test
def completions_and_pages_know_every_verb(client: Client) -> None:
    bash, zsh, page = (tarn(*words).stdout for words in (("completion", "bash"), ("completion", "zsh"), ("man", "tarn")))
    subprocess.run(["bash", "-n"], input=bash, text=True, check=True)
    script = bash + "COMP_WORDS=(tarn sta) COMP_CWORD=1; _tarn; echo ${COMPREPLY[*]}; COMP_WORDS=(tarn --js); _tarn; echo ${COMPREPLY[*]}"
    assert subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout == "status\n--json\n"
    # One word for what may follow `tarn`, in all of them.
    assert "SUBCOMMAND" in tarn("--help").stdout and "SUBCOMMAND" in page and "VERB" not in page and "verb:" not in zsh
    for verb in ("status", "slots", "workers", "tasks", "objects", "memory", "logs", "doctor", "version"):
        assert verb in zsh and f"\\fB{verb}\\fR" in page
        assert f"tarn\\-{verb} \\- " in tarn("man", verb).stdout
        assert f"  {verb} " in tarn("--help").stdout


def the_daemon_leaves_with_its_client(client: Client) -> None:
    # It ended without a word, so the daemon may still be at it.
    command = [TARN, "--address", client.address, "status"]
    assert eventually(lambda: subprocess.run(command, capture_output=True, timeout=30, check=False).returncode == 3)
    # Without any daemon one is told how to name another.
    if not os.path.exists("/run/tarn/tarnd.sock") and "@tarn/" not in open("/proc/net/unix").read():
        assert "--address or TARN_ADDRESS" in tarn("status", status=3).stderr


def main() -> None:
    with Client() as client:
        run_cases(client, after=(the_daemon_leaves_with_its_client,))
    run_case(len(CASES) + 1, the_daemon_leaves_with_its_client, client)


if __name__ == "__main__":
    main()
