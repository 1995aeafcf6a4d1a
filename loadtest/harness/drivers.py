"""The clients: wrk, h2load and two of our own, run for a time on their core.

Each answers with what it saw: requests (messages, for WebSockets), bytes,
latencies in µs, answers that were not right, connections that broke.
"""

import json
import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from . import workload
from .processes import on_core
from .targets import FOLDER, tool

# Streams at once on each connection of h2load; so many times fewer connections.
STREAMS = 8


class ClientFailed(Exception):
    """A client did not report, or a target answered a check wrongly."""


@dataclass(frozen=True)
class Load:
    seconds: float
    connections: int
    #: First record of the pool to use.
    first: int = 0
    #: Requests a second in all; 0 is as many as possible. For wrk alone.
    rate: float = 0

    def pause_ms(self):
        return 1000 * self.connections / self.rate if self.rate else 0

    def whole_seconds(self):
        return max(1, round(self.seconds))


def wrk(address, requests, load, core):
    scheme = "https" if address.tls else "http"
    argv = [
        tool("wrk"), "-t1", f"-c{load.connections}", f"-d{load.whole_seconds()}s", "--timeout", "10s",
        "-s", FOLDER / "wrk" / "requests.lua", f"{scheme}://127.0.0.1:{address.port}/", "--",
        requests.before, requests.after, requests.records, requests.width, load.first, load.pause_ms(),
    ]  # fmt: skip
    return reported(run(argv, load, core))


def handshakes(address, requests, load, core):
    """A connection, a full handshake and one request at a time on each of several threads."""
    argv = [
        sys.executable, FOLDER / "clients" / "handshakes.py", address.port, workload.HOST, address.authority,
        requests.closing, load.whole_seconds(), load.connections,
    ]  # fmt: skip
    return reported(run(argv, load, core))


def websockets(address, requests, load, core):
    argv = [
        sys.executable, FOLDER / "clients" / "websockets.py", address.port,
        requests.upgrade, load.whole_seconds(), load.connections,
    ]  # fmt: skip
    return reported(run(argv, load, core))


def run(argv, load, core):
    return subprocess.run(
        [str(a) for a in argv],
        capture_output=True,
        text=True,
        preexec_fn=on_core(core),
        timeout=load.whole_seconds() + 60,
    )


def reported(done):
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise ClientFailed(f"the client reported nothing: {done.stdout[-300:]} {done.stderr[-300:]}")


def h2load(address, requests, load, core):
    """As many requests at once as with wrk, several on each connection."""
    scheme = "https" if address.tls else "http"
    log = Path(f"{requests.closing}.h2load")
    log.unlink(missing_ok=True)
    fields = [part for name, value in requests.fields for part in ("-H", f"{name}: {value}")]
    argv = [
        tool("h2load"), "-t1", f"-c{max(1, load.connections // STREAMS)}", f"-m{STREAMS}",
        f"-D{load.whole_seconds()}", f"--connect-to=127.0.0.1:{address.port}", f"--log-file={log}", *fields,
        f"{scheme}://{workload.HOST}:{address.port}{requests.path}",
    ]  # fmt: skip
    done = run(argv, load, core)
    try:
        return h2load_summary(done.stdout, log, load)
    except (AttributeError, KeyError, OSError) as error:
        raise ClientFailed(f"h2load: {done.stdout[-400:]} {done.stderr[-300:]}") from error


def h2load_summary(text, log, load):
    counts = {word: int(number) for number, word in re.findall(r"(\d+) (\w+)", line_of(text, "requests: "))}
    if "Application protocol: h2" not in text:
        raise ClientFailed("h2load did not speak HTTP/2")
    # These count also answers that had begun when the time was over.
    statuses = {word: int(number) for number, word in re.findall(r"(\d+) (\dxx)", line_of(text, "status codes: "))}
    data = int(re.search(r"traffic: .*\((\d+)\) data", text).group(1))
    if data < (statuses["2xx"] - load.connections) * workload.BODY_BYTES:
        raise ClientFailed(f"{statuses['2xx']} answers with {data} bytes of bodies in all")
    # A line a request: when it began (µs since 1970), status, µs it took.
    lines = [line.split() for line in log.read_text().splitlines()]
    took = sorted(int(line[2]) for line in lines)
    began = [int(line[0]) for line in lines]
    return {
        "requests": counts["done"],
        "duration_us": max(1, max(began) - min(began)) if began else 1,
        "bytes": data,
        **percentiles(took),
        "status_errors": sum(statuses.values()) - statuses["2xx"],
        "socket_errors": counts["errored"] + counts["timeout"],
    }


def line_of(text, beginning):
    return next((line for line in text.splitlines() if line.startswith(beginning)), "")


def percentiles(took):
    """Of sorted times."""
    if not took:
        return {f"p{share}_us": 0 for share in (50, 90, 99)}
    return {f"p{share}_us": took[min(len(took) - 1, len(took) * share // 100)] for share in (50, 90, 99)}
