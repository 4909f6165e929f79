#!/usr/bin/env python3
"""A host's daemon as an administrator starts it by hand: host_test.py TARND TARN BUSY_CLIENT. Prints TAP.

What could go wrong: a key of the configuration is read and not obeyed, a user sees what another runs, or something is
left when the daemon ends.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cases import eventually, run_cases, test

TARND, TARN, BUSY_CLIENT = sys.argv[1:4]
OTHER_UID = 65534
CONFIG = """
[daemon]
socket = "{folder}/tarnd.sock"
spawn_socket = "{folder}/spawn.sock"
mode = 0o666
log_level = "debug"
[slots]
cpus = ["{cpu}"]
[memory]
limit = "512MiB"
per_client = "256MiB"
[limits]
sessions_per_tenant = 1
[resources]
licence = 1
"""


class Host:
    """A daemon, and a folder that everybody may enter."""

    def __enter__(self) -> "Host":
        self.folder = Path(tempfile.mkdtemp(prefix="tarn-host-"))
        self.folder.chmod(0o755)
        self.cpu = max(os.sched_getaffinity(0))
        config = self.folder / "tarnd.toml"
        config.write_text(CONFIG.format(folder=self.folder, cpu=self.cpu))
        self.socket = self.folder / "tarnd.sock"
        self.log = open(self.folder / "log", "w+")
        self.process = subprocess.Popen([TARND, "--config", config], stderr=self.log, stdin=subprocess.DEVNULL)
        self.address = f"unix:{self.socket}"
        assert eventually(self.socket.exists), self.log_text()
        return self

    def __exit__(self, *unused: object) -> None:
        self.process.kill()
        self.process.wait(10)
        self.log.close()
        shutil.rmtree(self.folder)

    def log_text(self) -> str:
        return Path(self.log.name).read_text()

    def ask(self, *arguments: str, prefix: tuple[str, ...] = (), tarn: str = TARN) -> dict:
        command = [*prefix, tarn, "--address", self.address, *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
        assert done.returncode == 0, f"{done.returncode} {done.stderr}"
        return json.loads(done.stdout)

    def start_client(self) -> subprocess.Popen:
        return subprocess.Popen(
            [BUSY_CLIENT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env={**os.environ, "TARN_ADDRESS": self.address},
        )


@test
def it_obeys_its_configuration(host: Host) -> None:
    status = host.ask("status")
    assert not status["private"] and status["memory_limit"] == 512 << 20, status
    (slot,) = host.ask("slots")["slots"]
    assert slot["cpus"] == str(host.cpu) and slot["memory"] == 512 << 20, slot
    assert host.socket.stat().st_mode & 0o777 == 0o666


@test
def it_serves_a_client_and_forgets_it(host: Host) -> None:
    with host.start_client() as client:
        assert client.stdout.readline().startswith("ready"), client.stderr.read() + host.log_text()
        (session,) = host.ask("status")["session_list"]
        assert session["pid"] == client.pid and session["memory_limit"] == 256 << 20
        assert eventually(lambda: host.ask("workers")["workers"][0]["state"] == "serving"), host.log_text()
        # One session is what a tenant may have. Expect: the second client is refused with the reason.
        with host.start_client() as second:
            second.stdin.close()
            assert second.wait(20) == 1 and "which is all it may" in second.stderr.read()
        if os.getuid() == 0:
            # Another user sees the numbers of the host, and nothing of ours.
            tarn = shutil.copy(TARN, host.folder)
            other = ("setpriv", f"--reuid={OTHER_UID}", "--clear-groups")
            status = host.ask("status", prefix=other, tarn=tarn)
            assert status["sessions"] == 1 and status["session_list"] == []
            for verb in ("workers", "tasks", "objects"):
                assert host.ask(verb, prefix=other, tarn=tarn)[verb] == []
            assert host.ask("objects", prefix=other, tarn=tarn)["slabs"] == []
        client.stdin.close()
        client.wait(10)
    assert eventually(lambda: host.ask("status")["sessions"] == 0)
    assert eventually(lambda: host.ask("status")["memory_used"] == 0), host.ask("status")


@test
def it_refuses_a_configuration_that_it_does_not_understand(host: Host) -> None:
    config = host.folder / "wrong.toml"
    config.write_text("[slots]\ncpu = 1\n")
    for arguments in ([], ["--check"]):
        command = [TARND, "--config", config, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
        assert done.returncode == 1 and f"{config}:2:1: unknown key" in done.stderr, done
    config.write_text("[slots]\ncpus = [\"1023\"]\n")
    done = subprocess.run([TARND, "--check", "--config", config], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 1 and "asks for CPU 1023" in done.stderr, done


@test
def it_warns_of_a_configuration_that_is_not_what_was_meant(host: Host) -> None:
    config = host.folder / "strange.toml"
    config.write_text('[memory]\nlimit = "64MiB"\nper_client = "128MiB"\nspill_directory = "/nonexistent"\n')
    done = subprocess.run([TARND, "--check", "--config", config], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 0 and "the configuration is valid" in done.stdout, done
    assert "warning: memory.per_client is 128 MiB, more than memory.limit, 64 MiB" in done.stderr, done.stderr
    assert "warning: memory.spill_directory: /nonexistent cannot be used" in done.stderr, done.stderr
    # Started with it, it says the same, and where it listens with how much.
    folder = host.folder / "strange"
    folder.mkdir()
    config.write_text(f'[daemon]\nsocket = "{folder}/tarnd.sock"\nspawn_socket = "{folder}/spawn.sock"\n' + config.read_text())
    process = subprocess.Popen([TARND, "--config", config], stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    assert eventually((folder / "tarnd.sock").exists)
    process.terminate()
    log = process.communicate(timeout=10)[1]
    assert "memory.per_client is 128 MiB" in log and "memory.spill_directory: /nonexistent" in log, log
    assert f"listening at {folder}/tarnd.sock: " in log and "slots, 64 MiB of memory, no disk: /nonexistent" in log, log
    # One that is well is told of in one line, too, and without a warning.
    assert eventually(lambda: f"listening at {host.socket}: 1 slots, 512 MiB of memory, " in host.log_text()), host.log_text()
    assert "more than" not in host.log_text(), host.log_text()


@test
def its_options_are_explained(host: Host) -> None:
    def tarnd(*arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run([TARND, *arguments], capture_output=True, text=True, timeout=20, check=False)

    for option, begin in {"--help": "usage: tarnd", "--version": "tarnd 0."}.items():
        done = tarnd(option)
        assert done.returncode == 0 and done.stdout.startswith(begin) and not done.stderr, done
    assert "/tarn/tarnd.toml" in tarnd("--help").stdout
    for arguments, why in {("--frob",): "--frob: there is no such option", ("--config",): "--config: a file must follow",
                           ("--spawn-fd", "x"): "--spawn-fd: a number must follow"}.items():
        done = tarnd(*arguments)
        assert done.returncode == 2 and why in done.stderr and not done.stdout, done


@test
def it_leaves_nothing_when_it_ends(host: Host) -> None:
    daemon = host.ask("status")["pid"]
    host.process.send_signal(signal.SIGTERM) if host.process.pid == daemon else os.kill(daemon, signal.SIGTERM)
    assert eventually(lambda: host.process.poll() is not None), "the starter is still there"
    assert eventually(lambda: not Path(f"/proc/{daemon}").exists())
    assert not host.socket.exists()


def main() -> None:
    with Host() as host:
        run_cases(host)


if __name__ == "__main__":
    main()
