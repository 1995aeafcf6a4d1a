"""What idle connections and routes cost in memory, and routes in time."""

import socket
import ssl
import struct
import subprocess
import time
from statistics import median

from . import workload
from .checks import ask, key_and_route
from .gateway import SECRETS_ENV, write
from .processes import ServerFailed
from .targets import TARGETS

FEW, MANY = 10, 100_000
CHECKS = 3
# Enough that buffers and pools that are made once exist before counting.
REQUESTS_BEFORE_COUNTING = 200
# Closes by a reset, so that no port waits for a minute (socket(7), SO_LINGER).
AT_ONCE = struct.pack("ii", 1, 0)


def idle_connections(stage, targets, count, tls, say):
    """KiB of RSS for each of `count` connections that wait after one request."""
    found = {}
    for target in targets:
        if not (target.idle_tls if tls else target.idle):
            continue
        try:
            with stage.running(target) as server:
                held = min(count, target.idle_most or count)
                found[target.name] = idle_of(server, stage.address(tls), target.neutral, held)
        except (ServerFailed, OSError) as error:
            say(f"idle connections of {target.name}: {error}")
            continue
        figures = found[target.name]
        say(
            f"idle{' TLS' if tls else ''} {target.name:22} {figures['kib_per_connection']:7.1f} KiB a connection, "
            f"{figures['held']} of {figures['connections']} held"
        )
    return found


def idle_of(server, address, neutral, count):
    head = {} if neutral else key_and_route()
    for _ in range(REQUESTS_BEFORE_COUNTING):
        ask(address, "GET", "/", head)
    before = server.rss_kib()
    lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
    request = f"GET / HTTP/1.1\r\nHost: {workload.HOST}\r\n{lines}\r\n".encode()
    context = ssl.create_default_context(cafile=address.authority) if address.tls else None
    connections = []
    try:
        for _ in range(count):
            connections.append(opened(address.port, context))
            one_answer(connections[-1], request)
        time.sleep(1)
        after = server.rss_kib()
        held = sum(still_serves(connection, request) for connection in connections)
    finally:
        for connection in connections:
            connection.close()
    each = (after - before) / count
    return {"connections": count, "held": held, "rss_before_kib": before, "rss_kib": after, "kib_per_connection": each}


def opened(port, context):
    connection = socket.create_connection(("127.0.0.1", port), timeout=10)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return context.wrap_socket(connection, server_hostname=workload.HOST) if context else connection


def one_answer(connection, request):
    connection.sendall(request)
    received = b""
    while not received.endswith(workload.body_of_origin().encode()):
        piece = connection.recv(65536)
        if not piece:
            raise ConnectionError(f"closed after {received[:80]!r}")
        received += piece


def still_serves(connection, request):
    try:
        one_answer(connection, request)
    except OSError:
        return False
    return True


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
        argv = [stage.built("knoxcall"), "config", "check", config]
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
