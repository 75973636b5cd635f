#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Strangers import: Debian's awscli and boto3 call ImportImage, ImportSnapshot and ImportVolume. ImportImage looks at what
# is on the disks: each thing it refuses, in AWS's words.
#
# labels: interop
# timeout: 600
# lock: guest
import json
import os
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
sys.path.insert(0, "/usr/lib/python3/dist-packages")  # Debian's boto3: another Python may be first in PATH
os.environ["PATH"] += ":/usr/sbin:/sbin"
import harness
import machines
from machines import KERNEL, MIB

harness.require_tools("qemu-img", "grub-fstest", "sfdisk", "mke2fs", "mkfs.vfat", "mcopy")
AWS = "/usr/bin/aws"
if not pathlib.Path(AWS).exists():
    harness.skip("awscli of Debian is missing: apt-get install awscli")
try:
    import boto3
    import botocore.config
    import botocore.exceptions
except ImportError:
    harness.skip("boto3 of Debian is missing: apt-get install python3-boto3")

TRUST = {"Version": "2012-10-17", "Statement": [{
    "Effect": "Allow", "Principal": {"Service": "vmie.amazonaws.com"}, "Action": "sts:AssumeRole",
    "Condition": {"StringEquals": {"sts:Externalid": "vmimport"}}}]}
POLICY = {"Version": "2012-10-17", "Statement": [
    {"Effect": "Allow", "Action": ["s3:GetBucketLocation", "s3:GetObject", "s3:ListBucket"],
     "Resource": ["arn:aws:s3:::disks", "arn:aws:s3:::disks/*"]},
    {"Effect": "Allow", "Action": ["ec2:ModifySnapshotAttribute", "ec2:CopySnapshot", "ec2:RegisterImage",
                                   "ec2:Describe*"], "Resource": "*"}]}
UNKNOWN = "ClientError: Unknown OS / Missing OS files."


def changed(**changes):
    """The files of a Debian with some replaced or, for None, left out; `__` stands for `/`, `_d_` for a dot."""
    files = machines.linux_files()
    for name, content in changes.items():
        path = name.replace("_d_", ".").replace("__", "/").replace("KERNEL", KERNEL)
        files.pop(path, None)
        if content is not None:
            files[path] = content
    return files


def with_kernel(kernel, release=machines.DEBIAN):
    return machines.linux_files(kernel=kernel, release=release)


class RegionImports(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = harness.Lab()
        cls.addClassCleanup(cls.lab.__exit__, None, None, None)
        cls.lab.start_region(None, "--port", "0")
        cls.variables = {**cls.lab.environment, **cls.lab.aws_environment(), "PATH": "/usr/bin:/bin"}
        os.environ.update(cls.lab.aws_environment())
        at = {"endpoint_url": os.environ["AWS_ENDPOINT_URL"]}
        cls.ec2, cls.s3, cls.iam = (boto3.client(name, **at) for name in ("ec2", "s3", "iam"))
        cls.s3.create_bucket(Bucket="disks")

    def aws(self, *arguments):
        done = subprocess.run([AWS, "--endpoint-url", self.variables["AWS_ENDPOINT_URL"], "--output", "json", *arguments],
                              capture_output=True, text=True, env=self.variables, timeout=180)
        return done

    def read(self, *arguments):
        done = self.aws(*arguments)
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout) if done.stdout.strip() else {}

    def make_role(self):
        try:
            self.iam.create_role(RoleName="vmimport", AssumeRolePolicyDocument=json.dumps(TRUST))
        except self.iam.exceptions.EntityAlreadyExistsException:
            return
        self.iam.put_role_policy(RoleName="vmimport", PolicyName="vmimport", PolicyDocument=json.dumps(POLICY))

    def upload(self, path):
        self.s3.upload_file(str(path), "disks", path.name)
        return {"S3Bucket": "disks", "S3Key": path.name}

    def image(self, *paths, file_format="RAW", **parameters):
        """Imports disks as a machine image and returns the task when it has ended."""
        containers = [{"Format": file_format, "UserBucket": self.upload(path)} for path in paths]
        task = self.ec2.import_image(DiskContainers=containers, **parameters)["ImportTaskId"]
        deadline = time.monotonic() + 120
        while True:
            (found,) = self.ec2.describe_import_image_tasks(ImportTaskIds=[task])["ImportImageTasks"]
            if found["Status"] in ("completed", "deleted"):
                return found
            self.assertLess(time.monotonic(), deadline, found)
            time.sleep(0.1)

    def snapshot_count(self):
        return len(self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"])

    # --- awscli

    def test_1_without_the_role_nothing_is_imported(self):
        words = "The service role vmimport provided does not exist or does not have sufficient permissions"
        container = "Format=RAW,UserBucket={S3Bucket=disks,S3Key=x}"
        for call in (("import-snapshot", "--disk-container"), ("import-image", "--disk-containers")):
            done = self.aws("ec2", *call, container)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("(InvalidParameter)", done.stderr)
            self.assertIn(words, done.stderr)

    def test_2_awscli_imports_a_snapshot(self):
        self.make_role()
        source = harness.random_disk(self.lab.folder / "snap.raw", 5 * MIB, seed=3)
        vmdk = self.lab.folder / "snap.vmdk"
        subprocess.run(["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", source, vmdk], check=True)
        self.read("s3api", "put-object", "--bucket", "disks", "--key", "snap.vmdk", "--body", str(vmdk))
        begun = self.read("ec2", "import-snapshot", "--description", "by awscli", "--client-token", "once",
                          "--disk-container", "Format=VMDK,UserBucket={S3Bucket=disks,S3Key=snap.vmdk}",
                          "--tag-specifications", "ResourceType=import-snapshot-task,Tags=[{Key=why,Value=test}]")
        task = begun["ImportTaskId"]
        self.assertRegex(task, r"^import-snap-0[0-9a-f]{16}$")
        for _ in range(900):
            (found,) = self.ec2.describe_import_snapshot_tasks(ImportTaskIds=[task])["ImportSnapshotTasks"]
            if found["SnapshotTaskDetail"]["Status"] != "active":
                break
            time.sleep(0.1)
        (found,) = self.read("ec2", "describe-import-snapshot-tasks", "--filters",
                             "Name=tag:why,Values=test")["ImportSnapshotTasks"]
        detail = found["SnapshotTaskDetail"]
        self.assertEqual((found["ImportTaskId"], detail["Status"], detail["DiskImageSize"]),
                         (task, "completed", float(vmdk.stat().st_size)))
        (snapshot,) = self.read("ec2", "describe-snapshots", "--snapshot-ids", detail["SnapshotId"])["Snapshots"]
        self.assertEqual((snapshot["State"], snapshot["VolumeSize"], snapshot["Description"]),
                         ("completed", 1, f"Created by AWS-VMImport service for {task}"))
        self.read("ec2", "delete-snapshot", "--snapshot-id", detail["SnapshotId"])

    def test_3_awscli_imports_an_image(self):
        self.make_role()
        self.upload(machines.linux_disk(self.lab.folder / "linux.raw"))
        begun = self.read("ec2", "import-image", "--description", "by awscli", "--disk-containers",
                          "Description=root,Format=RAW,UserBucket={S3Bucket=disks,S3Key=linux.raw}")
        self.assertEqual((begun["Status"], begun["StatusMessage"]), ("active", "pending"))
        self.assertRegex(begun["ImportTaskId"], r"^import-ami-0[0-9a-f]{16}$")
        seen = set()
        for _ in range(600):
            (task,) = self.ec2.describe_import_image_tasks(ImportTaskIds=[begun["ImportTaskId"]])["ImportImageTasks"]
            seen.add(task.get("StatusMessage"))
            if task["Status"] != "active":
                break
            time.sleep(0.1)
        self.assertEqual(task["Status"], "completed", task)
        self.assertLessEqual(seen, {"pending", "converting", "updating", "preparing ami", None})
        self.assertEqual((task["Platform"], task["Architecture"], task["BootMode"], task["LicenseType"]),
                         ("Linux", "x86_64", "legacy-bios", "BYOL"))
        (detail,) = task["SnapshotDetails"]
        self.assertEqual((detail["DeviceName"], detail["Status"], detail["Description"]),
                         ("/dev/sda1", "completed", "root"))
        (found,) = self.ec2.describe_images(ImageIds=[task["ImageId"]])["Images"]
        self.assertEqual(found["Description"],
                         f"AWS-VMImport service: Linux - Debian GNU/Linux 12 (bookworm) - {KERNEL}")
        self.assertEqual((found["Name"], found["State"], found["EnaSupport"]), (task["ImportTaskId"], "available", True))
        self.assertEqual(found["BlockDeviceMappings"][0]["Ebs"]["SnapshotId"], detail["SnapshotId"])

    # --- what ImportImage looks for

    def test_4_each_fault_is_told_in_aws_words(self):
        self.make_role()
        path = self.lab.folder / "case.raw"
        gentoo = machines.DEBIAN.replace("ID=debian", "ID=gentoo")
        bls = "blscfg\nset default=0\n"
        esp = ("fat", "uefi", 8, {"EFI/debian/grubx64.efi": b"MZ"})
        linux = ("ext4", "linux", 12, machines.linux_files())
        cases = [
            ("no table", dict(partitions=[("ext4", "", 20, machines.linux_files())], label=None, boot_code=False),
             "ClientError: No valid partitions. Not a valid volume."),
            ("no system", dict(files={"data/x": "y"}), UNKNOWN),
            ("foreign system", dict(files=machines.linux_files(release=gentoo)), UNKNOWN),
            ("old kernel", dict(files=with_kernel("4.15.0-1021-aws")), "ClientError: Unsupported kernel version 4.15.0-1021-aws"),
            ("no kernel", dict(files=changed(**{"boot__vmlinuz-KERNEL": None})), "ClientError: Unable to determine kernel version."),
            ("no fstab", dict(files=changed(etc__fstab=None)), "ClientError: Invalid configuration - Could not read fstab"),
            ("two configurations", dict(files=changed(boot__grub2__grub_d_cfg=machines.grub_config(folder=""))),
             "ClientError: Multiple different grub/menu.lst files found"),
            ("entries elsewhere", dict(files=changed(boot__grub__grub_d_cfg=bls)),
             "ClientError: BLSC-style GRUB found, but unable to detect default kernel"),
            ("i386", dict(files=machines.linux_files(machine=machines.ELF_I386)), "ClientError: Unsupported architecture i386"),
            ("arm64", dict(files=machines.linux_files(machine=machines.ELF_AARCH64)), "ClientError: Unsupported architecture arm64"),
            ("no loader", dict(boot_code=False), "ClientError: No bootable partition found [the disk cannot start by BIOS]", "legacy-bios"),
            ("no fallback loader", dict(partitions=[esp, linux], label="gpt", boot_code=False),
             "ClientError: No bootable partition found [there is no fallback loader /EFI/BOOT/BOOTX64.EFI on an EFI "
             "system partition]"),
            ("two systems", dict(partitions=[("ext4", "83", 11, machines.linux_files()), ("ext4", "83", 11, machines.linux_files())]),
             "ClientError: Unsupported configuration - Multiple directories found"),
            ("empty volume group", dict(partitions=[("empty", "8e", 20, {})]),
             "ClientError: Unsupported configuration - Logical volume group activation failed"),
        ]
        before = self.snapshot_count()
        for name, options, message, *mode in cases:
            with self.subTest(name):
                if "partitions" in options:
                    machines.disk(path, **options)
                else:
                    machines.linux_disk(path, **options)
                task = self.image(path, **({"BootMode": mode[0]} if mode else {}))
                self.assertEqual((task["Status"], task["StatusMessage"]), ("deleted", message))
                self.assertNotIn("ImageId", task)
        self.assertEqual(self.snapshot_count(), before)
        self.assertEqual(list((self.lab.region_folder / "import").iterdir()), [])

    def test_5_what_is_sound_is_taken(self):
        self.make_role()
        path = self.lab.folder / "case.raw"
        environment = f"# GRUB Environment Block\nsaved_entry=0123456789abcdef-{KERNEL}\n"
        esp = ("fat", "uefi", 8, {"EFI/BOOT/BOOTX64.EFI": b"MZ loader"})
        boot_files = {name.removeprefix("boot/"): content for name, content in
                      changed(boot__grub__grub_d_cfg=machines.grub_config(folder="")).items() if name.startswith("boot/")}
        root_files = {name: content for name, content in machines.linux_files().items() if not name.startswith("boot/")}
        cases = [
            ("entries elsewhere, default known", dict(files=changed(boot__grub__grub_d_cfg="blscfg\n", boot__grub__grubenv=environment)), "legacy-bios"),
            ("UEFI", dict(partitions=[esp, ("ext4", "linux", 12, machines.linux_files())], label="gpt", boot_code=False), "uefi"),
            ("boot partition", dict(partitions=[("ext4", "83", 8, boot_files), ("ext4", "83", 12, root_files)]), "legacy-bios"),
        ]
        for name, options, mode in cases:
            with self.subTest(name):
                if "partitions" in options:
                    machines.disk(path, **options)
                else:
                    machines.linux_disk(path, **options)
                task = self.image(path)
                self.assertEqual((task["Status"], task.get("StatusMessage")), ("completed", None))
                self.assertEqual(task["BootMode"], mode)

    def test_6_several_disks_and_appliances(self):
        self.make_role()
        folder = self.lab.folder
        root = machines.linux_disk(folder / "root.raw")
        data = machines.disk(folder / "data.raw", [("ext4", "83", 20, {"data/x": "y"})], boot_code=False)
        vmdks = []
        for raw in (data, root):  # the data disk is the first one
            vmdks.append(raw.with_suffix(".vmdk"))
            subprocess.run(["qemu-img", "convert", "-O", "vmdk", "-o", "subformat=streamOptimized", raw, vmdks[-1]], check=True)
        for task in (self.image(data, root), self.image(machines.ova(folder / "two.ova", vmdks), file_format="OVA")):
            self.assertEqual((task["Status"], task.get("StatusMessage")), ("completed", None))
            self.assertEqual([d["DeviceName"] for d in task["SnapshotDetails"]], ["/dev/sdb", "/dev/sda1"])
            (found,) = self.ec2.describe_images(ImageIds=[task["ImageId"]])["Images"]
            mapped = {m["DeviceName"]: m["Ebs"]["SnapshotId"] for m in found["BlockDeviceMappings"]}
            self.assertEqual(mapped, {d["DeviceName"]: d["SnapshotId"] for d in task["SnapshotDetails"]})
            self.assertEqual(found["RootDeviceName"], "/dev/sda1")
        # The same root again, out of its snapshot.
        snapshot = next(d["SnapshotId"] for d in task["SnapshotDetails"] if d["DeviceName"] == "/dev/sda1")
        begun = self.ec2.import_image(DiskContainers=[{"SnapshotId": snapshot}])["ImportTaskId"]
        for _ in range(600):
            (found,) = self.ec2.describe_import_image_tasks(ImportTaskIds=[begun])["ImportImageTasks"]
            if found["Status"] != "active":
                break
            time.sleep(0.1)
        self.assertEqual((found["Status"], found.get("StatusMessage")), ("completed", None))
        self.assertEqual(found["SnapshotDetails"][0]["SnapshotId"], snapshot)

        failed = "ClientError: Disk validation failed "
        chunked = machines.ova(folder / "chunked.ova", vmdks, extra_file_attribute=' ovf:chunkSize="1000000"')
        self.assertEqual(self.image(chunked, file_format="OVA")["StatusMessage"],
                         failed + "[OVF file parsing error: OVA with chunked disk files is not supported]")
        for name, content in (("gz.ova", b"\x1f\x8b" + bytes(4096)), ("zero.ova", bytes(10240)),
                              ("cut.ova", machines.ova(folder / "x.ova", vmdks).read_bytes()[:-20000])):
            (folder / name).write_bytes(content)
            self.assertEqual(self.image(folder / name, file_format="OVA")["StatusMessage"], failed + "[Unsupported OVA format]")

    def test_7_requests_are_refused_in_aws_form(self):
        self.make_role()
        at = {"Format": "RAW", "UserBucket": {"S3Bucket": "disks", "S3Key": "linux.raw"}}
        for parameters, code, words in (
                (dict(Architecture="arm64"), "InvalidParameter", "Parameter architecture=arm64 has an invalid format"),
                (dict(BootMode="uefi-preferred"), "InvalidParameter", "Parameter boot-mode=uefi-preferred has an invalid format"),
                (dict(Platform="Windows"), "UnsupportedOperation", "Windows guests are not modelled by this region"),
                (dict(Encrypted=True), "UnsupportedOperation", "Encrypted imports are not modelled by this region"),
                (dict(DryRun=True), "DryRunOperation", "Request would have succeeded")):
            with self.assertRaises(botocore.exceptions.ClientError) as caught:
                self.ec2.import_image(DiskContainers=[at], **parameters)
            error = caught.exception.response["Error"]
            self.assertEqual(error["Code"], code)
            self.assertIn(words, error["Message"])
        with self.assertRaises(botocore.exceptions.ClientError) as caught:
            self.ec2.cancel_import_task(ImportTaskId="import-ami-00000000000000000")
        self.assertEqual(caught.exception.response["Error"]["Code"], "InvalidConversionTaskId.Malformed")

    def manifest(self, key, disk, size_gib, sign):
        """A manifest of one part, as Amazon's sample of an image that lies in S3 already: its end is the size."""
        size = disk.stat().st_size
        urls = "".join(f"<{verb}-url>{sign(operation, disk.name).replace('&', '&amp;')}</{verb}-url>" for verb, operation in
                       (("head", "head_object"), ("get", "get_object"), ("delete", "delete_object")))
        text = ('<?xml version="1.0" encoding="UTF-8" standalone="yes"?><manifest><version>2010-11-15</version>'
                f'<file-format>RAW</file-format><importer><name>{disk.name}</name><version>1.0.0</version>'
                '<release>2010-11-15</release></importer><self-destruct-url>http://x</self-destruct-url>'
                f'<import><size>{size}</size><volume-size>{size_gib}</volume-size><parts count="1"><part index="0">'
                f'<byte-range end="{size}" start="0"/><key>{disk.name}</key>{urls}</part></parts></import></manifest>')
        self.s3.put_object(Bucket="disks", Key=key, Body=text.encode())
        return sign("get_object", key)

    def test_8_volumes_by_manifests_of_both_signatures(self):
        disk = harness.random_disk(self.lab.folder / "volume.raw", 3 * MIB, seed=5)
        self.upload(disk)
        new, old = (boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"],
                                 config=botocore.config.Config(signature_version=version)) for version in ("s3v4", "s3"))
        for number, client in enumerate((new, old)):
            def sign(operation, key):
                return client.generate_presigned_url(operation, {"Bucket": "disks", "Key": key}, ExpiresIn=3600)
            url = self.manifest(f"m{number}.xml", disk, 1, sign)
            self.assertEqual("AWSAccessKeyId=" in url, client is old)
            task = self.import_volume(disk, url)
            self.assertEqual((task["State"], task.get("StatusMessage")), ("completed", None))
            self.assertEqual(task["ImportVolume"]["BytesConverted"], disk.stat().st_size)
            volume = task["ImportVolume"]["Volume"]["Id"]
            (found,) = self.ec2.describe_volumes(VolumeIds=[volume])["Volumes"]
            self.assertEqual((found["State"], found["Size"]), ("available", 1))
            self.ec2.delete_volume(VolumeId=volume)
        wrong = url.replace("Signature=", "Signature=A")
        task = self.import_volume(disk, wrong)
        self.assertEqual(task["State"], "cancelled")
        self.assertIn("Reason 403 Forbidden", task["StatusMessage"])
        # One that waits for its manifest, and is cancelled.
        begun = self.ec2.import_volume(AvailabilityZone="us-east-1a", Volume={"Size": 1}, Image={
            "Format": "RAW", "Bytes": 1, "ImportManifestUrl": sign("get_object", "none.xml")})["ConversionTask"]
        self.assertEqual((begun["State"], begun["StatusMessage"]), ("active", "Pending"))
        self.ec2.cancel_conversion_task(ConversionTaskId=begun["ConversionTaskId"], ReasonMessage="enough")
        self.ec2.get_waiter("conversion_task_cancelled").wait(
            ConversionTaskIds=[begun["ConversionTaskId"]], WaiterConfig={"Delay": 1, "MaxAttempts": 60})

    def import_volume(self, disk, url):
        begun = self.ec2.import_volume(AvailabilityZone="us-east-1a", Volume={"Size": 1}, Image={
            "Format": "RAW", "Bytes": disk.stat().st_size, "ImportManifestUrl": url})["ConversionTask"]
        for _ in range(900):
            (task,) = self.ec2.describe_conversion_tasks(ConversionTaskIds=[begun["ConversionTaskId"]])["ConversionTasks"]
            if task["State"] in ("completed", "cancelled"):
                return task
            time.sleep(0.1)
        return task

    def test_9_a_killed_region_goes_on(self):
        self.make_role()
        at = {"Format": "RAW", "UserBucket": self.upload(machines.linux_disk(self.lab.folder / "linux.raw"))}
        port = re.search(r":(\d+)", os.environ["AWS_ENDPOINT_URL"]).group(1)
        task = self.ec2.import_image(DiskContainers=[at])["ImportTaskId"]
        time.sleep(0.2)
        self.lab.kill_region()
        self.lab.start_region(None, "--port", port)
        for _ in range(900):
            (found,) = self.ec2.describe_import_image_tasks(ImportTaskIds=[task])["ImportImageTasks"]
            if found["Status"] != "active":
                break
            time.sleep(0.1)
        self.assertEqual((found["Status"], found.get("StatusMessage")), ("completed", None))


if __name__ == "__main__":
    harness.main(__file__)
