"""A client that makes a connection and a full TLS handshake for each request.

    handshakes.py PORT SERVER_NAME CA_FILE REQUEST_FILE SECONDS THREADS

wrk resumes sessions, which is not what is to be measured. Python offers none
unless told to; an answer over a resumed session or over less than TLS 1.3, a
status other than 200 and a certificate that does not verify count as errors.
"""

import json
import socket
import ssl
import sys
import threading
import time


class Tally:
    """What one thread saw."""

    def __init__(self):
        self.took, self.bytes, self.status_errors, self.socket_errors = [], 0, 0, 0


def main(port, server_name, ca_file, request_file, seconds, threads):
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    with open(request_file, "rb") as file:
        request = file.read()
    tallies = [Tally() for _ in range(int(threads))]
    began = time.monotonic()
    end = began + float(seconds)
    workers = [
        threading.Thread(target=work, args=(tally, context, int(port), server_name, request, end)) for tally in tallies
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    print("RESULT " + json.dumps(summary(tallies, time.monotonic() - began)))


def work(tally, context, port, server_name, request, end):
    while time.monotonic() < end:
        began = time.perf_counter_ns()
        try:
            answer = one(context, port, server_name, request)
        except OSError:
            tally.socket_errors += 1
            continue
        tally.took.append((time.perf_counter_ns() - began) // 1000)
        tally.bytes += len(answer)
        if not answer.startswith(b"HTTP/1.1 200"):
            tally.status_errors += 1


def one(context, port, server_name, request):
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        # Otherwise the request waits for the acknowledgement of the handshake's end.
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with context.wrap_socket(plain, server_hostname=server_name) as connection:
            if connection.session_reused:
                raise OSError("resumed")
            connection.sendall(request)
            pieces = []
            while piece := connection.recv(65536):
                pieces.append(piece)
            return b"".join(pieces)


def summary(tallies, seconds):
    took = sorted(each for tally in tallies for each in tally.took)
    at = {share: took[len(took) * share // 100] if took else 0 for share in (50, 90, 99)}
    return {
        "requests": len(took),
        "duration_us": round(seconds * 1e6),
        "bytes": sum(tally.bytes for tally in tallies),
        **{f"p{share}_us": value for share, value in at.items()},
        "status_errors": sum(tally.status_errors for tally in tallies),
        "socket_errors": sum(tally.socket_errors for tally in tallies),
    }


if __name__ == "__main__":
    main(*sys.argv[1:])
