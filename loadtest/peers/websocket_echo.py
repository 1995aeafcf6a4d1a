"""The origin of the WebSocket jobs: says back each message as it came.

    websocket_echo.py PORT

Takes what the load test sends (RFC 6455, frames of text or binary data in one
piece, ping, close), so that it needs no package.
"""

import asyncio
import base64
import hashlib
import re
import sys

ACCEPT = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
CLOSE, PING, PONG = 0x8, 0x9, 0xA


class Echo(asyncio.Protocol):
    def connection_made(self, transport):
        self.transport, self.received, self.upgraded = transport, bytearray(), False

    def data_received(self, data):
        self.received += data
        if not self.upgraded and not self.upgrade():
            return
        while answer := self.next_answer():
            self.transport.write(answer)

    def upgrade(self):
        head, found, rest = self.received.partition(b"\r\n\r\n")
        if not found:
            return False
        key = re.search(rb"(?im)^sec-websocket-key: *(\S+)\r?$", bytes(head) + b"\r\n")
        if not key:
            self.transport.write(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            self.transport.close()
            return False
        accept = base64.b64encode(hashlib.sha1(key[1] + ACCEPT).digest())
        self.transport.write(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )
        self.upgraded, self.received = True, rest
        return True

    def next_answer(self):
        """The echo of the first whole frame, without its mask; None if there is none."""
        frame = self.received
        if len(frame) < 2:
            return None
        opcode, length, start = frame[0] & 0x0F, frame[1] & 0x7F, 2
        if length >= 126:
            start = 4 if length == 126 else 10
            length = int.from_bytes(frame[2:start], "big")
        mask = frame[start : start + 4] if frame[1] & 0x80 else b"\0\0\0\0"
        start += 4 if frame[1] & 0x80 else 0
        if len(frame) < start + length:
            return None
        payload = unmasked(frame[start : start + length], mask)
        first = frame[0]
        del frame[: start + length]
        if opcode == PING:
            first = 0x80 | PONG
        if opcode == PONG:
            return self.next_answer()
        if opcode == CLOSE:
            self.transport.write(header(first, len(payload)) + payload)
            self.transport.close()
            return None
        return header(first, len(payload)) + payload


def unmasked(payload, mask):
    stretched = (bytes(mask) * (len(payload) // 4 + 1))[: len(payload)]
    return (int.from_bytes(payload, "big") ^ int.from_bytes(stretched, "big")).to_bytes(len(payload), "big")


def header(first, length):
    if length < 126:
        return bytes([first, length])
    if length < 65_536:
        return bytes([first, 126]) + length.to_bytes(2, "big")
    return bytes([first, 127]) + length.to_bytes(8, "big")


async def main(port):
    server = await asyncio.get_running_loop().create_server(Echo, "127.0.0.1", port, backlog=1024)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
