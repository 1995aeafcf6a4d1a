"""A certificate for the targets' TLS listeners: ECDSA on P-256, its own authority."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from .processes import ServerFailed
from .workload import HOST


@dataclass(frozen=True)
class Certificate:
    cert: Path
    key: Path
    #: Both in one file, as HAProxy has it.
    both: Path


def make(folder):
    made = Certificate(folder / "cert.pem", folder / "key.pem", folder / "both.pem")
    argv = [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", f"/CN={HOST}", "-addext", f"subjectAltName=DNS:{HOST}", "-keyout", made.key, "-out", made.cert,
    ]  # fmt: skip
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ServerFailed(f"openssl: {done.stderr[-300:]}")
    made.both.write_text(made.cert.read_text() + made.key.read_text())
    for path in (made.key, made.both):
        path.chmod(0o600)
    return made
