# SPDX-License-Identifier: Apache-2.0
"""What the scripts share: a laboratory (a state folder with its region), guests, reading the region from outside.

A Lab lives in a short folder below /tmp (unix sockets have short names), runs the built vmferry in it and, at its end,
stops the region that it started and removes the folder. Nothing outside is touched: all processes that are ended are
those of the lab's own region.json and folder.

The region is read by a signer and parser of this file, not by vmferry: it shares no code with what it checks.
"""

import contextlib
import datetime
import hashlib
import hmac
import json
import os
import pathlib
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
import xml.etree.ElementTree

SOURCE_DIR = pathlib.Path(os.environ.get("VMFERRY_SOURCE_DIR", pathlib.Path(__file__).resolve().parents[2]))
BUILD_DIR = pathlib.Path(os.environ.get("VMFERRY_BUILD_DIR", SOURCE_DIR / "build" / "release"))
VMFERRY = pathlib.Path(os.environ.get("VMFERRY_BIN", BUILD_DIR / "apps" / "vmferry" / "vmferry"))
MIB = 1024 * 1024
GIB = 1024 * MIB
BLOCK = 512 * 1024  # of the hash tree and of the EBS direct APIs
PART = 10 * MIB
SKIPPED = 77


def skip(what):
    """Ends the script as skipped, naming what is missing."""
    print(f"skipped: {what}")
    sys.exit(SKIPPED)


def require_tools(*names):
    for name in names:
        if shutil.which(name) is None:
            skip(f"{name} is missing")


def guest(kind):
    """Path of the read-only disk that ./check made."""
    variable = {"tiny": "VMFERRY_TEST_TINY_GUEST", "debian": "VMFERRY_TEST_DEBIAN_GUEST"}[kind]
    path = os.environ.get(variable, "")
    if not path or not os.path.exists(path):
        skip(f"{variable} names no disk; tools/make-guest --kind {kind} makes one")
    return pathlib.Path(path)


def copy_sparse(source, target):
    subprocess.run(["cp", "--sparse=always", source, target], check=True)
    os.chmod(target, 0o644)
    return pathlib.Path(target)


def to_vmdk(source, target):
    """A stream-optimised VMDK of a raw disk, by an independent writer."""
    require_tools("qemu-img")
    subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=streamOptimized",
                    source, target], check=True, stdout=subprocess.DEVNULL)
    return pathlib.Path(target)


def random_disk(path, size_bytes, seed):
    """A raw disk that neither compresses nor repeats, the same for the same seed."""
    import random
    source = random.Random(seed)
    with open(path, "wb") as file:
        left = size_bytes
        while left > 0:
            step = min(left, 4 * MIB)
            file.write(source.randbytes(step))
            left -= step
    return pathlib.Path(path)


def process_runs(pid):
    """False for one that has ended, also while nobody has waited for it."""
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Outcome:
    """How a command ended."""

    def __init__(self, arguments, code, out, err):
        self.arguments, self.code, self.out, self.err = arguments, code, out, err

    def __str__(self):
        return (f"vmferry {' '.join(map(str, self.arguments))}: exit {self.code}\n"
                f"--- stdout\n{self.out[-4000:]}\n--- stderr\n{self.err[-4000:]}\n---")

    def json(self):
        return json.loads(self.out)

    def events(self):
        """Members of a jsonl answer; every line has to parse."""
        return [json.loads(line) for line in self.out.splitlines()]

    def reason(self):
        found = re.search(r"^  reason: ([a-z0-9_.]+)", self.err, re.MULTILINE)
        return found.group(1) if found else ""


class Running:
    """A command under way, started with --output jsonl; its events come one by one."""

    def __init__(self, arguments, process, errors):
        self.arguments, self.process, self.errors = arguments, process, errors
        self.events = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self.process.stdout:
            with contextlib.suppress(ValueError):  # the last line of a killed process may be cut
                event = json.loads(line)
                with self._changed:
                    self.events.append(event)
                    self._changed.notify_all()
        with self._changed:
            self.events.append(None)
            self._changed.notify_all()

    def wait_for(self, matches, timeout=120):
        """The first event, seen already or to come, that `matches`; None when the process ends before it."""
        deadline = time.monotonic() + timeout
        seen = 0
        while True:
            with self._changed:
                while seen >= len(self.events):
                    left = deadline - time.monotonic()
                    if left <= 0:
                        raise TimeoutError(f"no such event within {timeout} s; last: {self.events[-3:]}")
                    self._changed.wait(left)
                event = self.events[seen]
            seen += 1
            if event is None or matches(event):
                return event

    def migration(self, timeout=60):
        event = self.wait_for(lambda e: e.get("event") in ("migration.started", "migration.resumed"), timeout)
        if event is None:
            raise AssertionError(f"the migration did not begin: {self.finish()}")
        return event["migration"]

    def kill(self):
        """kill -9; True when it was still running."""
        alive = self.process.poll() is None
        self.process.kill()
        self.process.wait()
        self._reader.join()
        return alive

    def finish(self, timeout=600):
        self.process.wait(timeout)
        self._reader.join()
        self.errors.seek(0)
        out = "\n".join(json.dumps(event) for event in self.events if event is not None)
        return Outcome(self.arguments, self.process.returncode, out, self.errors.read())


class Lab:
    def __init__(self, keep_environment=()):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="vmf-", dir="/tmp"))
        self.state = self.folder / "state"
        self.region_folder = self.state / "region"
        self.environment = {name: value for name, value in os.environ.items()
                            if not name.startswith(("AWS_", "VMFERRY_", "XDG_")) or name in keep_environment}
        self.environment.update(VMFERRY_STATE=str(self.state), HOME=str(self.folder), LC_ALL="C.UTF-8")
        self._running = []
        self._region_folders = {self.region_folder}

    def __enter__(self):
        return self

    def __exit__(self, kind, value, traceback):
        for running in self._running:
            if running.process.poll() is None:
                running.kill()
        for region_folder in self._region_folders:
            if kind is not None and (region_folder / "region.log").exists():
                print(f"--- end of {region_folder.name}'s region.log")
                print("\n".join((region_folder / "region.log").read_text("utf-8", "replace").splitlines()[-15:]))
            self._stop_region(region_folder)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _stop_region(self, region_folder):
        if not (region_folder / "region.json").exists():
            self._end_instances(region_folder)
            return
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.run("region", "stop", "--folder", region_folder, timeout=80)
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = json.loads((region_folder / "region.json").read_text())["pid"]
            if str(VMFERRY.name) in pathlib.Path(f"/proc/{pid}/comm").read_text():
                os.kill(pid, signal.SIGKILL)
        self._end_instances(region_folder)

    def _end_instances(self, region_folder):
        """What a region that crashed for good has left running: QEMU processes in its folder."""
        for pid in self.instance_pids(region_folder):
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)

    def instance_pids(self, region_folder=None):
        wanted = str((region_folder or self.region_folder) / "vm")
        pids = []
        for entry in pathlib.Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            with contextlib.suppress(OSError):
                if (entry / "comm").read_text().startswith("qemu-system") and os.readlink(entry / "cwd") == wanted:
                    pids.append(int(entry.name))
        return pids

    # --- vmferry

    def run(self, *arguments, timeout=600, environment=None, prefix=()):
        command = [*prefix, str(VMFERRY), *map(str, arguments)]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout,
                              env={**self.environment, **(environment or {})}, cwd=self.folder)
        return Outcome(arguments, done.returncode, done.stdout.decode("utf-8", "replace"),
                       done.stderr.decode("utf-8", "replace"))

    def ok(self, *arguments, **options):
        outcome = self.run(*arguments, **options)
        if outcome.code != 0:
            raise AssertionError(f"expected exit 0\n{outcome}")
        return outcome

    def start(self, *arguments, environment=None):
        arguments = (*arguments, "--output", "jsonl")
        errors = tempfile.TemporaryFile("w+", dir=self.folder, encoding="utf-8", errors="replace")
        process = subprocess.Popen([str(VMFERRY), *map(str, arguments)], stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=errors, text=True, cwd=self.folder,
                                   env={**self.environment, **(environment or {})})
        running = Running(arguments, process, errors)
        self._running.append(running)
        return running

    def status(self, migration):
        (view,) = self.ok("status", migration, "--output", "json").json()["migrations"]
        return view

    def certificate(self, migration):
        """The signed payload, after its signature was checked by vmferry."""
        outcome = self.run("verify", migration, "--output", "json")
        if outcome.code not in (0, 6):
            raise AssertionError(str(outcome))
        payload, _ = json.JSONDecoder().raw_decode(outcome.out)  # an error may follow as a second document
        return payload

    # --- the journal

    def copy_journal(self, name):
        """A consistent copy of the journal as a kill has left it: database and write-ahead log."""
        target = self.folder / f"journal-{name}.db"
        for suffix in ("", "-wal"):
            source = self.state / f"journal.db{suffix}"
            if source.exists():
                shutil.copyfile(source, f"{target}{suffix}")
        return target

    @staticmethod
    def query(database, sql, *parameters):
        with contextlib.closing(sqlite3.connect(database)) as connection:
            rows = connection.execute(sql, parameters).fetchall()
            connection.commit()
            return rows

    # --- the region

    def start_region(self, folder=None, *arguments):
        folder = folder or self.region_folder
        self._region_folders.add(folder)
        return self.ok("region", "start", "--folder", folder, *arguments, "--output", "json").json()

    def region_pid(self):
        return json.loads((self.region_folder / "region.json").read_text())["pid"]

    def kill_region(self):
        pid = self.region_pid()
        os.kill(pid, signal.SIGKILL)
        while process_runs(pid):
            time.sleep(0.01)
        return pid

    def requests(self, region_folder=None):
        lines = ((region_folder or self.region_folder) / "requests.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def aws(self, region_folder=None):
        return Aws(region_folder or self.region_folder)

    def aws_environment(self, **changes):
        """The variables of `region env`, without a shell."""
        out = self.ok("region", "env").out
        found = dict(re.findall(r"^export ([A-Z0-9_]+)='([^']*)'$", out, re.MULTILINE))
        return {**found, **changes}


class AwsError(Exception):
    def __init__(self, status, code, body):
        super().__init__(f"{status} {code}")
        self.status, self.code, self.body = status, code, body


class Aws:
    """A small signed client of the region: Signature Version 4 and XML by the standard library."""

    def __init__(self, region_folder):
        info = json.loads((pathlib.Path(region_folder) / "region.json").read_text())
        keys = json.loads((pathlib.Path(region_folder) / "credentials.json").read_text())
        self.endpoint, self.region = info["endpoint"].rstrip("/"), info["region"]
        self.key, self.secret = keys["access_key_id"], keys["secret_access_key"]

    def request(self, service, method, path, query=(), body=b"", secret=None):
        host = urllib.parse.urlsplit(self.endpoint).netloc
        now = datetime.datetime.now(datetime.timezone.utc)
        stamp, day = now.strftime("%Y%m%dT%H%M%SZ"), now.strftime("%Y%m%d")
        digest = hashlib.sha256(body).hexdigest()
        quote = lambda text: urllib.parse.quote(text, safe="-_.~")
        canonical_query = "&".join(f"{quote(k)}={quote(v)}" for k, v in sorted(query))
        headers = {"host": host, "x-amz-content-sha256": digest, "x-amz-date": stamp}
        names = ";".join(sorted(headers))
        canonical = "\n".join([method, urllib.parse.quote(path, safe="/-_.~"), canonical_query,
                               *(f"{name}:{headers[name]}" for name in sorted(headers)), "", names, digest])
        scope = f"{day}/{self.region}/{service}/aws4_request"
        to_sign = "\n".join(["AWS4-HMAC-SHA256", stamp, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + (secret or self.secret)).encode()
        for word in (day, self.region, service, "aws4_request"):
            key = hmac.new(key, word.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, to_sign.encode(), hashlib.sha256).hexdigest()
        headers["authorization"] = (f"AWS4-HMAC-SHA256 Credential={self.key}/{scope}, SignedHeaders={names}, "
                                    f"Signature={signature}")
        del headers["host"]
        if body:
            headers["content-type"] = "application/x-www-form-urlencoded; charset=utf-8"
        url = self.endpoint + urllib.parse.quote(path, safe="/-_.~") + ("?" + canonical_query if query else "")
        try:
            with urllib.request.urlopen(urllib.request.Request(url, body or None, headers, method=method),
                                        timeout=60) as answer:
                return answer.read()
        except urllib.error.HTTPError as error:
            content = error.read()
            code = re.search(rb"<Code>([^<]*)</Code>", content)
            raise AwsError(error.code, code.group(1).decode() if code else "", content) from None

    @staticmethod
    def _parse(content):
        root = xml.etree.ElementTree.fromstring(content)
        for element in root.iter():
            element.tag = element.tag.rsplit("}", 1)[-1]
        return root

    def ec2(self, action, **parameters):
        form = urllib.parse.urlencode({"Action": action, "Version": "2016-11-15",
                                       **{name.replace("_", "."): value for name, value in parameters.items()}})
        return self._parse(self.request("ec2", "POST", "/", body=form.encode()))

    def buckets(self):
        root = self._parse(self.request("s3", "GET", "/"))
        return [name.text for name in root.findall("./Buckets/Bucket/Name")]

    def keys(self, bucket):
        root = self._parse(self.request("s3", "GET", f"/{bucket}", query=[("list-type", "2")]))
        return [key.text for key in root.findall("./Contents/Key")]

    def instances(self):
        """id to state, terminated ones left out."""
        root = self.ec2("DescribeInstances")
        found = {item.findtext("instanceId"): item.findtext("instanceState/name")
                 for item in root.findall("./reservationSet/item/instancesSet/item")}
        return {key: state for key, state in found.items() if state != "terminated"}

    def volumes(self):
        root = self.ec2("DescribeVolumes")
        return {item.findtext("volumeId"): item.findtext("status") for item in root.findall("./volumeSet/item")}

    def snapshots(self):
        root = self.ec2("DescribeSnapshots", Owner_1="self")
        return [item.findtext("snapshotId") for item in root.findall("./snapshotSet/item")]

    def tasks(self):
        root = self.ec2("DescribeConversionTasks")
        return {item.findtext("conversionTaskId"): item.findtext("state")
                for item in root.findall("./conversionTasks/item")}

    def leftovers(self):
        """What a migration must not leave: all but completed or cancelled tasks."""
        left = {"buckets": self.buckets(), "snapshots": self.snapshots(), "instances": self.instances(),
                "volumes": self.volumes(),
                "tasks": [key for key, state in self.tasks().items() if state not in ("completed", "cancelled")]}
        return {kind: found for kind, found in left.items() if found}


_documented = None


def documented_reasons():
    """The tokens of docs/errors.md."""
    global _documented
    if _documented is None:
        text = (SOURCE_DIR / "docs" / "errors.md").read_text("utf-8")
        _documented = set(re.findall(r"^\| `([a-z0-9_.]+)` \|", text, re.MULTILINE))
    return _documented


class TestCase(unittest.TestCase):
    longMessage = True

    def assert_error(self, outcome, code, *reasons):
        """One error block with a sentence, a remedy and one of `reasons`, which docs/errors.md lists."""
        self.assertEqual(outcome.code, code, str(outcome))
        for begin in ("vmferry: ", "  what to do: ", "  reason: "):
            lines = [line for line in outcome.err.splitlines() if line.startswith(begin)]
            self.assertEqual(len(lines), 1, f"lines that begin with '{begin}'\n{outcome}")
            self.assertGreater(len(lines[0]), len(begin), str(outcome))
        self.assertIn(outcome.reason(), documented_reasons(), f"docs/errors.md\n{outcome}")
        if reasons:
            self.assertIn(outcome.reason(), reasons, str(outcome))


def _deadline(script):
    """Some seconds before ctest kills the script: so that it can still clean up."""
    found = re.search(r"^# timeout: (\d+)", pathlib.Path(script).read_text("utf-8"), re.MULTILINE)
    if found:
        def give_up(*_):
            raise TimeoutError("this test takes longer than its timeout")
        signal.signal(signal.SIGALRM, give_up)
        signal.alarm(max(10, int(os.environ.get("VMFERRY_TEST_TIMEOUT", found.group(1))) - 40))


def main(script):
    if not VMFERRY.exists():
        skip(f"{VMFERRY} is not built")
    os.umask(0o022)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _deadline(script)
    began = time.monotonic()
    program = unittest.main(module="__main__", verbosity=2, exit=False)
    print(f"{time.monotonic() - began:.1f} s", flush=True)
    sys.exit(0 if program.result.wasSuccessful() else 1)
