"""Paired ratios, the table on the terminal, and results/latest.json."""

import json
import os
import platform
import re
import subprocess
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from .processes import ServerFailed
from .targets import ROOT, tool

VERSION_FLAGS = {"nginx": "-v", "haproxy": "-v", "envoy": "--version", "redis-server": "--version", "wrk": "--version"}
# Cores that other work may use before a measurement counts as disturbed.
CALM = 0.1
FIGURES = ("requests_per_second", "p50_us", "p99_us", "cpu_us", "cpu_system_us", "cores_busy", "rss_mib")


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
        words = {"cpu_us": "cpu", "p99_us": "p99", "requests_per_second": "throughput"}
        return f"{self.over}/{self.under} {words[self.figure]}"


RATIOS = [
    Ratio("full", "bare", "cpu_us", at_most=1.15),
    Ratio("off", "bare", "cpu_us", at_most=1.05),
    Ratio("full", "envoy", "cpu_us", at_most=0.80),
    Ratio("full", "nginx-lua", "cpu_us", at_most=1.00),
    Ratio("full", "bare", "p99_us", load="paced", at_most=1.20),
    Ratio("off", "bare", "p99_us", load="paced"),
    Ratio("full", "bare", "cpu_us", load="paced"),
    Ratio("full-redis", "full", "requests_per_second", at_least=0.95),
    Ratio("routes-100000-uniform", "routes-10-uniform", "cpu_us", jobs=("routed",), at_most=1.05),
    Ratio("routes-100000-zipf", "routes-10-zipf", "cpu_us", jobs=("routed",), at_most=1.05),
    Ratio("bare", "nginx", "cpu_us"),
    Ratio("haproxy", "nginx", "cpu_us"),
    Ratio("envoy", "nginx", "cpu_us"),
]


def medians(rows):
    """By job, load and target, over the rounds that count."""
    groups = {}
    for row in rows:
        groups.setdefault((row["job"], row["load"], row["target"]), []).append(row)
    found = []
    for (job, load, target), group in groups.items():
        counted = calmest(group)
        failed = sum(row["errors"] > 0 for row in group)
        entry = {"job": job, "load": load, "target": target, "rounds": len(counted), "failed": failed}
        entry["records_missing"] = sum(row.get("records_missing", 0) for row in group)
        entry["calm"] = all(row["foreign_cores"] <= CALM for row in counted)
        if counted:
            entry |= {figure: median(row[figure] for row in counted) for figure in FIGURES}
        found.append(entry)
    return found


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


def print_table(document):
    for job, load in sorted({(entry["job"], entry["load"]) for entry in document["medians"]}):
        print(f"\n{job}, {load}: medians")
        print(
            f"{'target':24}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>9}{'of it sys':>10}"
            f"{'cores':>7}{'RSS MiB':>9}{'rounds':>8}{'failed':>8}"
        )
        for entry in document["medians"]:
            if (entry["job"], entry["load"]) == (job, load):
                print(table_line(entry))
    print_ratios(document["ratios"])
    print_memory(document)
    for failure in document["failures"]:
        print(f"not measured: {failure['target']} {failure['job']}: {failure['error']}")


def table_line(entry):
    if not entry["rounds"]:
        return f"{entry['target']:24}{'no round without a failed request':>61}{0:8}{entry['failed']:8}"
    return (
        f"{entry['target']:24}{entry['requests_per_second']:9.0f}{entry['p50_us'] / 1000:9.3f}"
        f"{entry['p99_us'] / 1000:9.3f}{entry['cpu_us']:9.2f}{entry['cpu_system_us']:10.2f}"
        f"{entry['cores_busy']:7.2f}{entry['rss_mib']:9.1f}{entry['rounds']:8}{entry['failed']:8}"
        f"{lost(entry)}{noise(entry)}"
    )


def lost(entry):
    missing = entry["records_missing"]
    return f"  ({missing} requests without a record)" if missing else ""


def noise(entry):
    return "" if entry["calm"] else "  (other work on the machine)"


def print_ratios(entries):
    if not entries:
        return
    print(f"\n{'paired ratio':50}{'job':>8}{'median':>9}{'min':>8}{'max':>8}  goal")
    for entry in entries:
        by_round = entry["by_round"]
        name = entry["name"] + (" at equal load" if entry["load"] == "paced" else "")
        print(
            f"{name:50}{entry['job']:>8}{entry['median']:9.3f}{min(by_round):8.3f}{max(by_round):8.3f}"
            f"  {goal(entry)}{noise(entry)}"
        )


def goal(entry):
    if "reached" not in entry:
        return ""
    sign, bound = ("≤", entry["at_most"]) if "at_most" in entry else ("≥", entry["at_least"])
    return f"{sign} {bound:.2f} {'reached' if entry['reached'] else 'MISSED'}"


def print_memory(document):
    for name, figures in document.get("idle_connections", {}).items():
        print(f"{figures['connections']} idle connections, {name:10} {figures['kib_per_connection']:7.1f} KiB each")
    if per_route := document.get("routes", {}).get("bytes_per_route"):
        print(f"memory per route: {per_route:.0f} bytes")


def save(document, folder):
    path = Path(folder) / "latest.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    return path


def machine():
    """Where and with what this was measured; ratios travel, figures do not."""
    cpu = next((line.split(":", 1)[1].strip() for line in cpuinfo() if line.startswith("model name")), "unknown")
    flags = next((line for line in cpuinfo() if line.startswith(("flags", "Features"))), "")
    return {
        "at": datetime.now(timezone.utc).isoformat(timespec="seconds"),
        "cpu": cpu,
        "sha_instructions": "sha_ni" in flags or " sha2" in flags,
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load_before": os.getloadavg()[0],
        "commit": commit(),
        "versions": {name: version(name, flag) for name, flag in VERSION_FLAGS.items()},
    }


def cpuinfo():
    return Path("/proc/cpuinfo").read_text().splitlines()


def commit():
    argv = ["git", "-C", str(ROOT), "describe", "--always", "--dirty"]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else None


def version(name, flag):
    """The first number with a dot in what the program says of itself."""
    try:
        argv = [str(tool(name)), flag]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=20, check=False)
    except (ServerFailed, OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"\d+\.\d+(\.\d+)?", done.stdout + done.stderr)
    return found.group() if found else None
