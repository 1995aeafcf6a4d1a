"""Has one conversation through the gateway and prints what it heard, as JSON.

client.py ADDRESS KEY TEXT

Asks to be closed where the text is `close me`."""

import json
import socket
import sys

from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

PATIENCE = 15
BINARY = bytes(range(256)) * 300

address, key, text = sys.argv[1:]
host, port = address.split(":")


def conversation(upgraded):
    heard["extensions"] = [extension.name for extension in upgraded.protocol.extensions]
    heard["text"] = answer(upgraded, text)
    # A list is a message of as many fragments.
    half = len(text) // 2
    heard["fragments"] = answer(upgraded, ["<", text[:half], text[half:], ">"])
    heard["binary_is_whole"] = answer(upgraded, BINARY) == BINARY
    heard["ponged"] = upgraded.ping("there?").wait(PATIENCE)
    upgraded.close(4001, "enough")


def answer(upgraded, message):
    upgraded.send(message)
    return upgraded.recv(PATIENCE)


heard = {}
try:
    with connect(
        "ws://gw.test/socket",
        sock=socket.create_connection((host, int(port))),
        additional_headers={"x-knoxcall-key": key, "x-knoxcall-route": "echo"},
        proxy=None,
    ) as upgraded:
        try:
            conversation(upgraded)
        except ConnectionClosed:
            pass
        heard["closed"] = [upgraded.close_code, upgraded.close_reason]
except InvalidStatus as refusal:
    heard["status"] = refusal.response.status_code
print(json.dumps(heard))
