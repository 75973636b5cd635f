#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What a migration costs, step by step: wall time, CPU seconds and peak memory of client and region.

usage: bench/migrate.py VMFERRY [SIZE_MIB]

Makes a raw disk of incompressible bytes (2048 MiB unless told otherwise), migrates it into an
embedded region of its own in a temporary folder up to and including `verify`, and prints a row for
each step. As a yardstick it measures, in the same run, one pass of SHA-256 over the same bytes by
`openssl dgst`, since hashing every block is the dearest thing that a migration does. Everything is
removed at the end.
"""
import json
import os
import subprocess
import sys
import tempfile
import time

MIB = 1 << 20


def measured(arguments, environment):
    """Runs the program; returns wall seconds, CPU seconds and peak MiB."""
    began = time.monotonic()
    process = subprocess.Popen(arguments, env=environment, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
    talk = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(arguments)} ended with {process.returncode}:\n{talk}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def region_process(pid):
    """CPU seconds and peak MiB of the region so far (its tools not included)."""
    with open(f"/proc/{pid}/stat", encoding="ascii") as stat:
        fields = stat.read().rsplit(")", 1)[1].split()
    ticks = int(fields[11]) + int(fields[12])
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    return ticks / os.sysconf("SC_CLK_TCK"), peak / 1024


def write_disk(path, size_mib):
    with open(path, "wb") as disk:
        for _ in range(size_mib // 8):
            disk.write(os.urandom(8 * MIB))


def main():
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    vmferry = os.path.abspath(sys.argv[1])
    size_mib = int(sys.argv[2]) if len(sys.argv) == 3 else 2048
    gigabytes = size_mib * MIB / 1e9
    with tempfile.TemporaryDirectory(prefix="vmferry-bench-") as folder:
        disk = os.path.join(folder, "disk.raw")
        write_disk(disk, size_mib)
        environment = {**os.environ, "VMFERRY_STATE": os.path.join(folder, "state")}
        sha = measured(["openssl", "dgst", "-sha256", disk], environment)
        subprocess.run([vmferry, "region", "start", "--port", "0"], env=environment, check=True,
                       stdout=subprocess.DEVNULL)
        view = json.loads(subprocess.run([vmferry, "region", "status", "--output", "json"],
                                         env=environment, check=True, capture_output=True).stdout)
        try:
            print(f"{size_mib} MiB of incompressible raw disk, {os.cpu_count()} cores")
            print(f"{'':12}{'wall s':>8}{'CPU s/GB':>10}{'peak MiB':>10}{'region CPU s/GB':>17}")
            print(f"{'sha256':12}{sha[0]:8.1f}{sha[1] / gigabytes:10.2f}{sha[2]:10.0f}")
            before = region_process(view["pid"])[0]
            for step, command in (("transfer", ["migrate", disk]), ("import", ["resume"]),
                                  ("verify", ["resume"])):
                row = measured([vmferry, *command, "--until", step], environment)
                region_cpu, region_peak = region_process(view["pid"])
                print(f"{step:12}{row[0]:8.1f}{row[1] / gigabytes:10.2f}{row[2]:10.0f}"
                      f"{(region_cpu - before) / gigabytes:17.2f}")
                before = region_cpu
            print(f"region: peak {region_peak:.0f} MiB (qemu-img runs beside it)")
        finally:
            subprocess.run([vmferry, "region", "stop"], env=environment, check=False,
                           stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
