"""The gateway's configuration for each of its targets.

JSON is YAML, so the documents are written as JSON. No value that a limit could
refuse is configured: a load test measures what a check costs, not what it stops.
"""

import hashlib
import ipaddress
import json
from dataclasses import dataclass

from .workload import API_KEY, API_KEY_ID, SIGNING_SECRET, TOKEN, TOLERANCE_SEC, slug

# A second's worth that no target reaches; one lease from Redis is at most 1 % of it.
LIMIT = {"rate_limit_requests": 200_000, "rate_limit_window_sec": 1}
CLIENT = "shop"

# Twenty ranges, loopback the last: a linear scan would show.
ALLOWLIST = [str(ipaddress.ip_network((0x0A000000 + (i << 16), 16))) for i in range(0, 38, 2)] + ["127.0.0.0/8"]

SECRETS_ENV = {"LOAD_TOKEN": TOKEN, "LOAD_SIGNING_SECRET": SIGNING_SECRET}


# Taken out and put in by the chain that has a rule for answers.
REMOVED_HEADER = "Server"
SET_HEADER = ("X-Content-Type-Options", "nosniff")


@dataclass(frozen=True)
class Chain:
    """What a route of the whole chain does beyond the checks of a request."""

    #: The leak guard, and a rule for the answer's headers.
    guarded: bool = False
    #: A rule for JSON bodies.
    rewriting: bool = False
    #: HTTP/2 (h2c) to the upstream.
    http2_upstream: bool = False

    def settings(self):
        found = {"leak_guard": "strict" if self.guarded else "off"}
        if self.guarded:
            name, value = SET_HEADER
            found["response_headers"] = {"remove": [REMOVED_HEADER], "set": {name: value}}
        if self.rewriting:
            found["response_body"] = [{"mask": "$.card.number", "keep_last": 4}, {"remove": "$.internal"}]
        if self.http2_upstream:
            found["protocol"] = "http2"
        return found


PLAIN = Chain()


@dataclass(frozen=True)
class Ports:
    """One range of private ports."""

    base: int

    @property
    def origin(self):
        return self.base

    @property
    def origin_http2(self):
        return self.base + 1

    @property
    def echo(self):
        return self.base + 2

    @property
    def grpc(self):
        return self.base + 3

    @property
    def proxy(self):
        return self.base + 10

    @property
    def proxy_tls(self):
        return self.base + 12

    @property
    def admin(self):
        return self.base + 11

    @property
    def redis(self):
        return self.base + 20


def key_digest(key=API_KEY):
    return hashlib.sha256(key.encode()).hexdigest()


def process_part(ports, records, nonces=1_000_000, redis=False, certificate=None):
    counters = {"nonce_capacity": max(nonces, 1000)}
    if redis:
        counters["redis_url"] = f"redis://127.0.0.1:{ports.redis}/0"
    return {
        "listeners": listeners(ports, certificate),
        "admin": {"address": f"127.0.0.1:{ports.admin}"},
        "workers": 1,
        "limits": {
            "keepalive_timeout_ms": 300_000,
            "max_connections": 20_000,
            "max_connections_per_address": 20_000,
            "unauthorized_per_minute": 1_000_000,
            "shutdown_grace_ms": 100,
        },
        "counters": counters,
        "upstream": {"pool_size": 1024},
        "logging": {"level": "warn", "format": "json", "requests": {"path": str(records) if records else "none"}},
    }


def listeners(ports, certificate):
    found = [{"address": f"127.0.0.1:{ports.proxy}"}]
    if certificate:
        files = {"cert_file": str(certificate.cert), "key_file": str(certificate.key)}
        tls = {"certificates": [files], "min_version": "1.3"}
        found.append({"address": f"127.0.0.1:{ports.proxy_tls}", "tls": tls})
    return found


def tenant_part(limited):
    return {
        "tenant": {"slug": "acme", "base_domain": "gateway.test", **(LIMIT if limited else {})},
        "environments": [{"name": "production"}],
    }


def off(ports, upstream, certificate):
    """Nothing on: one open route for every path, no record."""
    route = {
        "slug": "all",
        "open": True,
        "target_base_url": f"http://127.0.0.1:{upstream}",
        "match": [{"path_prefix": "/"}],
        "leak_guard": "off",
    }
    return {**process_part(ports, None, certificate=certificate), **tenant_part(False), "routes": [route]}


def checked_route(name, upstream, methods, chain=PLAIN, **more):
    return {
        "slug": name,
        "target_base_url": f"http://127.0.0.1:{upstream}",
        "allowed_methods": methods,
        "ip_allowlist": ALLOWLIST,
        "inject_headers": {"Authorization": "Bearer {{secret:upstream_token}}"},
        **LIMIT,
        **chain.settings(),
        **more,
    }


def callers():
    return {
        "secrets": [
            {"name": "upstream_token", "from_env": "LOAD_TOKEN"},
            {"name": "signing", "from_env": "LOAD_SIGNING_SECRET"},
        ],
        "api_keys": [{"key_id": API_KEY_ID, "key_sha256": key_digest(), "client": CLIENT, **LIMIT}],
        "clients": [{"name": CLIENT, "signing_secrets": ["signing"], "assignments": [{}]}],
    }


def full(process, upstream, chain):
    """The whole chain: key, allowlist, method, limits of tenant, route and key,
    a secret in a header, a record; on `pay` a signature that counts once."""
    routes = [
        checked_route("read", upstream, ["GET", "HEAD"], chain),
        checked_route(
            "pay", upstream, ["POST"], chain, require_signature=True, signature_tolerance_sec=TOLERANCE_SEC
        ),
    ]
    return {**process, **tenant_part(True), **callers(), "routes": routes}


def many(process, upstream, count):
    """The whole chain on each of `count` routes."""
    short = {"ip_allowlist": ["10.0.0.0/8", "127.0.0.0/8"]}
    routes = [checked_route(slug(i), upstream, ["GET", "HEAD"], **short) for i in range(count)]
    return {**process, **tenant_part(True), **callers(), "routes": routes}


def write(document, path):
    path.write_text(json.dumps(document, indent=1))
    return path
