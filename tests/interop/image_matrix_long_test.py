#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Disks of every subformat that qemu-img writes are read as qemu-img and libyal read them, and what vmferry writes is
# read by them. All of it: each size with each pattern. See image_matrix.py.
#
# labels: interop long
# timeout: 7200
import os
import pathlib
import secrets
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import disks
import harness
import image_matrix


class ImageMatrixLong(harness.TestCase):
    def test_every_subformat_is_read_as_qemu_reads_it(self):
        disks.run_cases(self, image_matrix.reading_cases(long=True))

    def test_chains_are_read_as_qemu_reads_them(self):
        disks.run_cases(self, image_matrix.chain_cases(long=True))

    def test_details(self):
        disks.run_cases(self, image_matrix.special_cases())

    def test_disks_of_terabytes_cost_what_they_store(self):
        disks.run_cases(self, image_matrix.large_cases(long=True))

    def test_what_is_written_is_read_by_others(self):
        disks.run_cases(self, image_matrix.target_cases(long=True))

    def test_random_disks_are_read_as_they_were_written(self):
        seed = os.environ.get("VMFERRY_SEED") or secrets.token_hex(4)
        disks.run_cases(self, image_matrix.property_cases(seed, 300))


if __name__ == "__main__":
    harness.require_tools("qemu-img", "qemu-io")
    harness.main(__file__)
