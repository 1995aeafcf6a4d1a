"""What is measured: each target's name, how it starts, which requests it gets.

Only one target runs at a time, on the same port and the same core, freshly
started for each measurement, so that none carries over memory or counters.
"""

import getpass
import shutil
import sysconfig
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import gateway
from .processes import Server, ServerFailed
from .workload import HOST, TOLERANCE_SEC, body_of_origin

FOLDER = Path(__file__).resolve().parent.parent
ROOT = FOLDER.parent
TOOLS = ROOT / ".tools" / "loadtest"


@dataclass(frozen=True)
class Target:
    name: str
    #: Jobs: "get", "post", or "routed" with `routes` and `draw`.
    jobs: tuple = ("get", "post")
    #: The protocol's headers under names that mean nothing to the target.
    neutral: bool = False
    #: Also measured at a load below saturation that all of them share.
    paced: bool = False
    #: Judges requests, so what it lets through and refuses is checked first.
    judges: bool = False
    #: Writes a record for each request.
    records: bool = False
    idle: bool = False
    routes: int = 0
    draw: str = ""


TARGETS = [
    Target("direct"),
    Target("nginx", idle=True),
    Target("haproxy", idle=True),
    Target("envoy", paced=True, idle=True),
    Target("nginx-lua", paced=True, judges=True, records=True, idle=True),
    Target("bare", paced=True, idle=True),
    Target("off", neutral=True, paced=True, idle=True),
    Target("full", paced=True, judges=True, records=True, idle=True),
    Target("full-redis", judges=True, records=True),
    *(
        Target(f"routes-{count}-{draw}", jobs=("routed",), records=True, routes=count, draw=draw)
        for draw in ("uniform", "zipf")
        for count in (10, 100_000)
    ),
]


class Stage:
    """Folder, ports, cores and programs of one run; starts servers on them."""

    def __init__(self, folder, ports, cores, pool_size):
        self.folder, self.ports, self.cores, self.pool_size = Path(folder), ports, cores, pool_size
        self.redis = None

    def origin(self):
        conf = self._render("origin.conf")
        return Server("origin", [tool("nginx"), "-c", conf], self.ports.origin, self.log("origin"), self.cores.origin)

    @contextmanager
    def running(self, target):
        """The target's server, and what it needs beside the origin."""
        try:
            if target.name == "full-redis":
                with self._redis() as self.redis, self._server(target) as server:
                    yield server
            else:
                with self._server(target) as server:
                    yield server
        finally:
            self.redis = None
            # A long run writes gigabytes of records that nobody reads.
            for records in self.folder.glob(f"{target.name}.jsonl*"):
                records.unlink()

    def records_written(self, target):
        """Lines of the target's request log, rotated files included."""
        return sum(count_lines(path) for path in self.folder.glob(f"{target.name}.jsonl*"))

    def _server(self, target):
        argv, env = self._command(target)
        return Server(target.name, argv, self.ports.proxy, self.log(target.name), self.cores.proxy, env)

    def _command(self, target):
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
            case "bare":
                address = f"127.0.0.1:{self.ports.origin}"
                listen = f"127.0.0.1:{self.ports.proxy}"
                return [built("knoxcall-loadtest-bare"), "--listen", listen, "--upstream", address], {}
            case _:
                config = gateway.write(self.document(target), self.folder / f"{target.name}.yaml")
                return [built("knoxcall"), "serve", "--config", config], gateway.SECRETS_ENV

    def document(self, target):
        records = self.folder / f"{target.name}.jsonl"
        if target.routes:
            return gateway.many(self.ports, records, target.routes)
        if target.name == "off":
            return gateway.off(self.ports)
        return gateway.full(self.ports, records, 2 * self.pool_size, redis=target.name == "full-redis")

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
            "PROXY_PORT": self.ports.proxy,
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


def built(name):
    path = ROOT / "target" / "release" / name
    if not path.exists():
        raise ServerFailed(f"{path} is not built; run without --no-build")
    return path


def nginx_modules():
    places = [Path("/usr/lib/nginx/modules"), Path(f"/usr/lib/{sysconfig.get_config_var('MULTIARCH')}/nginx/modules")]
    return next((place for place in places if place.is_dir()), places[0])
