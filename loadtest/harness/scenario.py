"""The product as used: k6 against a gateway with the whole chain, leak guard on.

k6 sends wrong requests among the right ones and checks every answer
(k6/*.js); it fails if one check fails.
"""

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from . import gateway, workload
from .processes import Server
from .targets import FOLDER, TOOLS, Stage, tool

SCENARIOS = ("product", "grpc", "websocket")
ROUTES = 1000
KEYS = 20
TOKENS = 10
# k6 has no way to give another host than the one that it connects to.
LOCAL_HOST = "localhost"


@dataclass(frozen=True)
class K6:
    """One run of a script in k6/."""

    name: str
    stage: Stage
    seconds: int
    rate: int
    results: Path

    def against(self, inputs):
        self.results.mkdir(parents=True, exist_ok=True)
        given = self.stage.folder / f"{self.name}-inputs.json"
        given.write_text(json.dumps(inputs))
        settings = {
            "INPUTS": str(given),
            "RATE": str(self.rate),
            "SECONDS": str(max(self.seconds, 1)),
            "SUMMARY": str(self.results / f"{self.name}.json"),
        }
        script = FOLDER / "k6" / f"{self.name}.js"
        argv = [tool("k6"), "run", "--quiet", "--no-usage-report", "--address", "", script]
        return subprocess.run([str(a) for a in argv], env={**os.environ, **settings}, check=False).returncode


def play(name, stage, seconds, rate, results):
    """`rate` is what begins in a second: requests, calls, or WebSockets by a tenth."""
    # A conversation is ten messages.
    run = K6(name, stage, seconds, max(1, rate // 10) if name == "websocket" else rate, results)
    match name:
        case "product":
            return product(stage, run)
        case "grpc":
            return grpc(stage, run)
        case _:
            return websocket(stage, run)


def product(stage, run):
    env = {f"LOAD_TOKEN_{i}": token(i) for i in range(TOKENS)}
    with serving("product", stage, document(stage.ports, stage.folder / "product.jsonl"), env):
        return run.against(client_side(stage.ports))


def grpc(stage, run):
    """Calls of all four kinds, echoed by a server of grpcio behind HTTP/2."""
    with stage.echo("grpc_echo", stage.ports.grpc, TOOLS / "bin" / "python"):
        chain = gateway.Chain(guarded=True, http2_upstream=True)
        with serving("grpc", stage, echoing(stage, "grpc", stage.ports.grpc, "POST", chain)):
            return run.against(caller_side(stage.ports))


def websocket(stage, run):
    """Conversations of some messages, each echoed."""
    with stage.echo():
        chain = gateway.Chain(guarded=True)
        with serving("websocket", stage, echoing(stage, "websocket", stage.ports.echo, "GET", chain)):
            return run.against(caller_side(stage.ports))


def serving(name, stage, configuration, env=None):
    config = gateway.write(configuration, stage.folder / f"{name}.yaml")
    argv = [stage.built("knoxcall"), "serve", "--config", config]
    return Server(name, argv, stage.ports.proxy, stage.log(name), env={**gateway.SECRETS_ENV, **(env or {})})


def echoing(stage, name, upstream, method, chain):
    """One route of the whole chain to an echo."""
    process = gateway.process_part(stage.ports, stage.folder / f"{name}.jsonl")
    tenant = gateway.tenant_part(True)
    tenant["tenant"]["extra_hosts"] = [LOCAL_HOST]
    route = gateway.checked_route("echo", upstream, [method], chain)
    return {**process, **tenant, **gateway.callers(), "routes": [route]}


def caller_side(ports):
    return {"address": f"{LOCAL_HOST}:{ports.proxy}", "key": workload.API_KEY, "token": workload.TOKEN, "route": "echo"}


def document(ports, records):
    routes = [product_route(ports, i) for i in range(ROUTES)]
    secrets = [{"name": f"token_{i}", "from_env": f"LOAD_TOKEN_{i}"} for i in range(TOKENS)]
    signing = {"name": "signing", "from_env": "LOAD_SIGNING_SECRET"}
    keys = [
        {"key_id": key_id(i), "key_sha256": gateway.key_digest(key(i)), "client": gateway.CLIENT, **gateway.LIMIT}
        for i in range(KEYS)
    ]
    return {
        **gateway.process_part(ports, records),
        **gateway.tenant_part(True),
        "secrets": [*secrets, signing],
        "api_keys": keys,
        "clients": gateway.callers()["clients"],
        "routes": routes,
    }


def product_route(ports, index):
    """Even routes read; odd ones take signed bodies. Each injects one of the tokens."""
    more = {"inject_headers": {"Authorization": f"Bearer {{{{secret:token_{index % TOKENS}}}}}"}}
    chain = gateway.Chain(guarded=True)
    if index % 2 == 0:
        return gateway.checked_route(workload.slug(index), ports.origin, ["GET", "HEAD"], chain, **more)
    return gateway.checked_route(workload.slug(index), ports.origin, ["POST"], chain, require_signature=True, **more)


def client_side(ports):
    return {
        "base": f"http://127.0.0.1:{ports.proxy}",
        "host": workload.HOST,
        "routes": ROUTES,
        "keys": [key(i) for i in range(KEYS)],
        "tokens": [token(i) for i in range(TOKENS)],
        "signing_secret": workload.SIGNING_SECRET,
    }


def key_id(index):
    return f"tk_live_load{index:04d}"


def key(index):
    return f"{key_id(index)}_Qm7xN2vB9kR4tY8wC1zH6pL3sD5gJ0aFuEiOqX{index:02d}"


def token(index):
    return f"loadtest-token-{index}-0123456789"
