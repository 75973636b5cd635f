#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# kill -9 of the region while boto3 writes to S3, EBS direct and EC2: what was acknowledged is there after the next
# start, each time.
#
# labels: crash
# timeout: 240
import base64
import concurrent.futures
import hashlib
import pathlib
import random
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import boto
import harness

BLOCK = harness.BLOCK
KILLS = 4
SEED = 4


def digest(data):
    return base64.b64encode(hashlib.sha256(data).digest()).decode()


def block(seed):
    return hashlib.sha256(str(seed).encode()).digest() * (BLOCK // 32)


class Writers:
    """Threads that write until the region goes away; each remembers what was acknowledged."""

    def __init__(self, folder, snapshot, round_number):
        self.folder, self.snapshot, self.round = folder, snapshot, round_number
        self.objects, self.blocks, self.tags = {}, {}, {}
        self.unclear = {}  # blocks whose last write was not answered
        self.acknowledged = 0
        self.lock = threading.Lock()

    def run(self, kill):
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(self.until_gone, work, number)
                    for work, number in ((self.put_objects, 0), (self.put_blocks, 0), (self.put_blocks, 1),
                                         (self.put_blocks, 2), (self.set_tags, 0))]
            kill(self)
            for job in jobs:
                job.result()

    @staticmethod
    def until_gone(work, number):
        try:
            work(number)
        except (boto.botocore.exceptions.HTTPClientError, boto.botocore.exceptions.ConnectionError):
            pass

    def done(self):
        with self.lock:
            self.acknowledged += 1

    def put_objects(self, number):
        s3 = boto.client(self.folder, "s3")
        for serial in range(1_000_000):
            key, body = f"{self.round}/{number}/{serial}", block(serial)[:serial * 37 % 9000]
            s3.put_object(Bucket="crash-test", Key=key, Body=body)
            self.objects[key] = body
            self.done()

    def put_blocks(self, number):
        ebs = boto.client(self.folder, "ebs")
        for serial in range(1_000_000):
            # Half of them replace a block that was acknowledged before.
            index = number * 600 + (serial if serial % 2 == 0 else serial // 4 * 2)
            data = block((self.round, index, serial))
            self.unclear[index] = data
            ebs.put_snapshot_block(SnapshotId=self.snapshot, BlockIndex=index, BlockData=data, DataLength=BLOCK,
                                   Checksum=digest(data), ChecksumAlgorithm="SHA256")
            self.blocks[index] = data
            del self.unclear[index]
            self.done()

    def set_tags(self, number):
        ec2 = boto.client(self.folder, "ec2")
        for serial in range(1_000_000):
            key, value = f"k{serial % 40}", f"{self.round} {serial}"
            self.tags[key] = (value, self.tags.get(key, ("", ""))[0])  # the new one, or what was before
            ec2.create_tags(Resources=[self.snapshot], Tags=[{"Key": key, "Value": value}])
            self.tags[key] = (value, value)
            self.done()


class RegionKill(harness.TestCase):
    def wait(self, ec2, snapshot):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            (found,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
            if found["State"] != "pending":
                return found["State"]
            time.sleep(0.1)
        return "pending"

    def read(self, ebs, snapshot):
        blocks = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"]
        return {item["BlockIndex"]: ebs.get_snapshot_block(
            SnapshotId=snapshot, BlockIndex=item["BlockIndex"], BlockToken=item["BlockToken"])["BlockData"].read()
            for item in blocks}

    def test_acknowledged_writes_survive(self):
        chance = random.Random(SEED)
        with harness.Lab() as lab:
            lab.start_region(None, "--port", 0)
            boto.client(lab.region_folder, "s3").create_bucket(Bucket="crash-test")
            ebs = boto.client(lab.region_folder, "ebs")
            snapshot = ebs.start_snapshot(VolumeSize=1, Timeout=4320)["SnapshotId"]
            objects, blocks, tags = {}, {}, {}
            for round_number in range(KILLS):
                writers = Writers(lab.region_folder, snapshot, round_number)
                writers.tags = {key: (value, value) for key, (value, _) in tags.items()}
                enough = chance.randrange(20, 200)

                def kill(running):
                    deadline = time.monotonic() + 60
                    while running.acknowledged < enough and time.monotonic() < deadline:
                        time.sleep(0.005)
                    lab.kill_region()

                writers.run(kill)
                self.assertGreater(writers.acknowledged, 0)
                lab.start_region(None)
                s3, ec2 = boto.client(lab.region_folder, "s3"), boto.client(lab.region_folder, "ec2")
                ebs = boto.client(lab.region_folder, "ebs")
                objects.update(writers.objects)
                for key, body in objects.items():
                    self.assertEqual(s3.get_object(Bucket="crash-test", Key=key)["Body"].read(), body, key)
                (found,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
                self.assertEqual(found["State"], "pending")
                kept = {tag["Key"]: tag["Value"] for tag in found.get("Tags", ())}
                for key, allowed in writers.tags.items():
                    self.assertIn(kept.get(key, ""), allowed, key)
                tags = {key: (value, value) for key, value in kept.items()}
                # As a client does: what was not answered is sent again.
                blocks.update(writers.blocks)
                for index, data in writers.unclear.items():
                    ebs.put_snapshot_block(SnapshotId=snapshot, BlockIndex=index, BlockData=data, DataLength=BLOCK,
                                           Checksum=digest(data), ChecksumAlgorithm="SHA256")
                    blocks[index] = data
                print(f"kill {round_number + 1} after {writers.acknowledged} answers: {len(objects)} objects, "
                      f"{len(blocks)} blocks, {len(tags)} tags there", flush=True)
            ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(blocks))
            lab.kill_region()  # while it is put together, or just after
            lab.start_region(None)
            ec2 = boto.client(lab.region_folder, "ec2")
            self.assertEqual(self.wait(ec2, snapshot), "completed")
            self.assertEqual(self.read(boto.client(lab.region_folder, "ebs"), snapshot), blocks)
            self.assertEqual([path.name for path in (lab.region_folder / "vm").glob("snap-*.puts")], [])

    def test_a_block_is_never_half_old_half_new(self):
        """An acknowledged block that is being replaced when the kill comes is the old or the new one."""
        with harness.Lab() as lab:
            lab.start_region(None, "--port", 0)
            ebs = boto.client(lab.region_folder, "ebs")
            snapshot = ebs.start_snapshot(VolumeSize=1)["SnapshotId"]
            last = {}
            for round_number in range(3):
                ebs = boto.client(lab.region_folder, "ebs")
                written = threading.Event()

                def write():
                    for serial in range(1_000_000):
                        data = block((round_number, serial))
                        last["new"] = data
                        try:
                            ebs.put_snapshot_block(SnapshotId=snapshot, BlockIndex=0, BlockData=data,
                                                   DataLength=BLOCK, Checksum=digest(data), ChecksumAlgorithm="SHA256")
                        except (boto.botocore.exceptions.HTTPClientError, boto.botocore.exceptions.ConnectionError):
                            return
                        last["old"] = data
                        written.set()

                writer = threading.Thread(target=write)
                writer.start()
                self.assertTrue(written.wait(60))
                time.sleep(0.05 * (round_number + 1))
                lab.kill_region()
                writer.join()
                lab.start_region(None)
            ebs = boto.client(lab.region_folder, "ebs")
            ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=1)
            self.assertEqual(self.wait(boto.client(lab.region_folder, "ec2"), snapshot), "completed")
            self.assertIn(self.read(ebs, snapshot)[0], (last["old"], last["new"]))


if __name__ == "__main__":
    harness.main(__file__)
