#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# 20 minutes of mixed load with seeded faults: no acknowledged write is lost, memory stays flat within 5 %.
# VMFERRY_LOAD_SECONDS and VMFERRY_LOAD_SEED change length and seed.
#
# labels: e2e long
# timeout: 1800
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import boto  # noqa: F401: first, it may choose another python
import harness
import mixed_load


class MixedLoadLong(harness.TestCase):
    def test_nothing_is_lost_and_memory_is_flat(self):
        seconds = int(os.environ.get("VMFERRY_LOAD_SECONDS", "1200"))
        load, faults = mixed_load.run(seconds, seed=int(os.environ.get("VMFERRY_LOAD_SEED", "1")))
        self.assertEqual(load.lost, [])
        self.assertGreater(faults, seconds // 10)
        before, after = load.growth()
        print(f"resident: {before / harness.MIB:.1f} MiB in the second quarter, {after / harness.MIB:.1f} in the last")
        self.assertLess(after, before * 1.05, load.samples[::30])


if __name__ == "__main__":
    harness.main(__file__)
