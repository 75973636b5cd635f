#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# The source changes between a kill and the resume: it is refused, and nothing more is sent.
#
# labels: e2e
# timeout: 120
import os
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

SIZE = 60 * harness.MIB


def rewrite_middle(path):
    """Other content, same size, same modification time."""
    before = os.stat(path)
    with open(path, "r+b") as file:
        file.seek(SIZE // 3)
        file.write(b"\xa5" * (8 * harness.MIB))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def touch(path):
    os.utime(path)


def grow(path):
    with open(path, "ab") as file:
        file.write(bytes(512))


def replace(path):
    before = os.stat(path)
    copy = path.with_suffix(".copy")
    harness.copy_sparse(path, copy)
    os.utime(copy, ns=(before.st_atime_ns, before.st_mtime_ns))
    os.replace(copy, path)


class ChangedSource(harness.TestCase):
    def test_resume_refuses_a_source_that_changed(self):
        with harness.Lab() as lab:
            lab.start_region()
            for change in (rewrite_middle, touch, grow, replace):
                with self.subTest(change.__name__):
                    source = harness.random_disk(lab.folder / f"{change.__name__}.raw", SIZE, seed=2)
                    lab.ok("region", "faults", "add", "PutObject", "delay", 2, "skip=2", "delay=3s")
                    running = lab.start("migrate", source, "--parallel", 2, "--check", "none")
                    migration = running.migration()
                    running.wait_for(lambda e: e.get("event") == "progress" and e["step"] == "transfer")
                    confirmed = 0
                    while confirmed < 2:
                        confirmed = lab.status(migration)["confirmed_parts"]
                        self.assertIsNone(running.process.poll())
                    self.assertTrue(running.kill())
                    lab.ok("region", "faults", "clear")

                    change(source)
                    sent = self.puts_when_quiet(lab, migration, expected=4)
                    self.assert_error(lab.run("resume", migration), 3, "source.changed")
                    self.assertEqual(self.puts(lab, migration), sent)
                    self.assertEqual(lab.status(migration)["state"], "failed")
                    lab.ok("clean", migration)
            self.assertEqual(lab.aws().leftovers(), {})

    def puts_when_quiet(self, lab, migration, expected):
        """The region still answers requests whose sender is dead."""
        deadline = time.monotonic() + 10
        while self.puts(lab, migration) < expected and time.monotonic() < deadline:
            time.sleep(0.1)
        return self.puts(lab, migration)

    @staticmethod
    def puts(lab, migration):
        return sum(1 for r in lab.requests() if r["operation"] == "PutObject" and migration in r["path"])


if __name__ == "__main__":
    harness.main(__file__)
