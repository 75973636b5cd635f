#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# The tiny guest as every kind of VMDK that hypervisors leave behind: each arrives, is proven
# identical to the source, and boots.
#
# labels: e2e
# timeout: 900
import os
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import formats
import harness

TINY = harness.guest("tiny")
harness.require_tools("qemu-img", "qemu-system-x86_64")


def by_qemu(subformat):
    return lambda folder: formats.convert(TINY, folder / "disk.vmdk", "vmdk", f"subformat={subformat}")


def vmfs(folder):
    harness.copy_sparse(TINY, folder / "disk-flat.vmdk")
    sectors = os.path.getsize(TINY) // 512
    (folder / "disk.vmdk").write_text(
        "# Disk DescriptorFile\nversion=1\nCID=fffffffe\nparentCID=ffffffff\ncreateType=\"vmfs\"\n\n"
        f"# Extent description\nRW {sectors} VMFS \"disk-flat.vmdk\"\n\n"
        "ddb.adapterType = \"lsilogic\"\nddb.virtualHWVersion = \"13\"\n")
    return folder / "disk.vmdk"


def esx(kind):
    def make(folder):
        formats.run(formats.MAKE_ESX_DISK, kind, TINY, folder)
        return folder / "disk.vmdk"
    return make


def snapshot(folder):
    """A VM snapshot on a monolithic sparse disk, both files beside each other."""
    base = formats.convert(TINY, folder / "base.vmdk", "vmdk", "subformat=monolithicSparse")
    formats.run("qemu-img", "create", "-f", "vmdk", "-b", "base.vmdk", "-F", "vmdk", "disk.vmdk", cwd=folder)
    # Behind the last partition, where the guest does not look: the two layers have to be merged.
    formats.run("qemu-io", "-f", "vmdk", "-c", "write -P 0x5a 66060288 65536", "disk.vmdk", cwd=folder)
    return folder / "disk.vmdk"


class MigrateVmdkKinds(formats.FormatsTestCase):
    def test_stream_optimized(self):
        self.migrate(by_qemu("streamOptimized"), "VMDK")

    def test_monolithic_sparse(self):
        self.migrate(by_qemu("monolithicSparse"), None)

    def test_monolithic_flat(self):
        self.migrate(by_qemu("monolithicFlat"), None)

    def test_two_gb_max_extent_sparse(self):
        self.migrate(by_qemu("twoGbMaxExtentSparse"), None)

    def test_two_gb_max_extent_flat(self):
        self.migrate(by_qemu("twoGbMaxExtentFlat"), None)

    def test_vmfs(self):
        self.migrate(vmfs, None)

    def test_vmfs_sparse(self):
        self.migrate(esx("vmfsSparse"), None)

    def test_se_sparse(self):
        self.migrate(esx("seSparse"), None)

    def test_snapshot_chain(self):
        self.migrate(snapshot, None)


if __name__ == "__main__":
    harness.main(__file__)
