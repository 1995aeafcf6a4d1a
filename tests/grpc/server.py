"""A gRPC service that echoes bytes, without generated code. Says its port."""

import sys
import threading
import time
from concurrent import futures

import grpc


def unary(request, context):
    seen = dict(context.invocation_metadata())
    context.set_trailing_metadata((("x-token-length", str(len(seen.get("x-token", "")))),))
    return request


def both(requests, context):
    for request in requests:
        yield request
    context.set_trailing_metadata((("x-done", "1"),))


def fail(request, context):
    context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")


def leak(request, context):
    seen = dict(context.invocation_metadata())
    return b"token: " + seen.get("x-token", "").encode()


def slow(request, context):
    time.sleep(5)
    return request


def wait(request, context):
    """Until the call ends. Says both, first with the seconds that are left."""
    left, ended = context.time_remaining(), threading.Event()
    context.add_callback(ended.set)
    print("begun", left, flush=True)
    ended.wait()
    print("ended", flush=True)
    return request


handlers = grpc.method_handlers_generic_handler("echo.Echo", {
    "Unary": grpc.unary_unary_rpc_method_handler(unary),
    "Both": grpc.stream_stream_rpc_method_handler(both),
    "Fail": grpc.unary_unary_rpc_method_handler(fail),
    "Leak": grpc.unary_unary_rpc_method_handler(leak),
    "Wait": grpc.unary_unary_rpc_method_handler(wait),
    "Slow": grpc.unary_unary_rpc_method_handler(slow),
})
server = grpc.server(futures.ThreadPoolExecutor(max_workers=16))
server.add_generic_rpc_handlers((handlers,))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
print(port, flush=True)
# Ends with whoever started it.
sys.stdin.read()
server.stop(None)
