#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# The tiny guest as VHD, VHDX, QCOW2, OVA and NBD export: each arrives, is proven identical to the
# source, and boots.
#
# labels: e2e
# timeout: 900
import contextlib
import hashlib
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import formats
import harness

TINY = harness.guest("tiny")
harness.require_tools("qemu-img", "qemu-nbd", "qemu-system-x86_64")


def by_qemu(extension, form, *options):
    return lambda folder: formats.convert(TINY, folder / f"disk.{extension}", form, *options)


def compressed(folder):
    formats.run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", TINY, folder / "disk.qcow2")
    return folder / "disk.qcow2"


def with_backing_file(folder):
    formats.convert(TINY, folder / "base.qcow2", "qcow2")
    formats.run("qemu-img", "create", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", "disk.qcow2", cwd=folder)
    # Behind the last partition, where the guest does not look: the two layers have to be merged.
    formats.run("qemu-io", "-f", "qcow2", "-c", "write -P 0x5a 66060288 65536", "disk.qcow2", cwd=folder)
    return folder / "disk.qcow2"


def appliance(folder):
    """An OVA as VMware packs it, made with tar."""
    formats.convert(TINY, folder / "disk1.vmdk", "vmdk", "subformat=streamOptimized")
    size = (folder / "disk1.vmdk").stat().st_size
    (folder / "vm.ovf").write_text(f"""<?xml version="1.0" encoding="UTF-8"?>
<Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
 xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">
 <References><File ovf:href="disk1.vmdk" ovf:id="file1" ovf:size="{size}"/></References>
 <DiskSection><Info>disks</Info><Disk ovf:capacity="{TINY.stat().st_size}" ovf:diskId="vmdisk1" ovf:fileRef="file1"
  ovf:format="http://www.vmware.com/interfaces/specifications/vmdk.html#streamOptimized"/></DiskSection>
 <VirtualSystem ovf:id="vm"><Info>a virtual machine</Info><Name>vm</Name>
  <VirtualHardwareSection><Info>hardware</Info>
   <Item><rasd:ElementName>1 CPU</rasd:ElementName><rasd:InstanceID>1</rasd:InstanceID>
    <rasd:ResourceType>3</rasd:ResourceType><rasd:VirtualQuantity>1</rasd:VirtualQuantity></Item>
   <Item><rasd:AllocationUnits>byte * 2^20</rasd:AllocationUnits><rasd:ElementName>memory</rasd:ElementName>
    <rasd:InstanceID>2</rasd:InstanceID><rasd:ResourceType>4</rasd:ResourceType>
    <rasd:VirtualQuantity>512</rasd:VirtualQuantity></Item>
   <Item><rasd:Address>0</rasd:Address><rasd:ElementName>SCSI</rasd:ElementName><rasd:InstanceID>3</rasd:InstanceID>
    <rasd:ResourceSubType>lsilogic</rasd:ResourceSubType><rasd:ResourceType>6</rasd:ResourceType></Item>
   <Item><rasd:AddressOnParent>0</rasd:AddressOnParent><rasd:ElementName>disk</rasd:ElementName>
    <rasd:HostResource>ovf:/disk/vmdisk1</rasd:HostResource><rasd:InstanceID>4</rasd:InstanceID>
    <rasd:Parent>3</rasd:Parent><rasd:ResourceType>17</rasd:ResourceType></Item>
  </VirtualHardwareSection></VirtualSystem></Envelope>
""")
    formats.run("tar", "--format=ustar", "-cf", "vm.ova", "vm.ovf", "disk1.vmdk", cwd=folder)
    return folder / "vm.ova"


@contextlib.contextmanager
def nbd_export(socket):
    server = subprocess.Popen(["qemu-nbd", "-r", "-f", "raw", "-k", str(socket), "-x", "vda", "-t", "-e", "8",
                               str(TINY)])
    try:
        deadline = time.monotonic() + 20
        while not socket.exists():
            if server.poll() is not None or time.monotonic() > deadline:
                raise AssertionError("qemu-nbd did not start")
            time.sleep(0.05)
        yield f"nbd+unix:///vda?socket={socket}"
    finally:
        server.terminate()
        server.wait()


class MigrateFormats(formats.FormatsTestCase):
    def test_vhd_dynamic(self):
        self.migrate(by_qemu("vhd", "vpc", "subformat=dynamic", "force_size=on"), "VHD")

    def test_vhd_fixed(self):
        self.migrate(by_qemu("vhd", "vpc", "subformat=fixed", "force_size=on"), "VHD")

    def test_vhdx_dynamic(self):
        self.migrate(by_qemu("vhdx", "vhdx", "subformat=dynamic"), None)

    def test_vhdx_fixed(self):
        self.migrate(by_qemu("vhdx", "vhdx", "subformat=fixed"), None)

    def test_qcow2_plain(self):
        self.migrate(by_qemu("qcow2", "qcow2"), None)

    def test_qcow2_compressed(self):
        self.migrate(compressed, None)

    def test_qcow2_with_a_backing_file(self):
        self.migrate(with_backing_file, None)

    def test_ova_with_one_disk(self):
        self.migrate(appliance, None)

    def test_an_appliance_is_held_against_its_manifest(self):
        with harness.Lab() as lab:
            folder = pathlib.Path(lab.folder) / "disks"
            folder.mkdir()
            appliance(folder)
            names = ("vm.ovf", "disk1.vmdk")
            sums = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in names}

            def pack(damage=""):
                (folder / "vm.mf").write_text("".join(f"SHA256({name})= {sums[name]}\n" for name in names))
                if damage:
                    (folder / "vm.mf").write_text((folder / "vm.mf").read_text().replace(sums[damage], "0" * 64))
                formats.run("tar", "--format=ustar", "-cf", "vm.ova", "vm.ovf", "vm.mf", "disk1.vmdk", cwd=folder)
                return folder / "vm.ova"

            outcome = lab.run("migrate", pack(damage="disk1.vmdk"), "--until", "transfer")
            self.assert_error(outcome, 3)
            self.assertIn("ova.manifest.mismatch", outcome.err)
            self.assertEqual([r for r in lab.requests() if r["operation"] == "PutObject"], [])
            outcome = lab.ok("migrate", pack(), "--until", "assess")
            self.assertIn("2 files are what the manifest promises", outcome.err)

    def test_nbd_export(self):
        with harness.Lab() as place, nbd_export(pathlib.Path(place.folder) / "s") as uri:
            self.migrate(lambda folder: uri, None)


if __name__ == "__main__":
    harness.main(__file__)
