"""The requests of the two jobs, the same for every target.

POST requests are signed as the gateway's `v1` has it (HMAC-SHA256, hex, over
timestamp, method, path with query, and body, joined by line feeds). A signature
counts once, so each request has its own query and its own signature; they are
made before the clock starts and lie in a file of fixed-width records.
"""

import base64
import hmac
import itertools
import json
import random
import time
from bisect import bisect
from dataclasses import dataclass, replace
from pathlib import Path

HOST = "acme.gateway.test"
BODY_BYTES = 1024
API_KEY_ID = "tk_live_load0001"
API_KEY = f"{API_KEY_ID}_Zk3vQ8mT1xW6rB9nY4cH7pL2sD5gJ0aFuEiOqXw"
SIGNING_SECRET = "loadtest-signing-secret-0123456789abcdef"
TOKEN = "loadtest-upstream-token-0123456789"
# Timestamps lie half of this ahead, so that a pool outlives a round and is not
# older than the process that judges it.
TOLERANCE_SEC = 3600
DRAWS = 500_000
SEED = 20261122


LARGE_BYTES = 100 << 20


@dataclass(frozen=True)
class Requests:
    """The same requests in each client's form."""

    #: The three pieces that requests.lua joins, as files.
    before: Path
    after: Path
    records: Path
    width: int
    #: For h2load: path and header fields.
    path: str = ""
    fields: tuple = ()
    #: For clients of our own: a whole request that is the only one of its
    #: connection, and one for a WebSocket up to the key.
    closing: Path | None = None
    upgrade: Path | None = None


def padded_body():
    text = json.dumps({"amount": 1999, "currency": "EUR", "pad": ""})
    return text.replace('""', '"' + "x" * (BODY_BYTES - len(text)) + '"')


def body_of_origin():
    return "0123456789abcdef" * (BODY_BYTES // 16)


def json_body():
    """As long as the other, with what a rule takes out of it."""
    text = json.dumps({"id": 4711, "card": {"number": "4242424242424242", "brand": "visa"}, "internal": 1, "pad": ""})
    return text.replace('""', '"' + "x" * (BODY_BYTES - len(text)) + '"')


def large_body():
    """Text without repetition that a search for secrets could skip: base64 of
    a mebibyte, over and over."""
    block = base64.b64encode(random.Random(SEED).randbytes(3 << 18))
    return block * (LARGE_BYTES // len(block))


def slug(index):
    return f"r{index:07d}"


def sign(timestamp, method, target, body):
    message = f"{timestamp}\n{method}\n{target}\n{body}".encode()
    return hmac.digest(SIGNING_SECRET.encode(), message, "sha256").hex()


class Workload:
    """Makes the files of one run in `folder`."""

    def __init__(self, folder):
        self.folder = Path(folder)
        self.pool_size = 0

    def get(self, path, neutral):
        head = request_head(f"GET {path} HTTP/1.1\r\n", "read", neutral)
        name = f"get-{path.strip('/').replace('/', '-').partition('?')[0]}-{neutral}"
        wrk = self._write(name, head + "\r\n", "", b"", 0)
        closing, upgrade = self.folder / f"{name}.closing", self.folder / f"{name}.upgrade"
        closing.write_text(head + "Connection: close\r\n\r\n", newline="")
        switch = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        upgrade.write_text(head + switch, newline="")
        fields = tuple(line.split(": ", 1) for line in head.splitlines()[2:])
        return replace(wrk, path=path, fields=fields, closing=closing, upgrade=upgrade)

    def post(self, neutral):
        """Signed POSTs over the current pool; see `sign_pool`."""
        timestamp = self.timestamp
        tail = request_head("", "pay", neutral) + f"{protocol_name('x-timestamp', neutral)}: {timestamp}\r\n"
        tail += f"Content-Type: application/json\r\nContent-Length: {BODY_BYTES}\r\n\r\n{padded_body()}"
        records = self.folder / f"signed-{neutral}.records"
        width = len(signed_record(0, "0" * 64, neutral))
        return self._write(f"post-{neutral}", "POST /v1/charges?n=", tail, records, width)

    def routed(self, routes, draw):
        """GETs whose route is drawn from `routes` of them."""
        records = self.folder / f"draws-{routes}-{draw}.records"
        if not records.exists():
            records.write_text("".join(slug(i) for i in drawn(routes, draw)))
        head = request_head("GET /v1/charges?page=2 HTTP/1.1\r\n", None, False)
        return self._write(f"routed-{routes}-{draw}", head + "x-knoxcall-route: ", "\r\n\r\n", records, len(slug(0)))

    def sign_pool(self, size):
        """New signatures for a round, under the names of both variants."""
        self.pool_size = size
        self.timestamp = int(time.time()) + TOLERANCE_SEC // 2
        body = padded_body()
        signatures = [sign(self.timestamp, "POST", f"/v1/charges?n={n:08d}", body) for n in range(size)]
        for neutral in (False, True):
            lines = (signed_record(n, signature, neutral) for n, signature in enumerate(signatures))
            (self.folder / f"signed-{neutral}.records").write_text("".join(lines))

    def _write(self, name, before, after, records, width):
        if isinstance(records, bytes):
            path = self.folder / "no.records"
            path.write_bytes(records)
            records = path
        before_file, after_file = self.folder / f"{name}.before", self.folder / f"{name}.after"
        before_file.write_text(before, newline="")
        after_file.write_text(after, newline="")
        return Requests(before_file, after_file, records, width)


def signed_record(number, signature, neutral):
    return f"{number:08d} HTTP/1.1\r\n{protocol_name('x-signature', neutral)}: {signature}\r\n"


def protocol_name(name, neutral):
    """A target with nothing on gets the same bytes under names that mean nothing to it."""
    if not neutral:
        return name
    return name.replace("knoxcall", "neutral0").replace("x-s", "x-0").replace("x-t", "x-1")


def request_head(request_line, route, neutral):
    """The fields up to the last one that does not vary, without the empty line."""
    head = f"{request_line}Host: {HOST}\r\nUser-Agent: loadtest/1\r\nAccept: */*\r\n"
    head += f"{protocol_name('x-knoxcall-key', neutral)}: {API_KEY}\r\n"
    if route:
        head += f"{protocol_name('x-knoxcall-route', neutral)}: {route}\r\n"
    return head


def drawn(routes, draw):
    """Route numbers, uniform or by Zipf's law with exponent 1, repeatable."""
    source = random.Random(SEED)
    if draw == "uniform":
        return (source.randrange(routes) for _ in range(DRAWS))
    weights = list(itertools.accumulate(1 / rank for rank in range(1, routes + 1)))
    order = list(range(routes))
    source.shuffle(order)
    return (order[min(bisect(weights, source.random() * weights[-1]), routes - 1)] for _ in range(DRAWS))
