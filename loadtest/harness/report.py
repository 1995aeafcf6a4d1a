"""The tables on the terminal, and results/latest.json."""

import json
import os
import platform
import re
import subprocess
from datetime import datetime, timezone
from pathlib import Path
from statistics import median

from .processes import ServerFailed
from .ratios import CALM, calmest
from .targets import ROOT, tool

VERSION_FLAGS = {
    "nginx": "-v",
    "haproxy": "-v",
    "envoy": "--version",
    "redis-server": "--version",
    "wrk": "--version",
    "h2load": "--version",
}
FIGURES = (
    "requests_per_second",
    "p50_us",
    "p99_us",
    "cpu_us",
    "cpu_system_us",
    "mb_per_cpu_second",
    "cores_busy",
    "rss_mib",
)
# KiB of RSS an idle connection of the whole chain, in clear and over TLS.
IDLE_GOALS = {"idle_connections": 20, "idle_connections_tls": 28}
IDLE_JUDGED = "guarded"


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


def print_table(document):
    for job, load in sorted({(entry["job"], entry["load"]) for entry in document["medians"]}):
        print(f"\n{job}, {load}: medians")
        print(
            f"{'target':24}{'req/s':>9}{'p50 ms':>9}{'p99 ms':>9}{'CPU µs':>10}{'of it sys':>10}"
            f"{'MB/CPU s':>9}{'cores':>7}{'RSS MiB':>9}{'rounds':>8}{'failed':>8}"
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
        return f"{entry['target']:24}{'no round without a failed request':>71}{0:8}{entry['failed']:8}"
    return (
        f"{entry['target']:24}{entry['requests_per_second']:9.0f}{entry['p50_us'] / 1000:9.3f}"
        f"{entry['p99_us'] / 1000:9.3f}{entry['cpu_us']:10.2f}{entry['cpu_system_us']:10.2f}"
        f"{entry['mb_per_cpu_second']:9.0f}{entry['cores_busy']:7.2f}{entry['rss_mib']:9.1f}"
        f"{entry['rounds']:8}{entry['failed']:8}{lost(entry)}{noise(entry)}"
    )


def lost(entry):
    missing = entry["records_missing"]
    return f"  ({missing} requests without a record)" if missing else ""


def noise(entry):
    return "" if entry["calm"] else "  (other work on the machine)"


def print_ratios(entries):
    if not entries:
        return
    print(f"\n{'paired ratio':50}{'job':>10}{'median':>9}{'min':>8}{'max':>8}  goal")
    for entry in entries:
        by_round = entry["by_round"]
        name = entry["name"] + (" at equal load" if entry["load"] == "paced" else "")
        print(
            f"{name:50}{entry['job']:>10}{entry['median']:9.3f}{min(by_round):8.3f}{max(by_round):8.3f}"
            f"  {goal(entry)}{noise(entry)}"
        )


def goal(entry):
    if "reached" not in entry:
        return ""
    sign, bound = ("≤", entry["at_most"]) if "at_most" in entry else ("≥", entry["at_least"])
    return f"{sign} {bound:.2f} {'reached' if entry['reached'] else 'MISSED'}"


def print_memory(document):
    for part, goal_kib in IDLE_GOALS.items():
        words = "idle connections" + (" over TLS" if part.endswith("tls") else "")
        for name, figures in document.get(part, {}).items():
            each, held = figures["kib_per_connection"], figures["held"]
            verdict = f"  ≤ {goal_kib} {'reached' if each <= goal_kib else 'MISSED'}" if name == IDLE_JUDGED else ""
            print(f"{figures['connections']} {words}, {name:10} {each:7.1f} KiB each, {held} held{verdict}")
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
