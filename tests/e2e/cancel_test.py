#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# `vmferry cancel`, from another process, while parts are uploaded and while the region converts;
# and `vmferry clean` after an import that failed. Nothing stays behind.
#
# labels: e2e
# timeout: 180
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

harness.require_tools("qemu-img")


class Cancel(harness.TestCase):
    def wait_for(self, condition, what, seconds=60):
        deadline = time.monotonic() + seconds
        while not condition():
            self.assertLess(time.monotonic(), deadline, what)
            time.sleep(0.05)

    def check_cancelled(self, lab, running, migration):
        lab.ok("cancel", migration)
        stopped = running.finish()
        self.assertEqual(stopped.code, 130, str(stopped))
        self.assertEqual(stopped.reason(), "migration.cancel_requested", str(stopped))
        view = lab.status(migration)
        self.assertEqual(view["state"], "cancelled")
        self.assertEqual([entry for entry in view["ledger"] if entry["state"] != "removed"], [])
        self.assertEqual(lab.aws().leftovers(), {})
        self.assert_error(lab.run("resume", migration), 2, "migration.ended")
        self.assert_error(lab.run("cancel", migration), 2, "migration.ended")
        lab.ok("clean", migration)  # finds nothing to do

    def test_cancel_while_parts_are_uploaded(self):
        with harness.Lab() as lab:
            lab.start_region()
            lab.ok("region", "faults", "add", "PutObject", "delay", "always", "delay=300ms")
            source = harness.random_disk(lab.folder / "disk.raw", 20 * harness.PART, seed=4)
            running = lab.start("migrate", source, "--parallel", 2)
            migration = running.migration()
            self.wait_for(lambda: lab.status(migration)["confirmed_parts"] >= 2, "two parts")
            self.assertNotEqual(lab.aws().buckets(), [])
            self.check_cancelled(lab, running, migration)

    def test_cancel_while_the_region_imports(self):
        with harness.Lab() as lab:
            lab.start_region()
            # The region's own reading of the parts is slowed: so the import lasts.
            lab.ok("region", "faults", "add", "GetObject", "delay", "always", "delay=2s")
            source = harness.random_disk(lab.folder / "disk.raw", 4 * harness.PART, seed=5)
            running = lab.start("migrate", source)
            migration = running.migration()
            self.wait_for(lambda: lab.status(migration)["facts"].get("import_task"), "an import task")
            self.assertEqual(list(lab.aws().tasks().values()), ["active"])
            self.check_cancelled(lab, running, migration)
            self.assertEqual(list(lab.aws().tasks().values()), ["cancelled"])

    def test_clean_after_an_import_that_failed(self):
        with harness.Lab() as lab:
            lab.start_region()
            lab.ok("region", "faults", "add", "import.convert", "fail", "message=ClientError: no such luck")
            source = harness.random_disk(lab.folder / "disk.raw", harness.PART, seed=6)
            outcome = lab.run("migrate", source)
            self.assert_error(outcome, 4, "import.failed")
            self.assertIn("no such luck", outcome.err)
            self.assertEqual(set(lab.aws().leftovers()), {"buckets"})
            (view,) = lab.ok("status", "--output", "json").json()["migrations"]
            self.assertEqual(view["state"], "failed")
            self.assertEqual(view["error"]["reason"], "import.failed")
            lab.ok("clean", view["id"])
            self.assertEqual(lab.aws().leftovers(), {})

    def test_a_failed_import_can_be_resumed(self):
        with harness.Lab() as lab:
            lab.start_region()
            lab.ok("region", "faults", "add", "import.convert", "fail", "message=ClientError: no such luck")
            source = harness.random_disk(lab.folder / "disk.raw", harness.PART, seed=6)
            self.assert_error(lab.run("migrate", source, "--until", "verify"), 4, "import.failed")
            sent = sum(r["operation"] == "PutObject" and ".part" in r["path"] for r in lab.requests())
            outcome = lab.ok("resume", "--until", "verify")
            self.assertIn("identical", outcome.out)
            self.assertEqual(sum(r["operation"] == "PutObject" and ".part" in r["path"] for r in lab.requests()), sent)


if __name__ == "__main__":
    harness.main(__file__)
