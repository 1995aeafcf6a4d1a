"""The product as used: k6 against a gateway with a thousand routes.

k6 signs, draws routes and keys, sends wrong requests among the right ones and
checks every answer (k6/product.js); it fails if one check fails.
"""

import json
import os
import subprocess

from . import gateway, workload
from .processes import Server
from .targets import FOLDER, built, tool

ROUTES = 1000
KEYS = 20
TOKENS = 10


def product(stage, seconds, rate):
    records = stage.folder / "product.jsonl"
    config = gateway.write(document(stage.ports, records), stage.folder / "product.yaml")
    argv = [built("knoxcall"), "serve", "--config", config]
    env = {**gateway.SECRETS_ENV, **{f"LOAD_TOKEN_{i}": token(i) for i in range(TOKENS)}}
    with Server("product", argv, stage.ports.proxy, stage.log("product"), env=env):
        return run_k6(stage, seconds, rate)


def run_k6(stage, seconds, rate):
    summary = FOLDER / "results" / "product.json"
    summary.parent.mkdir(parents=True, exist_ok=True)
    inputs = stage.folder / "product-inputs.json"
    inputs.write_text(json.dumps(client_side(stage.ports)))
    settings = {"INPUTS": str(inputs), "RATE": str(rate), "SECONDS": str(max(seconds, 1)), "SUMMARY": str(summary)}
    argv = [tool("k6"), "run", "--quiet", "--no-usage-report", "--address", "", FOLDER / "k6" / "product.js"]
    return subprocess.run([str(a) for a in argv], env={**os.environ, **settings}, check=False).returncode


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
    if index % 2 == 0:
        return gateway.checked_route(workload.slug(index), ports, ["GET", "HEAD"], **more)
    return gateway.checked_route(workload.slug(index), ports, ["POST"], require_signature=True, **more)


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
