"""The origin of the gRPC scenario: says back each message, in calls of all four kinds.

    grpc_echo.py PORT

Messages are passed on as bytes, so that nothing has to be generated from
k6/echo.proto. A call without the right credential is refused, a message that
asks for a failure ends with its status. What `leak` is asked for holds the
credential itself.
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import grpc

AUTHORIZATION = "Bearer loadtest-upstream-token-0123456789"
# A message {text: "fail"} of k6/echo.proto.
FAIL = b"\x0a\x04fail"
TIMES = 3


def credential(context):
    found = dict(context.invocation_metadata()).get("authorization", "")
    if found != AUTHORIZATION:
        context.abort(grpc.StatusCode.UNAUTHENTICATED, "not the credential")
    return found


def unary(request, context):
    credential(context)
    if request == FAIL:
        context.abort(grpc.StatusCode.FAILED_PRECONDITION, "as asked")
    return request


def leak(_request, context):
    text = credential(context).encode()
    context.set_trailing_metadata((("x-seen", text.decode()),))
    return b"\x0a" + bytes([len(text)]) + text


def down(request, context):
    credential(context)
    for _ in range(TIMES):
        yield request


def up(requests, context):
    credential(context)
    last = b""
    for last in requests:
        pass
    return last


def both(requests, context):
    credential(context)
    yield from requests


def main(port):
    server = grpc.server(ThreadPoolExecutor(64))
    calls = {
        "Unary": grpc.unary_unary_rpc_method_handler(unary),
        "Leak": grpc.unary_unary_rpc_method_handler(leak),
        "Down": grpc.unary_stream_rpc_method_handler(down),
        "Up": grpc.stream_unary_rpc_method_handler(up),
        "Both": grpc.stream_stream_rpc_method_handler(both),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("loadtest.Echo", calls),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


if __name__ == "__main__":
    main(int(sys.argv[1]))
