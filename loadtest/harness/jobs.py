"""What is asked of a target: each job's client, its port, and how much at once."""

from dataclasses import dataclass

from . import drivers


@dataclass(frozen=True)
class Job:
    name: str
    #: The client; a function of `drivers`.
    drive: callable
    path: str = "/v1/charges?page=2"
    tls: bool = False
    #: HTTP/2 in clear, which bare Pingora has to be told of.
    h2c: bool = False
    #: Client connections; None: as many as the run has.
    connections: int | None = None
    #: Also measured at a load below saturation that all targets share.
    paced: bool = False
    #: What a target forwards to: a port's name in `Ports`.
    upstream: str = "origin"


ALL = (
    Job("get", drivers.wrk, paced=True),
    Job("post", drivers.wrk, paced=True),
    Job("routed", drivers.wrk),
    Job("json", drivers.wrk, path="/json"),
    Job("tls", drivers.wrk, tls=True),
    Job("handshake", drivers.handshakes, tls=True, connections=8),
    Job("h2", drivers.h2load, tls=True),
    Job("h2c", drivers.h2load, h2c=True),
    Job("download", drivers.wrk, path="/large", connections=4),
    Job("websocket", drivers.websockets, path="/socket", connections=32, upstream="echo"),
)
JOBS = {job.name: job for job in ALL}
