# SPDX-License-Identifier: Apache-2.0
"""What the image matrices share: a bench that remembers its commands, writes for disks, and the checks against judges.

A case is a function that gets a Bench: an empty folder in which it runs qemu-img, qemu-io and vmferry. When it fails,
the commands so far are printed as a script that makes the same files again.

The judges are qemu-img (bytes and allocation) and libyal's readers (bytes), each run as a program of its own.

Allocation. What `qemu-img map` says of a run, and the kind that vmferry may give it:

    data  zero  present   means                                             kind of vmferry
    yes   no    -         stored                                            data
    yes   yes   -         has a place in a file, which has a hole there     any: a matter of taste
    no    yes   no        in no layer                                       hole
    no    yes   yes       a mark "zero" in some layer                       zero
    no    yes   yes       in raw (SEEK_HOLE) and VHD, which have no such mark hole

Zero or hole: what lies behind the end of a shorter parent (it is in no layer; qemu-img says "zero, present"), zeros of
a chain whose base is raw or VHD, and zeros over NBD (base:allocation has two bits, both used loosely).
QEMU knows no allocation of a VHDX and calls all of it data: there the data of vmferry has to lie within the blocks
that were written to (Case.may_hold).
"""

import concurrent.futures
import contextlib
import hashlib
import json
import os
import pathlib
import random
import re
import shlex
import shutil
import subprocess
import tempfile
import threading
import time
import traceback

import harness

KIB = 1024
MIB = harness.MIB
GIB = harness.GIB
TIB = 1024 * GIB
SECTOR = 512

EXTENSION = {"raw": "raw", "vmdk": "vmdk", "vpc": "vhd", "vhdx": "vhdx", "qcow2": "qcow2"}
OUR_NAME = {"raw": "raw", "vmdk": "vmdk", "vpc": "vhd", "vhdx": "vhdx", "qcow2": "qcow2"}  # by qemu's name
# --format of vmferry: qemu's name of the result
TARGETS = {"raw": "raw", "vmdk": "vmdk", "vhd": "vpc", "vhd-fixed": "vpc", "qcow2": "qcow2", "qcow2-compressed": "qcow2"}

# A prime number of bytes: no table of any format repeats with the noise.
NOISE_BYTES = 1048573
MAKE_NOISE = ("python3", "-c", "import random; [open(f'noise{i}', 'wb').write("
              f"random.Random(i).randbytes({NOISE_BYTES})) for i in range(3)]")


class CaseFailed(Exception):
    pass


class Bench:
    """An empty folder for one case, and a memory of what was run in it."""

    _noise = None
    _noise_lock = threading.Lock()

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.commands = []
        self.notes = []
        self.environment = {**os.environ, "VMFERRY_STATE": str(self.folder / "state"), "TZ": "UTC"}

    # --- commands

    def run(self, *arguments, codes=(0,), timeout=300):
        """Runs a program in the folder; `vmferry` means the one under test. Returns its output."""
        arguments = [str(argument) for argument in arguments]
        self.commands.append(shlex.join(arguments))
        program = [str(harness.VMFERRY), *arguments[1:]] if arguments[0] == "vmferry" else arguments
        done = subprocess.run(program, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, cwd=self.folder,
                              env=self.environment)
        self.code = done.returncode
        out, err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
        if done.returncode not in codes:
            self.fail(f"exit {done.returncode}, expected {' or '.join(map(str, codes))}, of\n  {self.commands[-1]}\n"
                      f"--- stdout\n{out[-2000:]}\n--- stderr\n{err[-2000:]}")
        return out

    @contextlib.contextmanager
    def background(self, *arguments, until):
        """A program that runs meanwhile, once the file `until` is there."""
        arguments = [str(argument) for argument in arguments]
        self.commands.append(shlex.join(arguments) + " &")
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.PIPE, cwd=self.folder)
        try:
            while not self.path(until).exists():
                if process.poll() is not None:
                    self.fail(f"{arguments[0]} ended: {process.stderr.read().decode('utf-8', 'replace')}")
                time.sleep(0.01)
            yield
        finally:
            process.terminate()
            process.wait()
            process.stderr.close()

    def vmferry(self, *arguments, **options):
        return self.run("vmferry", *arguments, **options)

    def json(self, *arguments, **options):
        return json.loads(self.run(*arguments, **options))

    def path(self, name):
        return self.folder / name

    def truncate(self, name, size_bytes):
        self.run("truncate", "-s", size_bytes, name)

    def remove(self, *names):
        self.run("rm", "-rf", *names)

    def fail(self, what):
        raise CaseFailed(what)

    def expect(self, condition, what):
        if not condition:
            self.fail(what)

    def equal(self, found, wanted, what):
        if found != wanted:
            self.fail(f"{what}: {found!r}, expected {wanted!r}")

    def script(self):
        return "\n".join(["mkdir case && cd case", *self.commands])

    # --- disks

    def create(self, name, format_, size_bytes, *options, backing=None):
        """An empty disk by qemu-img. `backing` is (name, format)."""
        arguments = ["qemu-img", "create", "-q", "-f", format_]
        for option in options:
            arguments += ["-o", option]
        if backing:
            arguments += ["-b", backing[0], "-F", backing[1]]
        arguments.append(name)
        if size_bytes is not None:
            arguments.append(size_bytes)
        self.run(*arguments)

    def write(self, name, format_, writes):
        """Plays Writes on a disk by qemu-io, in as few calls as command lines allow."""
        if not writes:
            return
        if any(" -s noise" in write for write in writes):
            self._need_noise()
        for begin in range(0, len(writes), 200):
            arguments = ["qemu-io", "-f", format_]
            if format_ == "qcow2":  # discards reach the file and the tables
                arguments += ["-d", "unmap"]
            for write in writes[begin:begin + 200]:
                arguments += ["-c", write]
            out = self.run(*arguments, name)
            if "failed" in out:
                self.fail(f"qemu-io: {out[-500:]}")

    def _need_noise(self):
        if self.path("noise0").exists():
            return
        with Bench._noise_lock:
            if Bench._noise is None:
                Bench._noise = [random.Random(seed).randbytes(NOISE_BYTES) for seed in range(3)]
        for index, content in enumerate(Bench._noise):
            self.path(f"noise{index}").write_bytes(content)
        self.commands.append(shlex.join(MAKE_NOISE))

    def info(self, name, format_):
        return self.json("qemu-img", "info", "-f", format_, "--output=json", name)

    def convert(self, source, source_format, target, format_, *options):
        """By qemu-img. An option `-c` compresses."""
        arguments = ["qemu-img", "convert", "-q", "-f", source_format, "-O", format_]
        for option in options:
            arguments += [option] if option.startswith("-") else ["-o", option]
        self.run(*arguments, source, target)

    # --- checks

    def check_reading(self, name, format_, *, oracle=None, map_rule="exact", libyal=True, may_hold=None,
                      chain_length=0):
        """Everything that vmferry says about the disk `name`, against qemu-img and libyal.

        `oracle`: a raw file with its bytes; without one, qemu-img makes it.
        `map_rule`: "exact" and "no_zero_mark" as in the table above; "none" where QEMU knows no allocation.
        `may_hold`: runs (offset, length) outside which nothing may be called data.
        """
        size_bytes = self.info(name, format_)["virtual-size"]
        if oracle is None:
            oracle = "oracle.raw"
            self.convert(name, format_, oracle, "raw")

        inspected = self.json("vmferry", "image", "inspect", name, "--output", "json")
        self.equal(inspected["format"], OUR_NAME[format_], "format by inspect")
        self.equal(inspected["virtual_size_bytes"], size_bytes, "virtual_size_bytes by inspect, against qemu-img info")
        self.equal(inspected.get("defects", []), [], "defects by inspect")
        if chain_length:
            self.equal(len(inspected.get("chain", [])), chain_length, "length of the chain by inspect")

        self.vmferry("image", "compare", name, oracle)
        self.vmferry("image", "convert", name, "ours.raw", "--format", "raw")
        self.equal(self.path("ours.raw").stat().st_size, size_bytes, "size of ours.raw")
        self.same_bytes("ours.raw", oracle)
        self.check_map(name, format_, size_bytes, map_rule, may_hold)
        if libyal:
            self.libyal(name, format_, oracle)
        self.remove("ours.raw")
        return oracle

    def same_bytes(self, a, b, format_a="raw", format_b="raw"):
        """By qemu-img, holes and all zeros being the same."""
        self.run("qemu-img", "compare", "-q", "-f", format_a, "-F", format_b, a, b)

    def check_map(self, name, format_, size_bytes, rule="exact", may_hold=None):
        ours = self.json("vmferry", "image", "map", name, "--output", "json")
        self.equal(ours["schema"], "vmferry.image-map/1", "schema of the map")
        self.equal(ours["virtual_size_bytes"], size_bytes, "virtual_size_bytes of the map")
        at, last = 0, None
        for extent in ours["extents"]:
            self.equal(extent["offset_bytes"], at, "extents cover the disk once: offset_bytes")
            self.expect(extent["length_bytes"] > 0, f"an empty extent at {at}")
            self.expect(extent["kind"] in ("data", "zero", "hole"), f"kind {extent['kind']}")
            self.expect(extent["kind"] != last, f"two extents of kind {last} meet at {at}")
            at, last = at + extent["length_bytes"], extent["kind"]
        self.equal(at, size_bytes, "end of the last extent")
        if may_hold is not None:
            for extent in ours["extents"]:
                if extent["kind"] == "data":
                    self._inside(extent, may_hold)
        if rule == "none":
            return ours
        theirs = self.json("qemu-img", "map", "-f", format_, "--output=json", name)
        self.same_map(ours["extents"], theirs, rule)
        return ours

    def _inside(self, extent, runs):
        at, end = extent["offset_bytes"], extent["offset_bytes"] + extent["length_bytes"]
        for offset, length in merged(runs):
            if offset <= at < offset + length:
                at = min(end, offset + length)
        self.equal(at, end, f"data at {extent['offset_bytes']} where nothing was written, up to")

    def same_map(self, ours, theirs, rule):
        """Walks both lists at once. `theirs` may leave out what lies behind its end."""
        index = 0
        for run in theirs:
            allowed = allowed_kinds(run, rule)
            end = run["start"] + run["length"]
            while index < len(ours) and ours[index]["offset_bytes"] < end:
                extent = ours[index]
                if extent["kind"] not in allowed:
                    self.fail(f"map: {extent} but qemu-img says {run}, so that only {' or '.join(allowed)} will do")
                if extent["offset_bytes"] + extent["length_bytes"] > end:
                    break
                index += 1

    def libyal(self, name, format_, oracle):
        """Compares with the bytes that libvmdk, libvhdi or libqcow reads. Without effect where they are missing."""
        library = {"vmdk": "vmdk", "vpc": "vhdi", "vhdx": "vhdi", "qcow2": "qcow"}.get(format_)
        if library is None or library not in libyal_libraries():
            return
        self.run(SYSTEM_PYTHON, LIBYAL_COMPARE, library, name, oracle)

    def digest(self, name):
        """The same for files of the same bytes, wherever they have holes: 64 GiB of them take no minute."""
        digest, zeros = hashlib.sha256(), bytes(64 * KIB)
        with open(self.path(name), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(b"%d" % size)
            at = 0
            while at < size:
                try:
                    at = max(at, os.lseek(file.fileno(), at, os.SEEK_DATA) // len(zeros) * len(zeros))
                except OSError:  # nothing but a hole follows
                    break
                file.seek(at)
                block = file.read(len(zeros))
                if block != zeros[:len(block)]:
                    digest.update(b" %d " % at + block)
                at += len(block)
        return digest.hexdigest()


def allowed_kinds(run, rule):
    """The table above; `run` is an entry of qemu-img map."""
    if run["data"]:
        return ("data", "zero", "hole") if run["zero"] else ("data",)
    if rule == "no_zero_mark":
        return ("hole",)
    if rule in ("short_parent", "hole_base", "nbd"):
        return ("zero", "hole")
    return ("zero",) if run["present"] else ("hole",)


def merged(runs):
    """Sorted runs without overlaps and touching neighbours."""
    result = []
    for offset, length in sorted(runs):
        if result and offset <= result[-1][0] + result[-1][1]:
            result[-1][1] = max(result[-1][1], offset + length - result[-1][0])
        else:
            result.append([offset, length])
    return [tuple(run) for run in result]


def sha256_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(MIB):
            digest.update(block)
    return digest.hexdigest()


def data_runs(path):
    """Where a file has data: SEEK_DATA, SEEK_HOLE."""
    runs = []
    with open(path, "rb") as file:
        size, at = os.fstat(file.fileno()).st_size, 0
        while at < size:
            try:
                begin = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            at = os.lseek(file.fileno(), begin, os.SEEK_HOLE)
            runs.append((begin, at - begin))
    return runs


def same_sparse_bytes(path_a, path_b):
    """None, or where two files of any size differ. Costs what is stored, not what is read."""
    size_a, size_b = os.stat(path_a).st_size, os.stat(path_b).st_size
    if size_a != size_b:
        return f"sizes {size_a} and {size_b}"
    with open(path_a, "rb") as a, open(path_b, "rb") as b:
        for offset, length in merged(data_runs(path_a) + data_runs(path_b)):
            for at in range(offset, offset + length, MIB):
                step = min(MIB, offset + length - at)
                if os.pread(a.fileno(), step, at) != os.pread(b.fileno(), step, at):
                    return f"bytes in [{at}, {at + step})"
    return None


# --- libyal, in Debian's Python

SYSTEM_PYTHON = "/usr/bin/python3"
LIBYAL_COMPARE = pathlib.Path(__file__).resolve().parent / "libyal_compare.py"
_libyal = None


def libyal_libraries():
    """Those of vmdk, vhdi and qcow that are there; says once which are not."""
    global _libyal
    if _libyal is None:
        _libyal = set()
        for library in ("vmdk", "vhdi", "qcow"):
            found = subprocess.run([SYSTEM_PYTHON, "-c", f"import py{library}"], capture_output=True, check=False)
            if found.returncode == 0:
                _libyal.add(library)
            else:
                print(f"skipped: nothing is compared with lib{library}: python3-lib{library} is missing", flush=True)
    return _libyal


# --- writes: commands of qemu-io


def noise(offset, length, which=0):
    return f"write -s noise{which} {offset} {length}"


def fill(offset, length, byte=0xA5):
    return f"write -P {byte} {offset} {length}"


def zeros(offset, length, unmap=False):
    return f"write -z {'-u ' if unmap else ''}{offset} {length}"


def discard(offset, length):
    return f"discard {offset} {length}"


def is_write(command):
    return command.startswith("write") and " -z " not in command


def touched(writes, block_bytes, size_bytes):
    """The whole blocks that any of the writes (zeros and discards, too) lies in."""
    runs = []
    for write in writes:
        offset, length = map(int, write.split()[-2:])
        begin = offset // block_bytes * block_bytes
        end = min(-(-(offset + length) // block_bytes) * block_bytes, size_bytes)
        runs.append((begin, end - begin))
    return merged(runs)


class Pattern:
    """What is written to a disk of `size_bytes` whose tables end at `edges`. Each method is one kind of pattern."""

    def __init__(self, size_bytes, edges, seed):
        self.size_bytes = size_bytes
        self.edges = sorted({edge for edge in edges if 0 < edge < size_bytes})
        self.random = random.Random(seed)

    def _clip(self, offset, length):
        offset = max(0, min(offset, self.size_bytes - 1))
        return offset, max(1, min(length, self.size_bytes - offset))

    def empty(self):
        return []

    def dense(self):
        """All of it: noise, text-like stretches, one stretch of zeros that somebody has written."""
        writes = [noise(at, min(8 * MIB, self.size_bytes - at), at // (8 * MIB) % 3)
                  for at in range(0, self.size_bytes, 8 * MIB)]
        third = self.size_bytes // 3
        if third > SECTOR:
            writes.append(fill(third, third // 2, 0x41))
            writes.append(fill(2 * third, third // 4, 0))
        return writes

    def edges_only(self):
        """The first and last bytes, and both sides of every edge."""
        writes = [noise(*self._clip(0, 700))]
        if self.size_bytes > 1:
            writes.append(noise(*self._clip(self.size_bytes - 513, 513), 1))
        for number, edge in enumerate(self.edges):
            choice = number % 3
            if choice == 0:
                writes.append(noise(*self._clip(edge - 1000, 2000), 2))
            elif choice == 1:
                writes.append(fill(*self._clip(edge - SECTOR, SECTOR), 0x5A))
            else:
                writes.append(fill(*self._clip(edge, SECTOR), 0xC3))
        return writes

    def sparse(self, count=24):
        """Random places and lengths, some across edges, some zeros."""
        writes = []
        for number in range(count):
            near = self.random.choice(self.edges) if self.edges and self.random.random() < 0.4 else \
                self.random.randrange(self.size_bytes)
            length = int(2 ** self.random.uniform(0, 19))
            offset, length = self._clip(near - self.random.randrange(length), length)
            kind = self.random.random()
            if kind < 0.5:
                writes.append(noise(offset, length, number % 3))
            elif kind < 0.8:
                writes.append(fill(offset, length, self.random.randrange(1, 256)))
            elif kind < 0.9:
                writes.append(fill(offset, length, 0))
            else:
                writes.append(zeros(offset, length, unmap=self.random.random() < 0.5))
        return writes

    def written_zeros(self):
        """Data, then zeros over parts of it: as bytes, as marks, aligned and not; and marks where nothing was."""
        span = min(self.size_bytes, 6 * MIB)
        step = max(span // 12, 1)
        writes = [noise(0, span)]
        writes.append(fill(*self._clip(step, step), 0))
        writes.append(zeros(*self._clip(3 * step // SECTOR * SECTOR, step)))
        writes.append(zeros(*self._clip(5 * step + 17, step)))
        writes.append(zeros(*self._clip(7 * step, 2 * step), unmap=True))
        writes.append(zeros(*self._clip(self.size_bytes - step, step)))
        if self.size_bytes > 2 * span:
            writes.append(zeros(*self._clip(self.size_bytes // 2 // (64 * KIB) * 64 * KIB, 256 * KIB)))
        return writes

    def discarded(self):
        span = min(self.size_bytes, 6 * MIB)
        step = max(span // 12, 1)
        writes = [noise(0, span, 1)]
        writes.append(discard(*self._clip(2 * step // (64 * KIB) * 64 * KIB, 3 * step)))
        writes.append(discard(*self._clip(7 * step + 100, step)))
        writes.append(noise(*self._clip(3 * step, max(step // 2, 1)), 2))
        writes.append(discard(*self._clip(self.size_bytes - step, step)))
        return writes


# --- running cases

MAX_FAILURES_SHOWN = 8


class Case:
    def __init__(self, name, function):
        self.name, self.function = name, function

    def __call__(self, bench):
        self.function(bench)


def run_cases(test, cases, workers=2):
    """Runs the cases, two at a time; fails `test` with each failing case's reason and script."""
    wanted = re.compile(os.environ.get("VMFERRY_MATRIX", ""))
    cases = [case for case in cases if wanted.search(case.name)]
    names = [case.name for case in cases]
    test.assertEqual(sorted({name for name in names if names.count(name) > 1}), [], "names of cases are unique")
    failures = []
    with tempfile.TemporaryDirectory(prefix="vmferry-matrix-") as folder:
        def one(numbered):
            number, case = numbered
            bench = Bench(pathlib.Path(folder) / str(number))
            bench.folder.mkdir()
            try:
                case(bench)
            except CaseFailed as failure:
                reason = str(failure)
            except Exception:  # pylint: disable=broad-except  # a bug of the test is a failure of its case
                reason = traceback.format_exc()
            else:
                return
            finally:
                shutil.rmtree(bench.folder, ignore_errors=True)
            failures.append(case.name)
            if len(failures) <= MAX_FAILURES_SHOWN:
                print(f"\n=== {case.name}\n{reason}\n--- to do it again:\n{bench.script()}\n", flush=True)

        began = time.monotonic()
        pool = concurrent.futures.ThreadPoolExecutor(workers)
        try:
            for _ in pool.map(one, enumerate(cases)):
                pass
        finally:
            pool.shutdown(cancel_futures=True)
    print(f"{len(cases)} cases in {time.monotonic() - began:.1f} s, {len(failures)} failed", flush=True)
    test.assertEqual(failures, [])
