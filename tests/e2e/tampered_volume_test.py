#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# One byte of the imported volume is flipped before it is compared: the migration ends with exit
# code 6 and names the byte, and the instance is not started.
#
# labels: e2e
# timeout: 120
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

harness.require_tools("qemu-img")
TARGETS = {"in data": 3 * harness.MIB + 12345, "in a hole": 700 * harness.MIB + 7}


class TamperedVolume(harness.TestCase):
    def test_a_flipped_byte_is_found_and_named(self):
        for where, offset in TARGETS.items():
            with self.subTest(where), harness.Lab() as lab:
                source = harness.random_disk(lab.folder / "disk.raw", 12 * harness.MIB, seed=1)
                running = lab.start("migrate", source, "--until", "import")
                migration = running.migration()
                outcome = running.finish()
                self.assertEqual(outcome.code, 0, str(outcome))
                volume = lab.status(migration)["facts"]["volume_id"]
                lab.ok("region", "faults", "corrupt-volume", volume, offset)

                outcome = lab.run("resume", migration)
                self.assert_error(outcome, 6, "verify.differs")
                self.assertRegex(outcome.err, rf"byte offset {offset}\b")
                certificate = lab.certificate(migration)
                self.assertEqual(certificate["verdict"], "differs")
                self.assertEqual(certificate["differing_ranges"], [{"offset_bytes": offset, "length_bytes": 1}])
                self.assertEqual(certificate["compared_blocks"]["differing"], 1)
                self.assertNotEqual(certificate["root"], certificate["target_root"])
                self.assert_error(lab.run("verify", migration), 6, "verify.differs")
                view = lab.status(migration)
                self.assertEqual(view["state"], "failed")
                self.assertEqual(list(lab.aws().instances().values()), ["stopped"])
                self.assertEqual(lab.aws().snapshots(), [])

                # The parts are still there for whoever looks into it; clean removes them.
                lab.ok("clean", migration)
                left = lab.aws().leftovers()
                self.assertEqual(set(left), {"instances", "volumes"})


if __name__ == "__main__":
    harness.main(__file__)
