"""Questions that a target must answer rightly before it is measured."""

import hashlib
import http.client
import json
import ssl
import time

from . import gateway, workload
from .drivers import ClientFailed

CHECK_SIGNATURE = "f" * 64
# One for every target: ciphers differ in their price.
CIPHER = "TLS_AES_256_GCM_SHA384"


def check(target, job, address, secure):
    """The target in clear, and what the job is about."""
    headers = {} if target.neutral else key_and_route()
    match job.name:
        case "websocket":
            # The client compares each echo, and the origin answers nothing else.
            return
        case "json":
            check_json(address, headers, target.chain)
        case "download":
            check_large(address, headers)
        case "tls" | "handshake" | "h2":
            check_secure(secure, headers)
    if target.judges:
        check_judgement(address, target.chain)
    elif not target.routes:
        check_forwarding(address)


def ask(address, method, path, headers=None, body=None):
    """One request; answers (status, headers in lower case, body)."""
    connection = connect(address)
    try:
        connection.request(method, path, body=body, headers={"Host": workload.HOST, **(headers or {})})
        answer = connection.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()
    finally:
        connection.close()


def connect(address):
    plain = http.client.HTTPConnection("127.0.0.1", address.port, timeout=10)
    if address.tls:
        plain.connect()
        context = ssl.create_default_context(cafile=address.authority)
        plain.sock = context.wrap_socket(plain.sock, server_hostname=workload.HOST)
        expect("the cipher", plain.sock.cipher()[0], CIPHER)
    return plain


def key_and_route(route="read"):
    return {"x-knoxcall-key": workload.API_KEY, "x-knoxcall-route": route}


def check_forwarding(address):
    status, _, body = ask(address, "GET", "/v1/charges?page=2")
    expect("a GET", (status, body), (200, workload.body_of_origin().encode()))


def check_secure(address, headers):
    status, _, body = ask(address, "GET", "/v1/charges?page=2", headers)
    expect("a GET over TLS", (status, body), (200, workload.body_of_origin().encode()))


def check_large(address, headers):
    status, _, body = ask(address, "GET", "/large", headers)
    expect("the large body's status and length", (status, len(body)), (200, workload.LARGE_BYTES))
    wanted = hashlib.sha256(workload.large_body()).hexdigest()
    expect("the large body's digest", hashlib.sha256(body).hexdigest(), wanted)


def check_json(address, headers, chain):
    status, _, body = ask(address, "GET", "/json", headers)
    wanted = json.loads(workload.json_body())
    if chain and chain.rewriting:
        del wanted["internal"]
        wanted["card"]["number"] = "*" * 12 + "4242"
    expect("a JSON answer", (status, json.loads(body)), (200, wanted))


def check_judgement(address, chain):
    """A target that claims to judge lets the right request through, with the
    secret in it, and refuses each wrong one."""
    key = {"x-knoxcall-key": workload.API_KEY}
    read = key_and_route()
    status, headers, body = ask(address, "GET", "/seen", read)
    expect("a GET with key", status, 200)
    seen = json.loads(body)
    expect("the secret at the origin", seen["token"], "right")
    expect("the key at the origin", seen["key"], "")
    expect("X-RateLimit-Limit", "x-ratelimit-limit" in headers, True)
    check_answer(seen["authorization"], headers, bool(chain and chain.guarded))

    expect("no key", ask(address, "GET", "/v1", {"x-knoxcall-route": "read"})[0], 401)
    expect("a wrong key", ask(address, "GET", "/v1", {**read, "x-knoxcall-key": workload.API_KEY[:-1] + "0"})[0], 401)
    expect("an unknown route", ask(address, "GET", "/v1", {**key, "x-knoxcall-route": "none"})[0], 404)
    expect("another method", ask(address, "DELETE", "/v1", read)[0], 405)
    expect("another host", ask(address, "GET", "/v1", {**read, "Host": "other.test"})[0], 421)
    check_signatures(address, {**key_and_route("pay"), "Content-Type": "application/json"})


def check_answer(secret, headers, guarded):
    """The leak guard masks what the origin says back; the rule changes the head."""
    name, value = gateway.SET_HEADER
    expect("the secret in the answer", workload.TOKEN in secret, not guarded)
    expect("its mask", "*" * len(workload.TOKEN) in secret, guarded)
    expect("the header that a rule sets", headers.get(name.lower()) == value, guarded)
    if guarded:
        expect("the header that a rule removes", headers.get(gateway.REMOVED_HEADER.lower()), None)


def check_signatures(address, pay):
    body, target, timestamp = workload.padded_body(), "/seen?n=check", int(time.time()) + 60
    signature = workload.sign(timestamp, "POST", target, body)
    signed = {**pay, "x-timestamp": str(timestamp), "x-signature": signature}
    expect("no signature", ask(address, "POST", target, pay, body)[0], 401)
    expect("a wrong signature", ask(address, "POST", target, {**signed, "x-signature": CHECK_SIGNATURE}, body)[0], 401)
    status, _, answer = ask(address, "POST", target, signed, body)
    expect("a signed POST", status, 200)
    expect("its length at the origin", json.loads(answer)["length"], str(workload.BODY_BYTES))
    expect("a replayed signature", ask(address, "POST", target, signed, body)[0], 401)
    old = timestamp - 3 * workload.TOLERANCE_SEC
    late = {**pay, "x-timestamp": str(old), "x-signature": workload.sign(old, "POST", target, body)}
    expect("an old signature", ask(address, "POST", target, late, body)[0], 401)


def expect(what, found, wanted):
    if found != wanted:
        raise ClientFailed(f"{what}: {str(found)[:200]} instead of {str(wanted)[:200]}")
