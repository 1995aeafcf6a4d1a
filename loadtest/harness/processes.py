"""Servers under test: started on chosen cores, ended by their process ids.

What a server costs is read from the kernel's accounting of its whole process
tree (proc(5): utime and stime of /proc/PID/stat, VmRSS of /proc/PID/status),
never from the client's side.
"""

import os
import signal
import socket
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 3.0


class ServerFailed(Exception):
    """A server did not start; the text says which and shows its last words."""


@dataclass(frozen=True)
class Cpu:
    """Seconds of CPU a process tree has used."""

    user: float
    system: float

    @property
    def total(self):
        return self.user + self.system

    def __sub__(self, earlier):
        return Cpu(self.user - earlier.user, self.system - earlier.system)


@dataclass(frozen=True)
class Cores:
    """Which core runs what. None: the kernel decides."""

    proxy: int | None
    origin: int | None
    client: int | None

    @classmethod
    def plan(cls, pinned):
        available = sorted(os.sched_getaffinity(0))
        if not pinned or len(available) < 2:
            return cls(None, None, None)
        return cls(available[0], available[1], available[min(2, len(available) - 1)])


def on_core(core):
    """What a child does before it becomes the program."""

    def move():
        if core is not None:
            os.sched_setaffinity(0, {core})

    return move


class Server:
    """One running program with its children. A context manager."""

    def __init__(self, name, argv, port, log, core=None, env=None, ready_within=60.0, more_ports=()):
        self.name, self.argv, self.port, self.log = name, [str(a) for a in argv], port, Path(log)
        self.ports = (port, *more_ports)
        self.core, self.env, self.ready_within = core, env or {}, ready_within
        self.process = None
        self.seconds_to_ready = None

    def __enter__(self):
        for port in self.ports:
            refuse_busy_port(self.name, port)
        began = time.monotonic()
        with open(self.log, "wb") as log:
            try:
                self.process = subprocess.Popen(
                    self.argv,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.env},
                    preexec_fn=on_core(self.core),
                    start_new_session=True,
                )
            except OSError as error:
                raise ServerFailed(f"{self.name}: {error}") from error
        try:
            self._await_port(began)
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def _await_port(self, began):
        while time.monotonic() - began < self.ready_within:
            if self.process.poll() is not None:
                raise ServerFailed(f"{self.name} ended with {self.process.returncode}: {self.last_words()}")
            if all(map(is_listening, self.ports)):
                self.seconds_to_ready = time.monotonic() - began
                return
            time.sleep(0.01)
        raise ServerFailed(f"{self.name} did not listen on {self.ports} within {self.ready_within:.0f} s")

    def last_words(self):
        lines = self.log.read_text(errors="replace").strip().splitlines()
        return " / ".join(lines[-12:]) or "no output"

    def pids(self):
        return tree(self.process.pid)

    def cpu(self):
        return sum_cpu(self.pids())

    def rss_kib(self):
        return sum(filter(None, (rss_kib(pid) for pid in self.pids())))

    def stop(self):
        if self.process is None or self.process.poll() is not None:
            return
        pids = self.pids()
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            for pid in pids:
                end(pid)
            self.process.wait()


def end(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def is_listening(port):
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


def refuse_busy_port(name, port):
    if is_listening(port):
        raise ServerFailed(f"{name}: port {port} is taken; choose another range with --ports")


def tree(root):
    """The process and all its descendants, by one look at /proc."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and (fields := stat_fields(entry)):
            children.setdefault(int(fields[1]), []).append(int(entry))
    found, waiting = [], [root]
    while waiting:
        pid = waiting.pop()
        found.append(pid)
        waiting.extend(children.get(pid, []))
    return found


def stat_fields(pid):
    """/proc/PID/stat from the state on (proc(5) field 3 is index 0)."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def sum_cpu(pids):
    user = system = 0
    for fields in filter(None, map(stat_fields, pids)):
        user += int(fields[11])
        system += int(fields[12])
    return Cpu(user / TICKS_PER_SECOND, system / TICKS_PER_SECOND)


def machine_busy_seconds():
    """CPU seconds of the whole machine that were not idle: all its processes,
    interrupts, and what the host took away (proc(5), /proc/stat)."""
    fields = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    user, nice, system, _idle, _iowait, irq, softirq, steal = fields
    return (user + nice + system + irq + softirq + steal) / TICKS_PER_SECOND


def rss_kib(pid):
    try:
        for line in Path(f"/proc/{pid}/status").read_text().splitlines():
            if line.startswith("VmRSS:"):
                return int(line.split()[1])
    except OSError:
        return None
    return None
