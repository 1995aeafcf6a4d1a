"""Makes one call through the gateway and prints what came of it, as JSON.

client.py ADDRESS METHOD KEY [TIMEOUT_SECONDS [cancel]]

With `cancel` the call is given up at the end of stdin."""

import json
import sys

import grpc

address, method, key = sys.argv[1:4]
timeout = float(sys.argv[4]) if len(sys.argv) > 4 else 15
metadata = (("x-knoxcall-key", key), ("x-knoxcall-route", "echo"))
channel = grpc.insecure_channel(address, options=[("grpc.default_authority", "gw.test")])
result = {}
try:
    if method == "Both":
        call = channel.stream_stream("/echo.Echo/Both")(
            (b"part %d" % number for number in range(100)), metadata=metadata, timeout=timeout)
        result["answers"] = [answer.decode() for answer in call]
    elif "cancel" in sys.argv:
        call = channel.unary_unary(f"/echo.Echo/{method}").future(
            b"hello", metadata=metadata, timeout=timeout)
        sys.stdin.read()
        call.cancel()
    else:
        message = b"x" * 100_000 if method == "Unary" else b"hello"
        answer, call = channel.unary_unary(f"/echo.Echo/{method}").with_call(
            message, metadata=metadata, timeout=timeout)
        result["length"], result["text"] = len(answer), answer[:100].decode()
    result["code"] = call.code().name
    result["trailers"] = {name: value for name, value in call.trailing_metadata() if isinstance(value, str)}
except grpc.RpcError as error:
    result = {"code": error.code().name, "details": error.details()}
print(json.dumps(result))
