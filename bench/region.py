#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What the region's S3 costs: PUT and GET of 10 MiB objects.

usage: bench/region.py VMFERRY YARDSTICK [ROUNDS]

VMFERRY is the program, YARDSTICK the target region_yardstick (ninja region_yardstick). In each of
ROUNDS rounds (7 unless told otherwise) the following are measured one after the other, so that
whatever else the machine does hits all of them:

  PUT   CPU time of the region's process a PUT (pre-signed, without a checksum: S3 then computes
        CRC64NVME), against MD5 + CRC64NVME + file write + fsync of the same bytes
  GET   bytes a second over one connection, and CPU time of the server a GET, against a static file
        server that does nothing but sendfile

Printed are the medians and the median of each round's ratio. Everything is removed at the end.
"""
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.parse

MIB = 1 << 20
SIZE = 10 * MIB
PUTS = 16  # a round, each under a key of its own
GETS = 60


def presign(keys, host, method, path):
    stamp = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
    scope = f"{stamp[:8]}/us-east-1/s3/aws4_request"
    query = {"X-Amz-Algorithm": "AWS4-HMAC-SHA256", "X-Amz-Credential": f"{keys['access_key_id']}/{scope}",
             "X-Amz-Date": stamp, "X-Amz-Expires": "86400", "X-Amz-SignedHeaders": "host"}
    text = "&".join(f"{k}={urllib.parse.quote(v, safe='')}" for k, v in sorted(query.items()))
    canonical = f"{method}\n{path}\n{text}\nhost:{host}\n\nhost\nUNSIGNED-PAYLOAD"
    to_sign = f"AWS4-HMAC-SHA256\n{stamp}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
    key = ("AWS4" + keys["secret_access_key"]).encode()
    for part in (stamp[:8], "us-east-1", "s3", "aws4_request"):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return f"{path}?{text}&X-Amz-Signature={hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()}"


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Connection:
    def __init__(self, port):
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.buffer = bytearray(MIB)

    def ask(self, method, target, host, body=b""):
        length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
        self.socket.sendall(f"{method} {target} HTTP/1.1\r\nHost: {host}\r\n{length}\r\n".encode())
        if body:
            self.socket.sendall(body)
        data = b""
        while b"\r\n\r\n" not in data:
            count = self.socket.recv_into(self.buffer)
            data += self.buffer[:count]
        head, _, rest = data.partition(b"\r\n\r\n")
        if b" 200 " not in head.split(b"\r\n")[0]:
            sys.exit(data.decode(errors="replace"))
        left = int(next(line.split(b":")[1] for line in head.lower().split(b"\r\n")
                        if line.startswith(b"content-length"))) - len(rest)
        while left > 0:
            left -= self.socket.recv_into(self.buffer, min(left, MIB))


def gets(pid, port, target, host):
    """Bytes a second and CPU milliseconds of the server a GET."""
    connection = Connection(port)
    connection.ask("GET", target, host)
    cpu, began = cpu_seconds(pid), time.monotonic()
    for _ in range(GETS):
        connection.ask("GET", target, host)
    return GETS * SIZE / (time.monotonic() - began), (cpu_seconds(pid) - cpu) * 1000 / GETS


def main():
    if len(sys.argv) not in (3, 4):
        sys.exit(__doc__)
    vmferry, yardstick = map(os.path.abspath, sys.argv[1:3])
    rounds = int(sys.argv[3]) if len(sys.argv) == 4 else 7
    with tempfile.TemporaryDirectory(prefix="vmferry-bench-") as name:
        folder = pathlib.Path(name)
        region = subprocess.Popen([vmferry, "region", "serve", "--folder", folder / "region", "--port", "0"],
                                  stderr=subprocess.DEVNULL)
        static = None
        try:
            while not (folder / "region" / "region.json").exists():
                time.sleep(0.1)
            port = json.loads((folder / "region" / "region.json").read_text())["port"]
            keys = json.loads((folder / "region" / "credentials.json").read_text())
            host = f"127.0.0.1:{port}"
            body = os.urandom(SIZE)
            (folder / "static").write_bytes(body)
            static = subprocess.Popen([yardstick, "serve", folder / "static"], stdin=subprocess.PIPE,
                                      stdout=subprocess.PIPE, text=True)
            static_port = int(static.stdout.readline())
            connection = Connection(port)
            connection.ask("PUT", presign(keys, host, "PUT", "/bench"), host)
            connection.ask("PUT", presign(keys, host, "PUT", "/bench/k"), host, body)
            seen = {key: [] for key in ("put", "put base", "get", "get base", "get cpu", "get cpu base")}
            for number in range(rounds):
                targets = [presign(keys, host, "PUT", f"/bench/{number}/{n}") for n in range(PUTS)]
                cpu = cpu_seconds(region.pid)
                for target in targets:
                    connection.ask("PUT", target, host, body)
                seen["put"].append((cpu_seconds(region.pid) - cpu) * 1000 / PUTS)
                files = folder / f"files-{number}"
                files.mkdir()
                seen["put base"].append(float(subprocess.run([yardstick, "put", files, str(PUTS)], check=True,
                                                             capture_output=True, text=True).stdout))
                subprocess.run(["rm", "-r", files], check=True)
                rate, cpu = gets(region.pid, port, presign(keys, host, "GET", "/bench/k"), host)
                base_rate, base_cpu = gets(static.pid, static_port, "/static", "x")
                for key, value in (("get", rate / 1e6), ("get base", base_rate / 1e6), ("get cpu", cpu),
                                   ("get cpu base", base_cpu)):
                    seen[key].append(value)
        finally:
            region.terminate()
            region.wait()
            if static:
                static.stdin.close()
                static.wait()
    for what, unit in (("put", "CPU ms"), ("get", "MB/s"), ("get cpu", "CPU ms")):
        ours, base = seen[what], seen[what + " base"]
        ratio = statistics.median(a / b for a, b in zip(ours, base) if b > 0)
        print(f"{what:8} {statistics.median(ours):9.2f} {unit:7} yardstick {statistics.median(base):9.2f}   "
              f"ratio {ratio:.2f} (rounds: {' '.join(f'{a / b:.2f}' for a, b in zip(ours, base) if b > 0)})")


if __name__ == "__main__":
    main()
