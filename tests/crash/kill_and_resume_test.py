#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# kill -9 at every step boundary, at random moments of the upload, the import and the comparison, and of the region's
# own process. Each time the journal is copied as the kill left it. In the end the region's request log is held against
# the copies: no confirmed part was sent again, no more than the parts in flight were sent twice, one ImportInstance
# succeeded; the result is that of an undisturbed run.
#
# Random moments follow a seed, which is printed. VMFERRY_TEST_SEED repeats a run, VMFERRY_TEST_ROUNDS makes it longer.
#
# labels: crash
# timeout: 300
# lock: guest
import os
import pathlib
import random
import re
import socket
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness
from harness import MIB

SEED = int(os.environ.get("VMFERRY_TEST_SEED", "0")) or int(time.time())
ROUNDS = int(os.environ.get("VMFERRY_TEST_ROUNDS", "5"))
PARALLEL = 3
KILLS_MAX = 8  # per migration: it has to end some time
STEPS = ("assess", "transfer", "import", "verify", "launch", "check", "clean")
BOUNDARIES = [(name, step) for step in STEPS for name in ("step.started", "step.done")]
TINY = harness.guest("tiny")
harness.require_tools("qemu-img", "qemu-system-x86_64")


def position(event):
    """Which boundary an event marks; -1 for others."""
    boundary = (event.get("event"), event.get("step"))
    return BOUNDARIES.index(boundary) if boundary in BOUNDARIES else -1


class Audit:
    """What was known at each kill, against what was sent after it."""

    def __init__(self, lab):
        self.lab, self.kills = lab, []

    def after_kill(self, migration):
        copy = self.lab.copy_journal(len(self.kills))
        confirmed = {number for number, in self.lab.query(
            copy, "SELECT number FROM pieces WHERE migration_id = ? AND confirmed_us > 0", migration)}
        self.kills.append((len(self.lab.requests()), confirmed))

    def check(self, test, migration, parallel):
        requests = self.lab.requests()
        puts = []
        for line, request in enumerate(requests):
            found = re.search(rf"/{migration}/.*\.part(\d+)$", request["path"])
            if request["operation"] == "PutObject" and found:
                puts.append((line, int(found.group(1))))
        for kill, (lines, confirmed) in enumerate(self.kills):
            again = sorted({number for line, number in puts if line >= lines} & confirmed)
            test.assertEqual(again, [], f"parts confirmed at kill {kill} and sent again")
        repeated = len(puts) - len({number for _, number in puts})
        test.assertLessEqual(repeated, parallel * len(self.kills), "parts sent more than once")
        imports = [r for r in requests if r["operation"] == "ImportInstance" and r["status"] == 200]
        (marker,) = self.lab.query(self.lab.state / "journal.db",
                                   "SELECT value FROM facts WHERE migration_id = ? AND name = 'import_intended'",
                                   migration)[0]
        tasks = [item for item in self.lab.aws().ec2("DescribeConversionTasks").findall("./conversionTasks/item")
                 if item.findtext("importInstance/description") == marker]
        test.assertEqual(len(tasks), 1, "import tasks of this migration")
        print(f"{len(self.kills)} kills, {repeated} of {len(puts)} parts sent again, {len(imports)} ImportInstance")
        return len(imports)


class KillAndResume(harness.TestCase):
    def undisturbed_root(self, lab, source):
        running = lab.start("migrate", source, "--until", "transfer")
        migration = running.migration()
        outcome = running.finish()
        self.assertEqual(outcome.code, 0, str(outcome))
        lab.ok("cancel", migration)
        return lab.status(migration)["facts"]["root"]

    def check_end(self, lab, migration, root, state):
        view = lab.status(migration)
        self.assertEqual(view["state"], state)
        certificate = lab.certificate(migration)
        self.assertEqual(certificate["verdict"], "identical")
        self.assertEqual(certificate["root"], root)
        self.assertEqual(certificate["compared_blocks"]["total"], certificate["volume_size_bytes"] // harness.BLOCK)

    def run_until_killed(self, lab, migration, source, options, moment):
        """One process, killed at the moment. Returns the migration's id and the outcome, None when it was killed."""
        command = ["migrate", source, *options] if migration is None else ["resume", migration, *options[:2]]
        running = lab.start(*command)
        begun = running.migration()
        if moment is not None:
            moment(running)
            if running.kill():
                return begun, None
        outcome = running.finish()
        self.assertEqual(outcome.code, 0, str(outcome))
        return begun, outcome

    def test_random_moments(self):
        print(f"seed {SEED}, {ROUNDS} rounds", flush=True)
        with harness.Lab() as lab:
            stored = harness.random_disk(lab.folder / "disk.raw", 12 * harness.PART, seed=3)
            encoded = self.as_qcow2(lab, stored)  # not taken by ImportInstance: encoded while it is read
            root = self.undisturbed_root(lab, stored)
            self.assertEqual(self.undisturbed_root(lab, encoded), root)
            lab.ok("region", "faults", "add", "PutObject", "delay", "always", "delay=150ms")
            total = 0
            for number in range(ROUNDS):
                dice = random.Random(SEED + number)

                def moment(running):
                    step = dice.choice(("transfer", "transfer", "transfer", "import", "verify"))
                    reached = running.wait_for(lambda e: e.get("event") == "step.started" and (
                        e["step"] == step or STEPS.index(e["step"]) > STEPS.index(step)))
                    if reached is not None:
                        time.sleep(dice.uniform(0, 0.5 if reached["step"] == "transfer" else 1.0))

                source = encoded if number % 2 == 1 else stored
                audit, migration, outcome = Audit(lab), None, None
                options = ("--until", "verify", "--parallel", PARALLEL)
                while outcome is None:
                    migration, outcome = self.run_until_killed(
                        lab, migration, source, options, moment if len(audit.kills) < KILLS_MAX else None)
                    if outcome is None:
                        audit.after_kill(migration)
                audit.check(self, migration, PARALLEL)
                self.check_end(lab, migration, root, "stopped")
                lab.ok("clean", migration)
                instance = lab.status(migration)["facts"]["instance_id"]
                lab.aws().ec2("TerminateInstances", InstanceId_1=instance)
                total += len(audit.kills)
            imports = [r for r in lab.requests() if r["operation"] == "ImportInstance" and r["status"] == 200]
            self.assertEqual(len(imports), ROUNDS)
            self.assertGreaterEqual(total, 2 * ROUNDS, "too few kills to mean anything")
            self.assertEqual(lab.aws().buckets(), [])
            print(f"{total} kills in all")

    def test_what_another_encoder_made_is_made_again(self):
        with harness.Lab() as lab:
            raw = harness.random_disk(lab.folder / "disk.raw", 4 * harness.PART, seed=4)
            source = self.as_qcow2(lab, raw)
            root = self.undisturbed_root(lab, source)
            lab.ok("region", "faults", "add", "PutObject", "delay", "always", "delay=300ms")
            running = lab.start("migrate", source, "--until", "verify", "--parallel", 1)
            migration = running.migration()
            self.wait_for_parts(lab, migration, 2)
            self.assertTrue(running.kill())
            journal = lab.state / "journal.db"
            confirmed = lab.query(journal, "SELECT count(*) FROM pieces WHERE migration_id = ? AND confirmed_us > 0",
                                  migration)[0][0]
            self.assertGreaterEqual(confirmed, 2)
            lab.query(journal, "INSERT OR REPLACE INTO facts (migration_id, name, value) "
                               "VALUES (?, 'wire_encoder', 'of-another-version')", migration)
            lab.ok("region", "faults", "clear")
            # That version's bytes are others, of the same length: whoever trusts its pieces sends a broken disk.
            (bucket,) = lab.aws().buckets()
            first = next(key for key in lab.aws().keys(bucket) if key.endswith(".part0"))
            bytes_ = lab.aws().request("s3", "GET", f"/{bucket}/{first}")
            lab.aws().request("s3", "PUT", f"/{bucket}/{first}", body=bytes_[:MIB] + bytes(MIB) + bytes_[2 * MIB:])
            lines = len(lab.requests())
            lab.ok("resume", migration, "--until", "verify")
            again = {re.search(r"\.part(\d+)$", request["path"]).group(1) for request in lab.requests()[lines:]
                     if request["operation"] == "PutObject" and ".part" in request["path"]}
            self.assertIn("0", again)  # the others are found to be the same bytes
            self.check_end(lab, migration, root, "stopped")

    def as_qcow2(self, lab, raw):
        path = lab.folder / (raw.stem + ".qcow2")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "qcow2", raw, path], check=True)
        return path

    def test_every_step_boundary(self):
        with harness.Lab() as lab:
            source = harness.copy_sparse(TINY, lab.folder / "tiny.raw")
            root = self.undisturbed_root(lab, source)
            # Every request takes a while: so a kill hits the boundary and not the step behind it.
            lab.ok("region", "faults", "add", "*", "delay", "always", "delay=100ms")
            audit, migration, boundaries, outcome = Audit(lab), None, [], None
            target = 0
            while target < len(BOUNDARIES):
                def moment(running):
                    # A step without requests may be over before it can be hit: then the next boundary it is.
                    event = running.wait_for(lambda e: position(e) >= target, 180)
                    if event is not None:
                        boundaries.append(position(event))

                migration, outcome = self.run_until_killed(lab, migration, source, (), moment)
                if outcome is None:
                    audit.after_kill(migration)
                if lab.status(migration)["state"] == "done":
                    break  # the last kill came after the last record
                target = boundaries[-1] + 1
            lab.ok("region", "faults", "clear")
            if lab.status(migration)["state"] != "done":
                lab.ok("resume", migration)
            print("killed at", ", ".join(f"{BOUNDARIES[b][1]} {BOUNDARIES[b][0][5:]}" for b in boundaries))
            self.assertGreaterEqual(len(audit.kills), 10)
            self.assertEqual(audit.check(self, migration, 8), 1)
            self.check_end(lab, migration, root, "done")
            instance = lab.status(migration)["facts"]["instance_id"]
            self.assertEqual(set(lab.aws().leftovers()), {"instances", "volumes"})
            self.assertEqual(lab.aws().instances(), {instance: "running"})
            self.assertIn("login:", lab.ok("region", "console", instance).out)

    def test_kills_of_the_region(self):
        with harness.Lab() as lab:
            source = harness.copy_sparse(TINY, lab.folder / "tiny.raw")
            port = lab.start_region(None, "--port", 0)["port"]  # kept: an import's URLs name it
            root = self.undisturbed_root(lab, source)
            lab.ok("region", "faults", "add", "PutObject", "delay", 7, "delay=300ms")
            audit = Audit(lab)
            running = lab.start("migrate", source, "--parallel", 2)
            migration = running.migration()
            self.wait_for_parts(lab, migration, 2)
            # In the upload, and the migration lives: it gives up in time and says how to go on.
            lab.kill_region()
            with socket.socket() as holder:  # bound, not listening: no other region may take the port
                holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    holder.bind(("127.0.0.1", port))
                    taken = False
                except OSError:
                    taken = True  # by another test's region already, which does not know our key
                outcome = running.finish(120)
            self.assert_error(outcome, 4 if taken and outcome.code == 4 else 5)
            if outcome.code == 5:
                self.assertIn("vmferry resume", outcome.err)
            audit.after_kill(migration)

            lab.start_region(None, "--port", port)
            running = lab.start("resume", migration)
            running.wait_for(lambda e: e.get("event") == "step.started" and e["step"] == "import")
            while not lab.aws().tasks():
                time.sleep(0.02)
            while not lab.status(migration)["facts"].get("import_task"):
                time.sleep(0.02)
            self.kill_both(lab, running, audit, migration)  # in the conversion

            lab.start_region(None, "--port", port)
            lab.ok("region", "faults", "add", "GetConsoleOutput", "delay", "always", "delay=5s")
            running = lab.start("resume", migration)
            running.wait_for(lambda e: e.get("event") == "step.done" and e["step"] == "launch", 180)
            before = lab.instance_pids()
            self.kill_both(lab, running, audit, migration)  # with a running instance
            self.assertEqual(lab.instance_pids(), before)

            lab.ok("resume", migration)
            self.assertEqual(lab.instance_pids(), before, "the running guest was not adopted")
            self.assertEqual(len(before), 1)
            audit.check(self, migration, 2)
            self.check_end(lab, migration, root, "done")
            instance = lab.status(migration)["facts"]["instance_id"]
            self.assertEqual(lab.aws().instances(), {instance: "running"})
            # An adopted guest still obeys.
            lab.aws().ec2("StopInstances", InstanceId_1=instance)
            deadline = time.monotonic() + 60
            while lab.aws().instances() != {instance: "stopped"} and time.monotonic() < deadline:
                time.sleep(0.2)
            self.assertEqual(lab.aws().instances(), {instance: "stopped"})
            self.assertEqual(lab.instance_pids(), [])

    def wait_for_parts(self, lab, migration, count):
        deadline = time.monotonic() + 60
        while lab.status(migration)["confirmed_parts"] < count:
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def kill_both(self, lab, running, audit, migration):
        """The region dies under the migration, which dies before it has noticed."""
        lab.kill_region()
        alive = running.kill()
        self.assertTrue(alive, str(running.finish()))
        audit.after_kill(migration)


if __name__ == "__main__":
    harness.main(__file__)
