"""Sends each message back in the fragments in which it came, compressed where
the client offers it; `close me` it answers with a close. Says its port, then of
each WebSocket the extensions and how it was closed."""

import sys
import threading

from websockets.exceptions import ConnectionClosed
from websockets.sync.server import serve


def echo(socket):
    print("extensions", *(extension.name for extension in socket.protocol.extensions), flush=True)
    try:
        while True:
            fragments = list(socket.recv_streaming())
            if fragments == ["close me"]:
                socket.close(4002, "as asked")
            else:
                socket.send(fragments)
    except ConnectionClosed:
        print("closed", socket.close_code, socket.close_reason, flush=True)


server = serve(echo, "127.0.0.1", 0)
print(server.socket.getsockname()[1], flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
# Ends with whoever started it.
sys.stdin.read()
