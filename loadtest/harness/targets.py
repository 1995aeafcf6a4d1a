"""What is measured: each target's name, how it starts, which requests it gets.

Only one target runs at a time, on the same port and the same core, freshly
started for each measurement, so that none carries over memory or counters.
"""

import getpass
import shutil
import sys
import sysconfig
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import certificate, gateway
from .processes import Server, ServerFailed
from .workload import HOST, TOKEN, TOLERANCE_SEC, body_of_origin, json_body, large_body

FOLDER = Path(__file__).resolve().parent.parent
ROOT = FOLDER.parent
TOOLS = ROOT / ".tools" / "loadtest"


@dataclass(frozen=True)
class Address:
    """Where a target listens, and the authority behind its certificate."""

    port: int
    tls: bool = False
    authority: Path | None = None


@dataclass(frozen=True)
class Target:
    name: str
    #: Of those in `jobs`; "routed" with `routes` and `draw`.
    jobs: tuple = ("get", "post")
    #: The protocol's headers under names that mean nothing to the target.
    neutral: bool = False
    #: Also measured at a load below saturation that all of them share.
    paced: bool = False
    #: Judges requests, so what it lets through and refuses is checked first.
    judges: bool = False
    #: Writes a record for each request.
    records: bool = False
    #: Holds idle connections: in clear, and over TLS.
    idle: bool = False
    idle_tls: bool = False
    #: HAProxy asks for two files for each that it may have.
    idle_most: int | None = None
    #: Speaks HTTP/2 to the origin.
    http2_upstream: bool = False
    #: What the gateway's routes do; None: nothing is on.
    chain: gateway.Chain | None = None
    routes: int = 0
    draw: str = ""


CLEAR, SECURE, STREAMS = ("get", "post"), ("tls", "handshake", "h2"), ("download", "websocket")
GUARDED = gateway.Chain(guarded=True)
GUARDED_HTTP2 = gateway.Chain(guarded=True, http2_upstream=True)
REWRITING = gateway.Chain(guarded=True, rewriting=True)
WHOLE = {"judges": True, "records": True}

TARGETS = [
    Target("direct"),
    Target("nginx", (*CLEAR, *SECURE, "download"), idle=True, idle_tls=True),
    Target("haproxy", (*CLEAR, *SECURE), idle=True, idle_tls=True, idle_most=8_000),
    Target("envoy", paced=True, idle=True),
    Target("nginx-lua", paced=True, idle=True, **WHOLE),
    Target("bare", (*CLEAR, "json", *SECURE, "h2c", *STREAMS), paced=True, idle=True, idle_tls=True),
    Target("bare-h2-upstream", ("get",), http2_upstream=True),
    Target("off", (*CLEAR, *SECURE, "h2c", *STREAMS), neutral=True, paced=True, idle=True, idle_tls=True),
    Target(
        "full",
        (*CLEAR, *SECURE, "h2c", *STREAMS),
        paced=True,
        idle=True,
        idle_tls=True,
        chain=gateway.PLAIN,
        **WHOLE,
    ),
    Target("full-redis", chain=gateway.PLAIN, **WHOLE),
    Target(
        "guarded",
        (*CLEAR, "json", *SECURE, "h2c", *STREAMS),
        paced=True,
        idle=True,
        idle_tls=True,
        chain=GUARDED,
        **WHOLE,
    ),
    Target("guarded-h2-upstream", ("get",), http2_upstream=True, chain=GUARDED_HTTP2, **WHOLE),
    Target("rewriting", ("json",), chain=REWRITING, **WHOLE),
    *(
        Target(f"routes-{count}-{draw}", jobs=("routed",), records=True, routes=count, draw=draw)
        for draw in ("uniform", "zipf")
        for count in (10, 100_000)
    ),
]


class Stage:
    """Folder, ports, cores and programs of one run; starts servers on them."""

    def __init__(self, folder, ports, cores, pool_size, profile):
        self.folder, self.ports, self.cores, self.pool_size = Path(folder), ports, cores, pool_size
        self.profile = profile
        self.certificate = certificate.make(self.folder)
        #: Servers that run beside target and origin.
        self.beside = []

    def origin(self):
        large = self.folder / "origin" / "large"
        large.parent.mkdir(exist_ok=True)
        if not large.exists():
            large.write_bytes(large_body())
        (self.folder / "origin").chmod(0o755)
        conf = self._render("origin.conf")
        argv, more = [tool("nginx"), "-c", conf], (self.ports.origin_http2,)
        return Server("origin", argv, self.ports.origin, self.log("origin"), self.cores.origin, more_ports=more)

    def echo(self, name="websocket_echo", port=None, python=sys.executable):
        argv = [python, FOLDER / "peers" / f"{name}.py", port or self.ports.echo]
        return Server(name, argv, port or self.ports.echo, self.log(name), self.cores.origin)

    @contextmanager
    def running(self, target, job=None):
        """The target's server, and what it needs beside the origin."""
        with ExitStack() as stack:
            self.beside = []
            # A long run writes gigabytes of records that nobody reads.
            stack.callback(self._tidy, target)
            if target.name == "full-redis":
                self.beside.append(stack.enter_context(self._redis()))
            if job and job.upstream == "echo":
                self.beside.append(stack.enter_context(self.echo()))
            yield stack.enter_context(self._server(target, job))

    def _tidy(self, target):
        self.beside = []
        for records in self.folder.glob(f"{target.name}.jsonl*"):
            records.unlink()

    def address(self, tls):
        port = self.ports.proxy_tls if tls else self.ports.proxy
        return Address(port, tls, self.certificate.cert)

    def records_written(self, target):
        """Lines of the target's request log, rotated files included."""
        return sum(count_lines(path) for path in self.folder.glob(f"{target.name}.jsonl*"))

    def built(self, name):
        path = ROOT / "target" / self.profile / name
        if not path.exists():
            raise ServerFailed(f"{path} is not built; run without --no-build")
        return path

    def _server(self, target, job):
        argv, env = self._command(target, job)
        more = (self.ports.proxy_tls,) if target.idle_tls else ()
        place = (self.ports.proxy, self.log(target.name), self.cores.proxy)
        return Server(target.name, argv, *place, env, more_ports=more)

    def _command(self, target, job):
        match target.name:
            case "nginx":
                return [tool("nginx"), "-c", self._render("nginx.conf")], {}
            case "haproxy":
                return [tool("haproxy"), "-db", "-f", self._render("haproxy.cfg")], {}
            case "envoy":
                conf = self._render("envoy.yaml")
                options = ["--concurrency", 1, "--disable-hot-restart", "--log-level", "error"]
                return [tool("envoy"), "-c", conf, *options], {}
            case "nginx-lua":
                return [tool("nginx"), "-c", self._render("nginx-lua.conf")], self._lua_env()
            case "bare" | "bare-h2-upstream":
                return self._bare(target, job), {}
            case _:
                config = gateway.write(self.document(target, job), self.folder / f"{target.name}.yaml")
                return [self.built("knoxcall"), "serve", "--config", config], gateway.SECRETS_ENV

    def _bare(self, target, job):
        options = {
            "--listen": f"127.0.0.1:{self.ports.proxy}",
            "--tls-listen": f"127.0.0.1:{self.ports.proxy_tls}",
            "--tls-cert": self.certificate.cert,
            "--tls-key": self.certificate.key,
            "--upstream": f"127.0.0.1:{self._upstream(target, job)}",
        }
        argv = [self.built("knoxcall-loadtest-bare"), *(word for option in options.items() for word in option)]
        if target.http2_upstream:
            argv.append("--upstream-http2")
        if job and job.h2c:
            argv.append("--h2c")
        return argv

    def _upstream(self, target, job):
        if target.http2_upstream:
            return self.ports.origin_http2
        return getattr(self.ports, job.upstream if job else "origin")

    def document(self, target, job=None):
        upstream = self._upstream(target, job)
        if target.name == "off":
            return gateway.off(self.ports, upstream, self.certificate)
        redis = target.name == "full-redis"
        nonces = 1_000_000 if target.routes else 2 * self.pool_size
        records = self.folder / f"{target.name}.jsonl"
        process = gateway.process_part(self.ports, records, nonces, redis, self.certificate)
        if target.routes:
            return gateway.many(process, upstream, target.routes)
        return gateway.full(process, upstream, target.chain)

    def _redis(self):
        options = ["--port", self.ports.redis, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
        argv = [tool("redis-server"), *options, "--dir", self.folder]
        return Server("redis", argv, self.ports.redis, self.log("redis"), self.cores.origin)

    def _lua_env(self):
        more = {
            "LOAD_KEY_DIGEST": gateway.key_digest(),
            "LOAD_SIGNATURE_TOLERANCE": str(TOLERANCE_SEC),
            "LOAD_LIMIT": str(gateway.LIMIT["rate_limit_requests"]),
        }
        return {**gateway.SECRETS_ENV, **more}

    def _render(self, name):
        """Fills in the @NAMES@ of a file in peers/."""
        values = {
            "DIR": self.folder,
            "PEERS": FOLDER / "peers",
            "USER": getpass.getuser(),
            "MODULES": nginx_modules(),
            "ORIGIN_PORT": self.ports.origin,
            "ORIGIN_HTTP2_PORT": self.ports.origin_http2,
            "PROXY_PORT": self.ports.proxy,
            "PROXY_TLS_PORT": self.ports.proxy_tls,
            "CERT": self.certificate.cert,
            "KEY": self.certificate.key,
            "BOTH": self.certificate.both,
            "TOKEN": TOKEN,
            "JSON": json_body(),
            "HOST": HOST,
            "BODY": body_of_origin(),
            "ALLOWLIST": "\n".join(f"        {cidr} 1;" for cidr in gateway.ALLOWLIST),
        }
        text = (FOLDER / "peers" / name).read_text()
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.folder / name
        path.write_text(text)
        return path

    def log(self, name):
        return self.folder / f"{name}.log"


def count_lines(path):
    with open(path, "rb") as file:
        return sum(piece.count(b"\n") for piece in iter(lambda: file.read(1 << 20), b""))


def tool(name):
    """A program: our own tools first, then the system's (also where only root's path has it)."""
    for place in (TOOLS / "bin", Path("/usr/sbin"), Path("/usr/local/sbin")):
        if (place / name).exists():
            return place / name
    if found := shutil.which(name):
        return found
    raise ServerFailed(f"{name} is not installed; run loadtest/setup")


def nginx_modules():
    places = [Path("/usr/lib/nginx/modules"), Path(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/nginx/modules")]
    return next((place for place in places if place.is_dir()), places[0])
