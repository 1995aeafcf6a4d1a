"""Paired ratios: a target's figure over another's in the same round, and what
is to be reached."""

from dataclasses import dataclass
from statistics import median

# Cores that other work may use before a measurement counts as disturbed.
CALM = 0.1


@dataclass(frozen=True)
class Ratio:
    """A target's figure over another's, in the same round and job."""

    over: str
    under: str
    figure: str
    load: str = "saturation"
    jobs: tuple = ("get", "post")
    at_most: float | None = None
    at_least: float | None = None

    @property
    def name(self):
        words = {
            "cpu_us": "cpu",
            "p99_us": "p99",
            "requests_per_second": "throughput",
            "mb_per_cpu_second": "MB per CPU second",
        }
        return f"{self.over}/{self.under} {words[self.figure]}"


RATIOS = [
    Ratio("full", "bare", "cpu_us", at_most=1.15),
    Ratio("guarded", "bare", "cpu_us", at_most=1.20),
    Ratio("off", "bare", "cpu_us", at_most=1.05),
    Ratio("full", "envoy", "cpu_us", at_most=0.80),
    Ratio("full", "nginx-lua", "cpu_us", at_most=1.00),
    Ratio("full", "bare", "p99_us", load="paced", at_most=1.20),
    Ratio("guarded", "bare", "p99_us", load="paced"),
    Ratio("off", "bare", "p99_us", load="paced"),
    Ratio("full", "bare", "cpu_us", load="paced"),
    # A signed POST asks for its nonce as well, and Redis answers on the core of
    # client and origin.
    Ratio("full-redis", "full", "requests_per_second", jobs=("get",), at_least=0.95),
    Ratio("full-redis", "full", "requests_per_second", jobs=("post",)),
    Ratio("full-redis", "full", "cpu_us"),
    Ratio("routes-100000-uniform", "routes-10-uniform", "cpu_us", jobs=("routed",), at_most=1.05),
    Ratio("routes-100000-zipf", "routes-10-zipf", "cpu_us", jobs=("routed",), at_most=1.05),
    Ratio("bare", "nginx", "cpu_us", jobs=("get", "post", "tls", "handshake", "h2")),
    Ratio("haproxy", "nginx", "cpu_us", jobs=("get", "post", "tls", "handshake", "h2")),
    Ratio("envoy", "nginx", "cpu_us"),
    Ratio("guarded", "bare", "cpu_us", jobs=("tls", "h2", "h2c"), at_most=1.20),
    Ratio("full", "bare", "cpu_us", jobs=("tls", "h2", "h2c")),
    Ratio("off", "bare", "cpu_us", jobs=("tls", "handshake", "h2", "h2c")),
    Ratio("guarded", "nginx", "cpu_us", jobs=("handshake",), at_most=0.80),
    Ratio("guarded", "bare", "cpu_us", jobs=("handshake",)),
    Ratio("guarded-h2-upstream", "guarded", "requests_per_second", jobs=("get",), at_least=1.00),
    Ratio("guarded-h2-upstream", "guarded", "cpu_us", jobs=("get",)),
    Ratio("bare-h2-upstream", "bare", "requests_per_second", jobs=("get",)),
    Ratio("guarded", "bare", "cpu_us", jobs=("json",)),
    Ratio("rewriting", "guarded", "cpu_us", jobs=("json",)),
    Ratio("off", "bare", "mb_per_cpu_second", jobs=("download", "websocket"), at_least=0.95),
    Ratio("full", "bare", "mb_per_cpu_second", jobs=("download", "websocket"), at_least=0.95),
    Ratio("guarded", "bare", "mb_per_cpu_second", jobs=("download", "websocket")),
]


def calmest(rows):
    """A failed request spoils its round. Rounds with other work on the machine
    count only where there is no calm one."""
    sound = [row for row in rows if row["errors"] == 0]
    return [row for row in sound if row["foreign_cores"] <= CALM] or sound


def ratios(rows):
    found = []
    for ratio in RATIOS:
        for job in ratio.jobs:
            pairs = paired(rows, ratio, job)
            if counted := [pair for pair in pairs if pair["calm"]] or pairs:
                found.append(judged(ratio, job, counted))
    return found


def paired(rows, ratio, job):
    sound = {
        (row["round"], row["target"]): row
        for row in rows
        if row["job"] == job and row["load"] == ratio.load and row["errors"] == 0
    }
    found = []
    for number in sorted({number for number, _ in sound}):
        over, under = sound.get((number, ratio.over)), sound.get((number, ratio.under))
        if over and under and under[ratio.figure]:
            calm = max(over["foreign_cores"], under["foreign_cores"]) <= CALM
            found.append({"round": number, "ratio": over[ratio.figure] / under[ratio.figure], "calm": calm})
    return found


def judged(ratio, job, pairs):
    by_round = [pair["ratio"] for pair in pairs]
    middle = median(by_round)
    entry = {"name": ratio.name, "job": job, "load": ratio.load, "median": middle, "by_round": by_round}
    entry["calm"] = all(pair["calm"] for pair in pairs)
    if ratio.at_most is not None:
        entry |= {"at_most": ratio.at_most, "reached": middle <= ratio.at_most}
    if ratio.at_least is not None:
        entry |= {"at_least": ratio.at_least, "reached": middle >= ratio.at_least}
    return entry
