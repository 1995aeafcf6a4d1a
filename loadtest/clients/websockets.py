"""A client that sends WebSocket messages and waits for each one's echo.

    websockets.py PORT REQUEST_FILE SECONDS CONNECTIONS

One message at a time on each connection. Every echo is compared with what was
sent; one that differs, or a refused upgrade, is an error.
"""

import base64
import hashlib
import json
import os
import selectors
import socket
import struct
import sys
import time

MESSAGE_BYTES = 4096
ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Connection:
    """One connection and the message that is under way on it."""

    def __init__(self, port, request):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16))
        self.socket.sendall(request + b"Sec-WebSocket-Key: " + key + b"\r\n\r\n")
        self._await_upgrade(key)
        payload = base64.b64encode(os.urandom(MESSAGE_BYTES * 3 // 4))
        self.message = masked(payload)
        self.echo = struct.pack("!BBH", 0x81, 126, MESSAGE_BYTES) + payload
        self.received = bytearray()
        self.sent_at = 0

    def _await_upgrade(self, key):
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            # One byte at a time: what follows is the first message's.
            piece = self.socket.recv(1)
            if not piece:
                break
            head += piece
        accept = base64.b64encode(hashlib.sha1(key + ACCEPT).digest())
        if not head.startswith(b"HTTP/1.1 101") or accept not in head:
            raise OSError(f"no upgrade: {head[:200]!r}")

    def send(self):
        self.sent_at = time.perf_counter_ns()
        self.socket.sendall(self.message)

    def receive(self):
        """Whether the echo is whole; OSError if it is another's."""
        piece = self.socket.recv(65536)
        if not piece:
            raise OSError("closed")
        self.received += piece
        if len(self.received) < len(self.echo):
            return False
        if self.received != self.echo:
            raise OSError("not what was sent")
        self.received.clear()
        return True


def masked(payload):
    """A text message as clients send it (RFC 6455, section 5.3)."""
    mask = os.urandom(4)
    whole = int.from_bytes(payload, "big") ^ int.from_bytes(mask * (len(payload) // 4), "big")
    return struct.pack("!BBH", 0x81, 0x80 | 126, len(payload)) + mask + whole.to_bytes(len(payload), "big")


def main(port, request_file, seconds, count):
    with open(request_file, "rb") as file:
        request = file.read()
    connections = [Connection(int(port), request) for _ in range(int(count))]
    took, errors = [], 0
    began = time.monotonic()
    end = began + float(seconds)
    with selectors.DefaultSelector() as waiting:
        for connection in connections:
            waiting.register(connection.socket, selectors.EVENT_READ, connection)
            connection.send()
        while time.monotonic() < end and waiting.get_map():
            for key, _ in waiting.select(1):
                connection = key.data
                try:
                    if connection.receive():
                        took.append((time.perf_counter_ns() - connection.sent_at) // 1000)
                        connection.send()
                except OSError:
                    errors += 1
                    waiting.unregister(connection.socket)
    print("RESULT " + json.dumps(summary(took, errors, time.monotonic() - began)))


def summary(took, errors, seconds):
    took.sort()
    at = {share: took[len(took) * share // 100] if took else 0 for share in (50, 90, 99)}
    return {
        "requests": len(took),
        "duration_us": round(seconds * 1e6),
        # Each one went there and came back.
        "bytes": 2 * MESSAGE_BYTES * len(took),
        **{f"p{share}_us": value for share, value in at.items()},
        "status_errors": 0,
        "socket_errors": errors,
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
