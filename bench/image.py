#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What reading and writing disks costs, as ratios to qemu-img and nbdcopy from one run.

usage: bench/image.py [--rows NAME,...] [--runs N] [--quick] [--cache DIR] [--list] [VMFERRY]

Inputs: the 2 GiB Debian guest of tools/make-guest for what compresses, and a disk of 8 GiB, 30 % zero, 40 % random and
30 % text in runs of 64 KiB to 16 MiB, for what does not. The peer's own program makes every input format. They are
kept in DIR (default: vmferry/bench in the user's cache, about 45 GB when everything was asked for once).

For each row the peer's flags are found first: every candidate runs once, and the fastest one is the peer. Then ours and
the peer alternate, five times; the medians are printed. Files are in the page cache before they are read. Where a
file is written both sides sync it (qemu-img -t writeback; its default does not), into the same folder; "decoded"
means into nothing (ours `null:`, qemu-img the block driver null-co, nbdcopy `null:`), so that no disk is measured.

CPU seconds are those of all threads and of helpers (qemu-nbd under nbdcopy), user and system. Memory is the peak
resident set (wait4's ru_maxrss, VmHWM) of the largest process. "ok" means that every target of the row is met: wall
ratio, size, memory, and CPU seconds not above the peer's; otherwise the line says MISSED and what.

--quick: two runs of small inputs, to see that everything works; its numbers mean nothing.
"""

import argparse
import os
import pathlib
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
KIB, MIB, GIB = 1 << 10, 1 << 20, 1 << 30
TIB = 1 << 40
NULL_TARGET = "null:"


# --- measuring


class Measured:
    def __init__(self, wall, cpu, peak_mib):
        self.wall, self.cpu, self.peak_mib = wall, cpu, peak_mib


def measure(arguments, folder):
    """Runs a program to its end. Its output goes to a file, shown when it fails."""
    os.sync()  # what the run before has written is not our business
    with open(folder / "bench.log", "w+b") as log:
        began = time.monotonic()
        process = subprocess.Popen([str(argument) for argument in arguments], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.DEVNULL, stderr=log, cwd=folder)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            log.seek(0)
            raise RuntimeError(f"{' '.join(map(str, arguments))} ended with {process.returncode}:\n"
                               f"{log.read().decode('utf-8', 'replace')[-2000:]}")
    return Measured(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)


def median(measured):
    return Measured(*(statistics.median(getattr(one, name) for one in measured) for name in ("wall", "cpu")),
                    max(one.peak_mib for one in measured))


def warm(path):
    """Into the page cache; holes are left out."""
    with open(path, "rb", buffering=0) as file:
        size, at, buffer = os.fstat(file.fileno()).st_size, 0, bytearray(4 * MIB)
        while at < size:
            try:
                at = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                return
            end = os.lseek(file.fileno(), at, os.SEEK_HOLE)
            os.lseek(file.fileno(), at, os.SEEK_SET)
            while at < end:
                count = file.readinto(memoryview(buffer)[:min(len(buffer), end - at)])
                if not count:
                    return
                at += count


def say(text=""):
    print(text, flush=True)


def note(text):
    print(text, file=sys.stderr, flush=True)


# --- inputs


def run(*arguments, **options):
    return subprocess.run([str(argument) for argument in arguments], check=True, stdin=subprocess.DEVNULL, **options)


def text_bytes(source, count):
    """Lines of a log, from a few hundred words: deflate level 6 makes about a fifth of them."""
    words = ["".join(source.choices("etaoinshrdlucmfwypvbgk", k=source.randint(2, 11))) for _ in range(600)]
    lines, length = [], 0
    while length < count:
        line = (f"2024-{source.randint(1, 12):02}-{source.randint(1, 28):02} host{source.randint(1, 40)} "
                f"{' '.join(source.choices(words, k=source.randint(4, 14)))} {source.randint(0, 99999)}\n")
        lines.append(line)
        length += len(line)
    return "".join(lines).encode()[:count]


def write_mixed(path, size):
    """30 % zero (holes), 40 % random, 30 % text; the same bytes every time."""
    source = random.Random(20240607)
    text = text_bytes(source, 32 * MIB)
    budget = {"zero": size * 3 // 10, "random": size * 4 // 10}
    budget["text"] = size - sum(budget.values())
    with open(path, "wb") as file:
        while any(budget.values()):
            kind = source.choices(list(budget), weights=list(budget.values()))[0]
            length = min(budget[kind], max(64 * KIB, int(2 ** source.uniform(16, 24)) // 4096 * 4096))
            budget[kind] -= length
            if kind == "zero":
                file.seek(length, os.SEEK_CUR)
            elif kind == "random":
                file.write(source.randbytes(length))
            else:
                begin = source.randrange(len(text) - length + 1)
                file.write(text[begin:begin + length])
        file.truncate(size)


FORMATS = {
    # suffix: (qemu's format, options of qemu-img convert)
    "stream.vmdk": ("vmdk", ["-o", "subformat=streamOptimized"]),
    "compressed.qcow2": ("qcow2", ["-c", "-m", "16", "-W"]),
    "sparse.vmdk": ("vmdk", ["-o", "subformat=monolithicSparse"]),
    "dynamic.vhd": ("vpc", ["-o", "force_size=on"]),
    "dynamic.vhdx": ("vhdx", []),
    "plain.qcow2": ("qcow2", []),
    "raw": ("raw", []),
}


class Inputs:
    """Makes inputs when they are asked for, and keeps them."""

    def __init__(self, folder, quick):
        self.folder, self.quick = folder, quick
        folder.mkdir(parents=True, exist_ok=True)

    def make(self, name, writer):
        path = self.folder / name
        if not path.exists():
            note(f"making {name}")
            part = path.with_name("part-" + path.name)
            part.unlink(missing_ok=True)
            writer(part)
            os.rename(part, path)
        return path

    def _raw(self, name):
        if name == "guest":
            found = os.environ.get("VMFERRY_TEST_DEBIAN_RAW") or run(
                ROOT / "tools" / "make-guest", "--kind", "debian", "--format", "raw", stdout=subprocess.PIPE,
                text=True).stdout.strip()
            if not self.quick:
                return pathlib.Path(found)
            return self.make("quick-guest.raw", lambda part: run(
                "dd", f"if={found}", f"of={part}", "bs=1M", "count=192", "conv=sparse", "status=none"))
        if self.quick:
            return self.make("quick-mixed.raw", lambda part: in_child(write_mixed, part, 384 * MIB))
        return self.make("mixed.raw", lambda part: in_child(write_mixed, part, 8 * GIB))

    def get(self, name, suffix):
        """Path and qemu's format of input "guest" or "mixed" in one of FORMATS."""
        raw = self._raw(name)
        format_, options = FORMATS[suffix]
        if suffix == "raw":
            return raw, format_
        prefix = "quick-" if self.quick else ""
        return self.make(f"{prefix}{name}.{suffix}", lambda part: run(
            "qemu-img", "convert", "-f", "raw", "-O", format_, *options, raw, part)), format_

    def scattered(self, name, format_, options, size, allocated, step):
        """A disk of `size` with `allocated` bytes, in pieces of `step` all over it."""
        def write(part):
            source = random.Random(7)
            count = allocated // step
            stride = size // count
            raw = part if format_ == "raw" else part.with_name("scattered.raw")
            with open(raw, "wb") as file:
                file.truncate(size)
                for number in range(count):
                    file.seek((number * stride + source.randrange(max(1, stride - step))) // step * step)
                    file.write(bytes([1 + number % 255]) * step)
            if format_ != "raw":
                run("qemu-img", "convert", "-f", "raw", "-O", format_, *options, raw, part)
                raw.unlink()
        return self.make(name, write)


def in_child(function, *arguments):
    """In a process of its own: what it takes in memory must not count as the peak of what we start later."""
    pid = os.fork()
    if pid == 0:
        try:
            function(*arguments)
        except BaseException as error:  # pylint: disable=broad-except
            note(str(error))
            os._exit(1)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("the input could not be made")


# --- peers


def decoding_peers(path, format_):
    """Candidates that read a disk into nothing."""
    size = subprocess.run(["qemu-img", "info", "-f", format_, "--output=json", str(path)], check=True,
                          capture_output=True, text=True).stdout
    import json  # pylint: disable=import-outside-toplevel
    null = f"driver=null-co,size={json.loads(size)['virtual-size']}"
    for flags in ([], ["-m", "16", "-W"], ["-S", "0"], ["-m", "16", "-W", "-S", "0"]):
        yield (" ".join(["qemu-img convert", *flags]),
               ["qemu-img", "convert", *flags, "-n", "-f", format_, path, "--target-image-opts", null])
    if shutil.which("nbdcopy"):
        if format_ == "raw":
            for flags in ([], ["--synchronous"], ["--requests=16"]):
                yield " ".join(["nbdcopy", *flags]), ["nbdcopy", *flags, path, "null:"]
        yield ("nbdcopy of qemu-nbd -e 4",
               ["nbdcopy", "--", "[", "qemu-nbd", "-r", "-e", "4", "-f", format_, path, "]", "null:"])


def encoding_peers(source, target, format_, options):
    for flags in ([], ["-m", "16"], ["-m", "16", "-W"], ["-m", "16", "-W", "-t", "none", "-T", "none"]):
        cache = [] if "-t" in flags else ["-t", "writeback"]
        yield (" ".join(["qemu-img convert", *flags]),
               ["qemu-img", "convert", *cache, *flags, "-f", "raw", "-O", format_, *options, source, target])


# --- rows


class Bench:
    def __init__(self, options):
        self.vmferry, self.runs, self.quick = options.vmferry, options.runs, options.quick
        self.inputs = Inputs(options.cache, options.quick)
        self.out = options.cache / "out"
        shutil.rmtree(self.out, ignore_errors=True)
        self.out.mkdir(parents=True)
        self.missed = []
        self.header_said = False

    def fastest(self, peers, before=lambda: None):
        """The candidate that is fastest in one run each; candidates that fail are named and left out."""
        best = None
        for name, arguments in peers:
            before()
            try:
                wall = measure(arguments, self.out).wall
            except RuntimeError as error:
                note(f"  {name}: {error}")
                continue
            note(f"  {name}: {wall:.2f} s")
            if best is None or wall < best[0]:
                best = wall, name, arguments
        if best is None:
            sys.exit("no peer works")
        return best[1], best[2]

    def alternate(self, ours, peer, before=lambda: None):
        mine, theirs = [], []
        for _ in range(self.runs):
            before()
            mine.append(measure(ours, self.out))
            before()
            theirs.append(measure(peer, self.out))
        return median(mine), median(theirs)

    def line(self, work, ours, peer, peer_name, target, *, memory_mib=None, sizes=None, size_target=None):
        """Prints one row of the table and remembers what was missed. No target: for information."""
        ratio = ours.wall / peer.wall
        missed = []
        if target is not None:
            if ratio > target:
                missed.append("wall")
            if ours.cpu > peer.cpu * 1.005:
                missed.append("CPU")
        if memory_mib is not None and ours.peak_mib > memory_mib:
            missed.append("memory")
        size = ""
        if sizes:
            size = f"{sizes[0] / sizes[1]:.3f}"
            if size_target is not None:
                size += f" (≤ {size_target})"
                if sizes[0] > sizes[1] * size_target:
                    missed.append("size")
        limit = f" (≤ {memory_mib})" if memory_mib is not None else ""
        if not self.header_said:
            say("| work | ours, s | peer, s | ratio | target | result | CPU s, ours / peer | peak MiB, ours / peer "
                "| output ÷ peer's | peer |")
            say("|---|---|---|---|---|---|---|---|---|---|")
            self.header_said = True
        verdict = "" if target is None else "MISSED: " + ", ".join(missed) if missed else "ok"
        say(f"| {work} | {ours.wall:.2f} | {peer.wall:.2f} | {ratio:.3f} | {'' if target is None else f'≤ {target}'} "
            f"| {verdict} | {ours.cpu:.2f} / {peer.cpu:.2f} | {ours.peak_mib:.0f}{limit} / {peer.peak_mib:.0f} "
            f"| {size} | {peer_name} |")
        if missed:
            self.missed.append(f"{work}: {', '.join(missed)}")

    def convert(self, source, target, *options):
        return [self.vmferry, "image", "convert", source, target, *options]

    def decode(self, work, name, suffix, target, memory_mib=None, only=None):
        path, format_ = self.inputs.get(name, suffix)
        warm(path)
        peers = [peer for peer in decoding_peers(path, format_) if only is None or peer[0].startswith(only)]
        peer_name, peer = self.fastest(peers)
        ours, theirs = self.alternate(self.convert(path, NULL_TARGET, "--format", "raw"), peer)
        self.line(work, ours, theirs, peer_name, target, memory_mib=memory_mib)

    def encode(self, work, our_format, suffix, target, memory_mib, size_target):
        source, _ = self.inputs.get("guest", "raw")
        format_, options = FORMATS[suffix]
        options = [option for option in options if option not in ("-m", "16", "-W")]
        mine, theirs = self.out / f"ours.{suffix}", self.out / f"peer.{suffix}"
        def before():
            mine.unlink(missing_ok=True) if before.turn else theirs.unlink(missing_ok=True)
            before.turn = not before.turn
        before.turn = True
        warm(source)
        # The flags are tried on a part of the guest: one run of all of it takes a minute.
        part = self.inputs.make("calibration.raw", lambda made: run(
            "dd", f"if={source}", f"of={made}", "bs=1M", "skip=130", "count=128", "conv=sparse", "status=none"))
        warm(part)
        peer_name, _ = self.fastest(encoding_peers(part, theirs, format_, options),
                                    lambda: theirs.unlink(missing_ok=True))
        peer = dict(encoding_peers(source, theirs, format_, options))[peer_name]
        theirs.unlink(missing_ok=True)
        before.turn = True
        ours, others = self.alternate(self.convert(source, mine, "--format", our_format), peer, before)
        run("qemu-img", "compare", "-q", "-f", "raw", "-F", format_, source, mine)
        run("qemu-img", "compare", "-q", "-f", "raw", "-F", format_, source, theirs)
        sizes = mine.stat().st_size, theirs.stat().st_size
        self.line(work, ours, others, peer_name, target, memory_mib=memory_mib, sizes=sizes, size_target=size_target)
        mine.unlink()
        theirs.unlink()

    def to_file(self, work, name, suffix):
        """For information: into a raw file, both synced."""
        path, format_ = self.inputs.get(name, suffix)
        warm(path)
        mine, theirs = self.out / "ours.raw", self.out / "peer.raw"
        def before():
            mine.unlink(missing_ok=True)
            theirs.unlink(missing_ok=True)
        peers = [(" ".join(["qemu-img convert", *flags]),
                  ["qemu-img", "convert", *([] if "-t" in flags else ["-t", "writeback"]), *flags, "-f", format_, "-O",
                   "raw", path, theirs]) for flags in ([], ["-m", "16", "-W"], ["-m", "16", "-W", "-t", "none"])]
        peer_name, peer = self.fastest(peers, before)
        ours, others = self.alternate(self.convert(path, mine, "--format", "raw"), peer, before)
        self.line(work, ours, others, peer_name, None)
        before()

    # --- extents and the curve

    def extents(self):
        size, allocated = 15 * TIB, (64 * MIB if self.quick else GIB)
        label = "64 MiB" if self.quick else "1 GiB"
        prefix = "quick-" if self.quick else ""
        rows = [("VHDX, blocks of 1 MiB", "vhdx", ["-o", "block_size=1M"], size, True),
                ("VHDX", "vhdx", [], size, True),
                ("QCOW2", "qcow2", [], size, True),
                ("QCOW2, clusters of 2 MiB", "qcow2", ["-o", "cluster_size=2M"], size, True),
                ("sparse raw", "raw", [], size, True),
                ("VMDK of 2 TiB - 64 KiB, for information", "vmdk", [], 2 * TIB - 64 * KIB, False)]
        say()
        say(f"Extents of a disk of 15 TiB with {label} allocated, in 1 MiB pieces all over it (`image map`):")
        say()
        say("| format | seconds | CPU s | peak MiB | targets | result |")
        say("|---|---|---|---|---|---|")
        for label, format_, options, size, counts in rows:
            suffix = {"vpc": "vhd"}.get(format_, format_)
            tag = "-".join(options[1:]).replace("=", "") or "default"
            path = self.inputs.scattered(f"{prefix}extents-{tag}.{suffix}", format_, options, size, allocated, MIB)
            command = [self.vmferry, "image", "map", path, "--output", "json"]
            measure(command, self.out)
            got = median([measure(command, self.out) for _ in range(self.runs)])
            missed = [what for what, bad in (("time", got.wall > 1), ("memory", got.peak_mib > 64)) if bad]
            verdict = "" if not counts else "MISSED: " + ", ".join(missed) if missed else "ok"
            say(f"| {label} | {got.wall:.3f} | {got.cpu:.3f} | {got.peak_mib:.0f} | "
                f"{'≤ 1 s, ≤ 64 MiB' if counts else ''} | {verdict} |")
            if missed and counts:
                self.missed.append(f"extents, {label}: {', '.join(missed)}")

    def curve(self):
        say()
        say("Cost grows with what is allocated: a disk of 1 TiB with 1, 2, 4, 8 GB in 1 MiB pieces all over it, decoded"
            " into nothing:")
        say()
        say("| format | allocated | ours, s | CPU s | CPU s per GB | peak MiB | `image map`, s | nbdcopy of qemu-nbd, s "
            "| CPU s |")
        say("|---|---|---|---|---|---|---|---|---|")
        unit = 64 * MIB if self.quick else 1000 * MIB
        prefix = "quick-" if self.quick else ""
        for format_, options in (("qcow2", []), ("raw", []), ("vhdx", ["-o", "block_size=1M"])):
            for times in (1, 2, 4, 8):
                name = f"{prefix}curve-{times}.{format_}"
                path = self.inputs.scattered(name, format_, options, TIB, times * unit, MIB)
                warm(path)
                ours = [self.vmferry, "image", "convert", path, NULL_TARGET, "--format", "raw"]
                # qemu-img convert writes every zero of 1 TiB to a target that keeps nothing: minutes.
                peer = ["nbdcopy", "--", "[", "qemu-nbd", "-r", "-e", "4", "-f", format_, path, "]", NULL_TARGET]
                got = median([measure(ours, self.out) for _ in range(self.runs)])
                mapped = median([measure([self.vmferry, "image", "map", path, "--output", "json"], self.out)
                                 for _ in range(self.runs)])
                theirs = ""
                if format_ != "vhdx":  # QEMU takes a VHDX for one extent of data: minutes for 1 TiB
                    other = median([measure(peer, self.out) for _ in range(self.runs)])
                    theirs = f"{other.wall:.2f} | {other.cpu:.2f}"
                gigabytes = times * unit / 1e9
                say(f"| {format_} | {gigabytes:.2f} GB | {got.wall:.2f} | {got.cpu:.2f} | {got.cpu / gigabytes:.2f} | "
                    f"{got.peak_mib:.0f} | {mapped.wall:.2f} | {theirs or ' | '} |")
                if not self.quick:
                    path.unlink()


ROWS = {
    "stream-decode": ("stream-optimised VMDK → decoded",
                      lambda b, w: b.decode(w, "guest", "stream.vmdk", 0.33, memory_mib=128)),
    "stream-encode": ("raw → stream-optimised VMDK",
                      lambda b, w: b.encode(w, "vmdk", "stream.vmdk", 0.08, 256, 1.15)),
    "qcow2c-decode": ("compressed QCOW2 → decoded", lambda b, w: b.decode(w, "guest", "compressed.qcow2", 0.5)),
    "qcow2c-encode": ("raw → compressed QCOW2",
                      lambda b, w: b.encode(w, "qcow2-compressed", "compressed.qcow2", 0.15, None, 1.15)),
    "vmdk-decode": ("sparse VMDK → decoded", lambda b, w: b.decode(w, "mixed", "sparse.vmdk", 0.45)),
    "vhdx-decode": ("VHDX → decoded", lambda b, w: b.decode(w, "mixed", "dynamic.vhdx", 0.6)),
    "vhd-decode": ("VHD dynamic → decoded", lambda b, w: b.decode(w, "mixed", "dynamic.vhd", 0.7)),
    "qcow2-decode": ("plain QCOW2 → decoded", lambda b, w: b.decode(w, "mixed", "plain.qcow2", 0.85)),
    "raw-read": ("raw → read with holes skipped",
                 lambda b, w: b.decode(w, "mixed", "raw", 1.05, only="nbdcopy")),
    "stream-file": ("stream-optimised VMDK → raw file, for information",
                    lambda b, w: b.to_file(w, "guest", "stream.vmdk")),
    "qcow2-file": ("plain QCOW2 → raw file, for information", lambda b, w: b.to_file(w, "mixed", "plain.qcow2")),
    "extents": ("extents of 15 TiB", lambda b, w: b.extents()),
    "curve": ("cost grows with what is allocated", lambda b, w: b.curve()),
}


def machine():
    model = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo", encoding="utf-8")
                  if line.startswith("model name")), platform.machine())
    version = subprocess.run(["qemu-img", "--version"], capture_output=True, text=True, check=True).stdout.split()[2]
    return f"{os.cpu_count()} × {model}, Linux {platform.release()}, qemu-img {version}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "vmferry" / "bench"
    parser.add_argument("vmferry", nargs="?", default=str(ROOT / "build" / "release" / "apps" / "vmferry" / "vmferry"),
                        metavar="VMFERRY")
    parser.add_argument("--rows", default=",".join(ROWS), help="which ones, separated by commas; default: all")
    parser.add_argument("--runs", type=int, default=0, help="runs of each side; default 5, with --quick 2")
    parser.add_argument("--quick", action="store_true", help="small inputs, two runs")
    parser.add_argument("--cache", type=pathlib.Path, default=cache, help="where inputs are kept")
    parser.add_argument("--list", action="store_true", help="name the rows")
    options = parser.parse_args()
    if options.list:
        for name, (work, _) in ROWS.items():
            print(f"{name:15} {work}")
        return
    options.runs = options.runs or (2 if options.quick else 5)
    options.vmferry = os.path.abspath(options.vmferry)
    options.cache = options.cache.resolve()
    wanted = options.rows.split(",")
    unknown = [name for name in wanted if name not in ROWS]
    if unknown:
        parser.error(f"no row {', '.join(unknown)}; --list names them")
    bench = Bench(options)
    say(f"{machine()}; medians of {options.runs} alternating runs, warm cache"
        + ("; --quick: the numbers mean nothing" if options.quick else ""))
    say()
    try:
        for name in wanted:
            work, function = ROWS[name]
            note(f"{name}: {work}")
            try:
                function(bench, work)
            except (RuntimeError, subprocess.CalledProcessError) as error:  # the other rows may do
                note(str(error))
                bench.missed.append(f"{name}: failed")
    finally:
        shutil.rmtree(bench.out, ignore_errors=True)
    say()
    say("All targets are met." if not bench.missed else "MISSED:\n" + "\n".join(f"- {line}" for line in bench.missed))
    sys.exit(0 if not bench.missed or options.quick else 1)


if __name__ == "__main__":
    main()
