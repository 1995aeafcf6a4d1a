"""What idle connections and routes cost in memory, and routes in time."""

import socket
import subprocess
import time
from statistics import median

from . import workload
from .client import ask
from .gateway import SECRETS_ENV, write
from .processes import ServerFailed
from .targets import TARGETS, built

FEW, MANY = 10, 100_000
CHECKS = 3
# Enough that buffers and pools that are made once exist before counting.
REQUESTS_BEFORE_COUNTING = 200


def idle_connections(stage, targets, count, say):
    """KiB of RSS for each of `count` connections that wait after one request."""
    found = {}
    for target in targets:
        if not target.idle:
            continue
        try:
            with stage.running(target) as server:
                found[target.name] = idle_of(server, count)
        except (ServerFailed, OSError) as error:
            say(f"idle connections of {target.name}: {error}")
            continue
        say(f"idle {target.name:22} {found[target.name]['kib_per_connection']:7.1f} KiB a connection")
    return found


def idle_of(server, count):
    head = {"x-knoxcall-key": workload.API_KEY, "x-knoxcall-route": "read"}
    if server.name == "off":
        head = {}
    for _ in range(REQUESTS_BEFORE_COUNTING):
        ask(server.port, "GET", "/", head)
    before = server.rss_kib()
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    request = f"GET / HTTP/1.1\r\nHost: {workload.HOST}\r\n{lines}\r\n".encode()
    connections = []
    try:
        for _ in range(count):
            connections.append(one_answer(server.port, request))
        time.sleep(1)
        after = server.rss_kib()
    finally:
        for connection in connections:
            connection.close()
    each = (after - before) / count
    return {"connections": count, "rss_before_kib": before, "rss_kib": after, "kib_per_connection": each}


def one_answer(port, request):
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.sendall(request)
    received = b""
    while not received.endswith(workload.body_of_origin().encode()):
        piece = connection.recv(65536)
        if not piece:
            connection.close()
            raise ConnectionError(f"closed after {received[:80]!r}")
        received += piece
    return connection


def routes(stage, say):
    """Time to check and to start, and RSS, with few and with many routes."""
    found = {}
    for count in (FEW, MANY):
        target = next(t for t in TARGETS if t.routes == count and t.draw == "uniform")
        try:
            found[str(count)] = routes_of(stage, target)
        except ServerFailed as error:
            say(f"{target.name}: {error}")
            return found
        figures = found[str(count)]
        say(
            f"{count} routes: check {figures['config_check_seconds']:.2f} s, ready after "
            f"{figures['ready_seconds']:.2f} s, {figures['rss_kib'] / 1024:.1f} MiB"
        )
    grown = found[str(MANY)]["rss_kib"] - found[str(FEW)]["rss_kib"]
    found["bytes_per_route"] = grown * 1024 / (MANY - FEW)
    return found


def routes_of(stage, target):
    config = write(stage.document(target), stage.folder / f"{target.name}.yaml")
    seconds = []
    for _ in range(CHECKS):
        began = time.monotonic()
        argv = [built("knoxcall"), "config", "check", config]
        done = subprocess.run(argv, capture_output=True, text=True, env=SECRETS_ENV, check=False)
        seconds.append(time.monotonic() - began)
        if done.returncode != 0:
            raise ServerFailed(f"config check: {(done.stdout + done.stderr)[:500]}")
    with stage.running(target) as server:
        time.sleep(1)
        return {
            "config_check_seconds": median(seconds),
            "ready_seconds": server.seconds_to_ready,
            "rss_kib": server.rss_kib(),
            "config_bytes": config.stat().st_size,
        }
