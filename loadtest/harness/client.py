"""The load: wrk with one thread, and a few single requests for checks."""

import http.client
import json
import subprocess
import time
from dataclasses import dataclass

from . import workload
from .processes import on_core
from .targets import FOLDER, tool

CHECK_SIGNATURE = "f" * 64


class ClientFailed(Exception):
    """wrk did not report, or a target answered a check wrongly."""


@dataclass(frozen=True)
class Load:
    seconds: float
    connections: int
    #: First record of the pool to use.
    first: int = 0
    #: Requests a second in all; 0 is as many as possible.
    rate: float = 0

    def pause_ms(self):
        return 1000 * self.connections / self.rate if self.rate else 0


def drive(port, requests, load, core):
    """Runs wrk and returns what its script reported."""
    # wrk takes whole seconds only.
    seconds = max(1, round(load.seconds))
    argv = [
        tool("wrk"), "-t1", f"-c{load.connections}", f"-d{seconds}s", "--timeout", "10s",
        "-s", FOLDER / "wrk" / "requests.lua", f"http://127.0.0.1:{port}/", "--",
        requests.before, requests.after, requests.records, requests.width, load.first, load.pause_ms(),
    ]  # fmt: skip
    done = subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True, preexec_fn=on_core(core), timeout=seconds + 60
    )
    for line in done.stdout.splitlines():
        if line.startswith("RESULT "):
            return json.loads(line.removeprefix("RESULT "))
    raise ClientFailed(f"wrk reported nothing: {done.stdout[-300:]} {done.stderr[-300:]}")


def ask(port, method, path, headers=None, body=None):
    """One request; answers (status, headers in lower case, body)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request(method, path, body=body, headers={"Host": workload.HOST, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode(errors="replace")
    finally:
        connection.close()


def check_forwarding(port):
    status, _, body = ask(port, "GET", "/v1/charges?page=2")
    expect("a GET", (status, body), (200, workload.body_of_origin()))


def check_judgement(port):
    """A target that claims to judge lets the right request through, with the
    secret in it, and refuses each wrong one."""
    key = {"x-knoxcall-key": workload.API_KEY}
    read = {**key, "x-knoxcall-route": "read"}
    status, headers, body = ask(port, "GET", "/seen", read)
    expect("a GET with key", status, 200)
    seen = json.loads(body)
    expect("the secret at the origin", seen["authorization"], f"Bearer {workload.TOKEN}")
    expect("the key at the origin", seen["key"], "")
    expect("X-RateLimit-Limit", "x-ratelimit-limit" in headers, True)

    expect("no key", ask(port, "GET", "/v1", {"x-knoxcall-route": "read"})[0], 401)
    expect("a wrong key", ask(port, "GET", "/v1", {**read, "x-knoxcall-key": workload.API_KEY[:-1] + "0"})[0], 401)
    expect("an unknown route", ask(port, "GET", "/v1", {**key, "x-knoxcall-route": "none"})[0], 404)
    expect("another method", ask(port, "DELETE", "/v1", read)[0], 405)
    expect("another host", ask(port, "GET", "/v1", {**read, "Host": "other.test"})[0], 421)
    check_signatures(port, {**key, "x-knoxcall-route": "pay", "Content-Type": "application/json"})


def check_signatures(port, pay):
    body, target, timestamp = workload.padded_body(), "/seen?n=check", int(time.time()) + 60
    signature = workload.sign(timestamp, "POST", target, body)
    signed = {**pay, "x-timestamp": str(timestamp), "x-signature": signature}
    expect("no signature", ask(port, "POST", target, pay, body)[0], 401)
    expect("a wrong signature", ask(port, "POST", target, {**signed, "x-signature": CHECK_SIGNATURE}, body)[0], 401)
    status, _, answer = ask(port, "POST", target, signed, body)
    expect("a signed POST", status, 200)
    expect("its length at the origin", json.loads(answer)["length"], str(workload.BODY_BYTES))
    expect("a replayed signature", ask(port, "POST", target, signed, body)[0], 401)
    old = timestamp - 3 * workload.TOLERANCE_SEC
    late = {**pay, "x-timestamp": str(old), "x-signature": workload.sign(old, "POST", target, body)}
    expect("an old signature", ask(port, "POST", target, late, body)[0], 401)


def expect(what, found, wanted):
    if found != wanted:
        raise ClientFailed(f"{what}: {str(found)[:200]} instead of {str(wanted)[:200]}")
