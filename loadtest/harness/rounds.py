"""Interleaved rounds: every target in turn, under the same requests.

A machine's speed drifts by a third within minutes, so targets are compared
inside a round only, and every second round runs in the opposite order.
"""

import resource
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.client import HTTPException

from .checks import check
from .drivers import ClientFailed, Load
from .processes import ServerFailed, machine_busy_seconds
from .targets import TARGETS, Address

WARM_UP_SECONDS = 1
# More than any target that judges signatures reaches; a pool must not run out,
# because a signature counts once.
FASTEST = 60_000
# Longer than any target holds a record back before it is written.
FLUSHED_SECONDS = 1.5
# The part of bare Pingora's saturation at which latencies are compared.
PACED_SHARE = 0.4
NOT_MEASURED = (ServerFailed, ClientFailed, OSError, HTTPException)


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: int
    connections: int
    targets: tuple
    jobs: tuple

    def pool_size(self):
        """Warm-up, saturation, paced load."""
        return round(FASTEST * (WARM_UP_SECONDS + self.seconds * (1 + PACED_SHARE)))

    def paced(self):
        return any(target.paced for target in self.targets)


@dataclass
class Outcome:
    """What one run found; becomes latest.json."""

    rows: list = field(default_factory=list)
    failures: list = field(default_factory=list)
    paced_rates: dict = field(default_factory=dict)


class Run:
    def __init__(self, stage, origin, workload, plan, say):
        self.stage, self.origin, self.workload, self.plan, self.say = stage, origin, workload, plan, say
        self.outcome = Outcome()

    def all_rounds(self):
        self.workload.sign_pool(self.plan.pool_size())
        if self.plan.paced():
            self._calibrate()
        for number in range(1, self.plan.rounds + 1):
            if number > 1:
                self.workload.sign_pool(self.plan.pool_size())
            order = self.plan.targets if number % 2 else tuple(reversed(self.plan.targets))
            for job in self.plan.jobs:
                for target in order:
                    if job.name in target.jobs:
                        self._guarded(number, target, job)
        return self.outcome

    def _calibrate(self):
        bare = next(target for target in TARGETS if target.name == "bare")
        for job in self.plan.jobs:
            if not job.paced:
                continue
            try:
                rows = self._measure(0, bare, job)
            except NOT_MEASURED as error:
                self._failed("calibration", job, error)
                return
            self.outcome.paced_rates[job.name] = round(rows[0]["requests_per_second"] * PACED_SHARE)

    def _guarded(self, number, target, job):
        try:
            rows = self._measure(number, target, job)
        except NOT_MEASURED as error:
            self._failed(target.name, job, error)
            return
        self.outcome.rows.extend(rows)
        for row in rows:
            self.say(
                f"round {number} {job.name:9} {target.name:22} {row['load']:10} "
                f"{row['requests_per_second']:8.0f} req/s "
                f"{row['cpu_us']:8.2f} µs  p99 {row['p99_us'] / 1000:7.2f} ms  errors {row['errors']}"
                f"  other work {row['foreign_cores']:.2f} cores"
            )

    def _failed(self, name, job, error):
        self.outcome.failures.append({"target": name, "job": job.name, "error": str(error)})
        self.say(f"{name} {job.name}: {error}")

    def _measure(self, number, target, job):
        """Saturation, and where target and job have it, the shared load below it."""
        direct = target.name == "direct"
        with nullcontext(self.origin) if direct else self.stage.running(target, job) as server:
            clear = Address(server.port)
            check(target, job, clear, self.stage.address(tls=True))
            address = clear if direct else self.stage.address(job.tls)
            requests = self._requests(target, job)
            warm_up = job.drive(address, requests, self._load(job, WARM_UP_SECONDS, 0), self.stage.cores.client)
            base = {"round": number, "target": target.name, "job": job.name}
            first = FASTEST * WARM_UP_SECONDS
            rows = [{**base, "load": "saturation", **self._costs(server, address, job, requests, first)}]
            if target.records and job.name != "websocket":
                answered = warm_up["requests"] + rows[0]["requests"]
                rows[0]["records_missing"] = self._records_missing(target, answered)
            rate = self.outcome.paced_rates.get(job.name)
            if target.paced and rate:
                first += FASTEST * self.plan.seconds
                rows.append({**base, "load": "paced", **self._costs(server, address, job, requests, first, rate)})
            return rows

    def _records_missing(self, target, answered):
        """A target that drops records under load is cheaper than it should be."""
        time.sleep(FLUSHED_SECONDS)
        return max(0, answered - self.stage.records_written(target))

    def _requests(self, target, job):
        match job.name:
            case "routed":
                return self.workload.routed(target.routes, target.draw)
            case "post":
                return self.workload.post(target.neutral)
            case _:
                return self.workload.get(job.path, target.neutral)

    def _load(self, job, seconds, first, rate=0):
        return Load(seconds, job.connections or self.plan.connections, first, rate)

    def _costs(self, server, address, job, requests, first, rate=0):
        """One run of the client, with what the server's process tree used meanwhile."""
        before, foreign_before = server.cpu(), self._foreign_seconds(server)
        load = self._load(job, self.plan.seconds, first, rate)
        seen = job.drive(address, requests, load, self.stage.cores.client)
        used, foreign = server.cpu() - before, self._foreign_seconds(server) - foreign_before
        answered = max(seen["requests"], 1)
        seconds = seen["duration_us"] / 1e6
        return {
            "requests": seen["requests"],
            "errors": seen["status_errors"] + seen["socket_errors"],
            "requests_per_second": seen["requests"] / seconds,
            "p50_us": seen["p50_us"],
            "p90_us": seen["p90_us"],
            "p99_us": seen["p99_us"],
            "cpu_us": used.total / answered * 1e6,
            "cpu_system_us": used.system / answered * 1e6,
            "mb_per_cpu_second": seen["bytes"] / 1e6 / max(used.total, 1e-6),
            "cores_busy": used.total / seconds,
            "foreign_cores": max(0.0, foreign / seconds),
            "rss_mib": server.rss_kib() / 1024,
        }

    def _foreign_seconds(self, server):
        """What the machine did beside this measurement."""
        ours = {id(s): s for s in (server, self.origin, *self.stage.beside)}.values()
        waited = resource.getrusage(resource.RUSAGE_CHILDREN)
        client = waited.ru_utime + waited.ru_stime
        return machine_busy_seconds() - client - sum(s.cpu().total for s in ours)
