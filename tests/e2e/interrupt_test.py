#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Ctrl-C in the middle of an upload: what arrived is recorded, the command to go on is printed,
# and resume sends only the rest.
#
# labels: e2e
# timeout: 90
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

harness.require_tools("qemu-img")


class Interrupt(harness.TestCase):
    def test_ctrl_c_checkpoints_and_prints_the_resume_command(self):
        for signal_number in (signal.SIGINT, signal.SIGTERM):
            with self.subTest(signal_number.name), harness.Lab() as lab:
                source = harness.random_disk(lab.folder / "disk.raw", 12 * harness.PART, seed=8)
                lab.start_region()
                lab.ok("region", "faults", "add", "PutObject", "delay", "always", "delay=400ms")
                running = lab.start("migrate", source, "--parallel", 2, "--until", "transfer")
                migration = running.migration()
                while lab.status(migration)["confirmed_parts"] < 3:
                    time.sleep(0.05)
                running.process.send_signal(signal_number)
                outcome = running.finish(30)
                self.assertEqual(outcome.code, 130, str(outcome))
                self.assertIn(f"vmferry resume {migration}", outcome.err)
                view = lab.status(migration)
                self.assertEqual(view["state"], "stopped")
                confirmed = view["confirmed_parts"]
                self.assertIn(confirmed, range(3, 12))

                lab.ok("region", "faults", "clear")
                before = len(lab.requests())
                lab.ok("resume", migration, "--until", "transfer")
                sent = [r for r in lab.requests()[before:] if r["operation"] == "PutObject"]
                self.assertLessEqual(len(sent), 12 - confirmed)
                self.assertEqual(lab.status(migration)["confirmed_parts"], 12)
                lab.ok("cancel", migration)
                self.assertEqual(lab.aws().leftovers(), {})


if __name__ == "__main__":
    harness.main(__file__)
