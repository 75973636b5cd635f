#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# boto3 of Debian writes and reads snapshots by the EBS direct APIs: all six calls, what they enforce, and what EC2 says
# of such snapshots.
#
# labels: interop
# timeout: 240
import base64
import concurrent.futures
import hashlib
import pathlib
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import boto
import harness

BLOCK = harness.BLOCK
ONES = bytes([1]) * BLOCK
TWOS = bytes([2]) * BLOCK


def digest(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def block(seed):
    """Its own content for each seed, and for each 16 bytes of it."""
    return hashlib.shake_256(str(seed).encode()).digest(4096) * (BLOCK // 4096)


def linear(blocks):
    joined = b"".join(hashlib.sha256(blocks[index]).digest() for index in sorted(blocks))
    return base64.b64encode(hashlib.sha256(joined).digest()).decode()


class EbsDirect(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = harness.Lab()
        cls.addClassCleanup(cls.lab.__exit__, None, None, None)
        cls.lab.start_region(None, "--port", 0)
        cls.ebs = boto.client(cls.lab.region_folder, "ebs", connections=32)
        cls.ec2 = boto.client(cls.lab.region_folder, "ec2")

    def put(self, snapshot, index, data, **changes):
        return self.ebs.put_snapshot_block(**{**dict(
            SnapshotId=snapshot, BlockIndex=index, BlockData=data, DataLength=BLOCK, Checksum=digest(data),
            ChecksumAlgorithm="SHA256"), **changes})

    def wait(self, snapshot):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            (found,) = self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
            if found["State"] != "pending":
                return found
            time.sleep(0.1)
        raise TimeoutError(snapshot)

    def make(self, blocks, **parameters):
        """A completed snapshot of these blocks."""
        snapshot = self.ebs.start_snapshot(**{"VolumeSize": 1, **parameters})["SnapshotId"]
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            list(pool.map(lambda item: self.put(snapshot, *item), blocks.items()))
        done = self.ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(blocks), Checksum=linear(blocks),
                                          ChecksumAlgorithm="SHA256", ChecksumAggregationMethod="LINEAR")
        self.assertIn(done["Status"], ("pending", "completed"))
        self.assertEqual(self.wait(snapshot)["State"], "completed")
        return snapshot

    def read(self, snapshot):
        """index to content, by pages."""
        found, token = {}, {}
        while True:
            page = self.ebs.list_snapshot_blocks(SnapshotId=snapshot, MaxResults=100, **token)
            self.assertEqual(page["BlockSize"], BLOCK)
            for item in page["Blocks"]:
                answer = self.ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=item["BlockIndex"],
                                                     BlockToken=item["BlockToken"])
                data = answer["BlockData"].read()
                self.assertEqual((answer["DataLength"], answer["Checksum"], answer["ChecksumAlgorithm"]),
                                 (BLOCK, digest(data), "SHA256"))
                found[item["BlockIndex"]] = data
            if "NextToken" not in page:
                return found
            token = {"NextToken": page["NextToken"]}

    def test_known_vectors(self):
        self.assertEqual(digest(bytes(BLOCK)), "B4VNL+8pega6gWheZgwzLeNtXRjVRpJ9MNqtbX/aFUE=")
        snapshot = self.ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        self.put(snapshot, 7, TWOS, Checksum="Ioxb8/mw3beyMReNfgZ6/5ZqGRsfzT7Q4uNx7KM/zfw=")
        self.put(snapshot, 3, ONES, Checksum="M6FQvOsTwamSIx5ltPrRaBUhL8Bs20CJltMu6yzvnrs=")
        self.ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=2, ChecksumAlgorithm="SHA256",
                                   ChecksumAggregationMethod="LINEAR",
                                   Checksum="fccGN1xyY7l5uqsw58BLULbsU8thbz9pDvzr9oCk5yk=")
        self.assertEqual(self.wait(snapshot)["State"], "completed")

    def test_written_blocks_are_read_back(self):
        blocks = {index: block(index) for index in (*range(0, 230, 2), 2047)}
        blocks[4] = bytes(BLOCK)  # a written zero is listed
        started = self.ebs.start_snapshot(VolumeSize=1, Description="by boto3",
                                          Tags=[{"Key": "Name", "Value": "first"}])
        self.assertEqual((started["Status"], started["VolumeSize"], started["BlockSize"], started["Description"],
                          started["Tags"], started["SseType"] if "SseType" in started else "none"),
                         ("pending", 1, BLOCK, "by boto3", [{"Key": "Name", "Value": "first"}], "none"))
        snapshot = started["SnapshotId"]
        for index, data in blocks.items():
            echoed = self.put(snapshot, index, data, Progress=50)
            self.assertEqual((echoed["Checksum"], echoed["ChecksumAlgorithm"]), (digest(data), "SHA256"))
        (pending,) = self.ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
        self.assertEqual((pending["State"], pending["Progress"], pending["VolumeId"]),
                         ("pending", "50%", "vol-ffffffff"))
        self.assertEqual(boto.refusal(self.ebs.list_snapshot_blocks, SnapshotId=snapshot)[1:3],
                         ("ValidationException", "INVALID_SNAPSHOT_ID"))
        self.ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(blocks))
        done = self.wait(snapshot)
        self.assertEqual((done["State"], done["Progress"], done["VolumeSize"], done["Description"], done["Encrypted"],
                          done["Tags"]),
                         ("completed", "100%", 1, "by boto3", False, [{"Key": "Name", "Value": "first"}]))
        self.assertEqual(self.read(snapshot), blocks)
        # Repeating the end is not an error; another count is.
        self.assertEqual(self.ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(blocks))["Status"],
                         "completed")
        self.assertEqual(boto.refusal(self.ebs.complete_snapshot, SnapshotId=snapshot, ChangedBlocksCount=1)[:2],
                         (400, "ValidationException"))
        self.assertEqual(boto.refusal(self.put, snapshot, 0, ONES)[1:3],
                         ("ValidationException", "INVALID_SNAPSHOT_ID"))
        self.ec2.delete_snapshot(SnapshotId=snapshot)
        self.assertEqual(boto.refusal(self.ebs.list_snapshot_blocks, SnapshotId=snapshot)[:3],
                         (404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"))

    def test_what_is_wrong_is_refused(self):
        snapshot = self.ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
        bad_value = (400, "ValidationException", "INVALID_PARAMETER_VALUE")
        self.assertEqual(boto.refusal(self.put, snapshot, 0, ONES, Checksum=digest(TWOS))[:3], bad_value)
        self.assertEqual(boto.refusal(self.put, snapshot, 0, ONES[:-1])[:3], bad_value)
        self.assertEqual(boto.refusal(self.put, snapshot, 0, ONES + b"1", DataLength=BLOCK + 1)[:3], bad_value)
        self.assertEqual(boto.refusal(self.put, snapshot, 2048, ONES)[:3],
                         (400, "ValidationException", "INVALID_BLOCK"))
        self.assertEqual(boto.refusal(self.put, "snap-0123456789abcdef0", 0, ONES)[:3],
                         (404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"))
        self.put(snapshot, 0, ONES)
        self.put(snapshot, 0, TWOS)  # takes the place of the first
        self.put(snapshot, 9, ONES)
        end = dict(SnapshotId=snapshot, ChecksumAlgorithm="SHA256", ChecksumAggregationMethod="LINEAR")
        self.assertEqual(boto.refusal(self.ebs.complete_snapshot, SnapshotId=snapshot, ChangedBlocksCount=3)[:3],
                         bad_value)
        self.assertEqual(boto.refusal(self.ebs.complete_snapshot, ChangedBlocksCount=2,
                                      Checksum=linear({0: ONES, 9: ONES}), **end)[:3], bad_value)
        self.ebs.complete_snapshot(ChangedBlocksCount=2, Checksum=linear({0: TWOS, 9: ONES}), **end)
        self.wait(snapshot)
        self.assertEqual(self.read(snapshot), {0: TWOS, 9: ONES})
        self.assertEqual(boto.refusal(self.ebs.start_snapshot, VolumeSize=65537)[2], "INVALID_VOLUME_SIZE")
        self.assertEqual(boto.refusal(self.ebs.start_snapshot, VolumeSize=1, Timeout=4321)[:3], bad_value)
        self.assertEqual(boto.refusal(self.ebs.start_snapshot, VolumeSize=1, ParentSnapshotId="snap-0123456789abcdef0")
                         [:3], (404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND"))
        self.assertEqual(boto.refusal(self.ebs.start_snapshot, VolumeSize=1, ParentSnapshotId=snapshot, Encrypted=True)
                         [:2], (400, "ValidationException"))
        for token in ("", "AAAA", "A" * 76):
            self.assertEqual(boto.refusal(self.ebs.get_snapshot_block, SnapshotId=snapshot, BlockIndex=0,
                                          BlockToken=token or "A")[:3],
                             (400, "ValidationException", "INVALID_BLOCK_TOKEN"))
        (first, _) = self.ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
        self.assertEqual(boto.refusal(self.ebs.get_snapshot_block, SnapshotId=snapshot, BlockIndex=9,
                                      BlockToken=first["BlockToken"])[2], "INVALID_BLOCK_TOKEN")
        self.assertEqual(boto.refusal(self.ebs.list_snapshot_blocks, SnapshotId=snapshot, NextToken="AAAA")[2],
                         "INVALID_PAGE_TOKEN")

    def test_client_tokens(self):
        request = dict(VolumeSize=2, Description="once", ClientToken="the-token")
        first = self.ebs.start_snapshot(**request)
        self.assertEqual(self.ebs.start_snapshot(**request)["SnapshotId"], first["SnapshotId"])
        self.assertEqual(boto.refusal(self.ebs.start_snapshot, **{**request, "VolumeSize": 3})[:2],
                         (409, "ConflictException"))
        self.ec2.delete_snapshot(SnapshotId=first["SnapshotId"])  # also a pending one can go
        self.assertNotIn(first["SnapshotId"],
                         [s["SnapshotId"] for s in self.ec2.describe_snapshots(OwnerIds=["self"])["Snapshots"]])
        self.assertNotEqual(self.ebs.start_snapshot(**request)["SnapshotId"], first["SnapshotId"])

    def test_parents_and_changed_blocks(self):
        old = {index: block(index) for index in range(120)}
        parent = self.make(old)
        new = {0: block("new"), 5: old[5], 200: block(200)}
        child = self.make(new, ParentSnapshotId=parent, VolumeSize=2)
        self.assertEqual(self.read(child), {**old, **new})
        self.assertEqual(boto.refusal(self.ebs.start_snapshot, VolumeSize=1, ParentSnapshotId=child)[2],
                         "INVALID_VOLUME_SIZE")

        def changed(first, second):
            found, token = {}, {}
            while True:
                page = self.ebs.list_changed_blocks(FirstSnapshotId=first, SecondSnapshotId=second, MaxResults=100,
                                                    **token)
                for item in page["ChangedBlocks"]:
                    found[item["BlockIndex"]] = ("FirstBlockToken" in item, "SecondBlockToken" in item)
                    for name, snapshot in (("FirstBlockToken", first), ("SecondBlockToken", second)):
                        if name in item:
                            self.ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=item["BlockIndex"],
                                                        BlockToken=item[name])
                if "NextToken" not in page:
                    return found
                token = {"NextToken": page["NextToken"]}

        self.assertEqual(changed(parent, child), {0: (True, True), 200: (False, True)})
        self.assertEqual(changed(child, parent), {0: (True, True), 200: (True, False)})
        self.assertEqual(changed(child, child), {})
        empty = self.make({}, VolumeSize=1)
        self.assertEqual(boto.refusal(self.ebs.list_changed_blocks, FirstSnapshotId=empty, SecondSnapshotId=child)[2],
                         "UNRELATED_SNAPSHOTS")
        self.assertEqual(boto.refusal(self.ebs.list_changed_blocks, SecondSnapshotId=child)[1], "ValidationException")
        other = self.make({index: block(f"other {index}") for index in range(150)}, ParentSnapshotId=parent, VolumeSize=1)
        self.assertEqual(len(changed(parent, other)), 150)  # two pages

    def test_encryption_by_default(self):
        self.assertFalse(self.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"])
        plain = self.make({1: ONES})
        try:
            self.assertTrue(self.ec2.enable_ebs_encryption_by_default()["EbsEncryptionByDefault"])
            self.assertTrue(self.ec2.get_ebs_encryption_by_default()["EbsEncryptionByDefault"])
            self.assertIn("aws/ebs", self.ec2.get_ebs_default_kms_key_id()["KmsKeyId"])
            self.assertEqual(self.ebs.start_snapshot(VolumeSize=1)["KmsKeyArn"].split(":")[:3], ["arn", "aws", "kms"])
            secret = self.make({1: ONES})
        finally:
            self.assertFalse(self.ec2.disable_ebs_encryption_by_default()["EbsEncryptionByDefault"])
        (found,) = self.ec2.describe_snapshots(SnapshotIds=[secret])["Snapshots"]
        self.assertTrue(found["Encrypted"] and found["KmsKeyId"].startswith("arn:aws:kms:"))
        self.assertEqual(self.read(secret), {1: ONES})
        # What nobody wrote reads as garbage for whoever gets a volume of it, and is still not listed.
        for snapshot, garbage in ((plain, False), (secret, True)):
            with open(self.lab.region_folder / "vm" / f"{snapshot}.raw", "rb") as raw:
                self.assertEqual(raw.read(4096) != bytes(4096), garbage)
                raw.seek(BLOCK)
                self.assertEqual(raw.read(BLOCK), ONES)
        child = self.make({2: TWOS}, ParentSnapshotId=secret)
        (inherited,) = self.ec2.describe_snapshots(SnapshotIds=[child])["Snapshots"]
        self.assertEqual(inherited.get("KmsKeyId"), found["KmsKeyId"])

    def test_pending_snapshots_time_out(self):
        snapshot = self.ebs.start_snapshot(VolumeSize=1, Timeout=10)["SnapshotId"]
        self.put(snapshot, 0, ONES)
        self.lab.ok("region", "faults", "add", "snapshot.timeout", "fail")
        self.assertEqual(boto.refusal(self.put, snapshot, 1, ONES)[:3],
                         (400, "ValidationException", "WRITE_REQUEST_TIMEOUT"))
        self.assertEqual(self.wait(snapshot)["State"], "error")
        self.assertEqual(boto.refusal(self.ebs.complete_snapshot, SnapshotId=snapshot, ChangedBlocksCount=1)[2],
                         "WRITE_REQUEST_TIMEOUT")
        self.assertEqual(list((self.lab.region_folder / "vm").glob(f"{snapshot}.*")), [])
        self.ec2.delete_snapshot(SnapshotId=snapshot)

    def test_quotas_behind_a_switch(self):
        folder = self.lab.folder / "limited"
        self.lab.start_region(folder, "--port", 0, "--quotas")
        limited = boto.client(folder, "ebs")
        refused = []
        began = time.monotonic()
        for _ in range(60):
            try:
                limited.start_snapshot(VolumeSize=1)
            except boto.botocore.exceptions.ClientError as error:
                refused.append((error.response["Error"]["Code"], error.response.get("Reason")))
        # 10 at once and 10 a second; a machine that makes fewer is never refused.
        if time.monotonic() - began < 4:
            self.assertEqual(set(refused), {("RequestThrottledException", "ACCOUNT_THROTTLED")})
        self.assertGreaterEqual(60 - len(refused), 10)


if __name__ == "__main__":
    harness.main(__file__)
