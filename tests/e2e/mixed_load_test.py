#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# The short form of mixed_load_long: 20 seconds of mixed load with seeded faults lose nothing.
#
# labels: e2e
# timeout: 240
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import boto  # noqa: F401: first, it may choose another python
import harness
import mixed_load

MIB = harness.MIB


class MixedLoad(harness.TestCase):
    def test_nothing_acknowledged_is_lost(self):
        load, faults = mixed_load.run(20, seed=20)
        self.assertEqual(load.lost, [])
        self.assertGreater(faults, 0)
        for what in ("objects put", "objects read", "blocks put", "blocks read", "tags set"):
            self.assertGreater(load.counts.get(what, 0), 0, what)
        # Too short to tell growth from warming up: the long form has the 5 %.
        before, after = load.growth()
        self.assertLess(after, before * 1.5 + 16 * MIB, load.samples)


if __name__ == "__main__":
    harness.main(__file__)
