# SPDX-License-Identifier: Apache-2.0
"""Mixed load on a region with seeded faults: S3 objects, EBS direct snapshots and EC2 records, by boto3 that retries as
it always does. What was acknowledged must be there, and the region's memory must not grow."""

import base64
import concurrent.futures
import hashlib
import pathlib
import random
import threading
import time

import boto
import harness

# Rate of each kind of fault over all operations: about one request in fifteen.
FAULTS = (("throttle", "0.03"), ("server-error", "0.02"), ("unavailable", "0.01"), ("cut", "0.005"),
          ("cut-after", "0.01"))
SAMPLE_SECONDS = 1.0


def content(seed, size):
    return random.Random(seed).randbytes(size)


class Load:
    def __init__(self, lab, seconds, seed):
        self.lab, self.seed = lab, seed
        for service in ("s3", "ebs", "ec2"):
            self.client(service)  # reads the models: not part of the time below
        self.end = time.monotonic() + seconds
        self.lock = threading.Lock()
        self.lost = []
        self.counts = {}
        self.samples = []  # resident bytes of the region's process

    def count(self, what):
        with self.lock:
            self.counts[what] = self.counts.get(what, 0) + 1

    def lose(self, what):
        with self.lock:
            self.lost.append(what)

    def under_way(self):
        return time.monotonic() < self.end

    def client(self, service):
        return boto.client(self.lab.region_folder, service, attempts=12)

    # --- S3: objects are put, read again, some deleted

    def objects(self, number):
        s3 = self.client("s3")
        bucket = f"load-{number}"
        s3.create_bucket(Bucket=bucket)
        chance = random.Random(self.seed * 100 + number)
        kept, serial = {}, 0
        while self.under_way():
            serial += 1
            key, size = f"object/{serial}", chance.choice((0, 1, 4096, 300_000, 1_500_000))
            s3.put_object(Bucket=bucket, Key=key, Body=content(f"{number} {serial}", size))
            self.count("objects put")
            kept[key] = (serial, size)
            if chance.random() < 0.5:
                self.check_object(s3, bucket, number, key, *kept[key])
            if len(kept) > 40:
                gone = chance.choice(sorted(kept))
                s3.delete_object(Bucket=bucket, Key=gone)
                del kept[gone]
        self.lab.ok("region", "faults", "list")  # the region still answers
        for key, (made, size) in kept.items():
            self.check_object(s3, bucket, number, key, made, size)
        listed = {item["Key"] for page in s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
                  for item in page.get("Contents", ())}
        if listed != set(kept):
            self.lose(f"{bucket}: {sorted(listed ^ set(kept))}")

    def check_object(self, s3, bucket, number, key, serial, size):
        try:
            got = s3.get_object(Bucket=bucket, Key=key)["Body"].read()
        except boto.botocore.exceptions.ClientError as error:
            if error.response["Error"]["Code"] in ("NoSuchKey", "404"):
                self.lose(f"{bucket}/{key}: {error}")
                return
            raise
        if got != content(f"{number} {serial}", size):
            self.lose(f"{bucket}/{key}: other bytes")
        self.count("objects read")

    # --- EBS: a snapshot is written, completed, read, deleted

    def snapshots(self, number):
        ebs, ec2 = self.client("ebs"), self.client("ec2")
        chance = random.Random(self.seed * 200 + number)
        serial = 0
        while self.under_way():
            serial += 1
            snapshot = ebs.start_snapshot(VolumeSize=1, Description=f"load {number} {serial}")["SnapshotId"]
            blocks = {index: hashlib.sha256(f"{number} {serial} {index}".encode()).digest() * (harness.BLOCK // 32)
                      for index in chance.sample(range(2048), 12)}
            for index, data in blocks.items():
                ebs.put_snapshot_block(
                    SnapshotId=snapshot, BlockIndex=index, BlockData=data, DataLength=harness.BLOCK,
                    ChecksumAlgorithm="SHA256", Checksum=base64.b64encode(hashlib.sha256(data).digest()).decode())
                self.count("blocks put")
            ebs.complete_snapshot(SnapshotId=snapshot, ChangedBlocksCount=len(blocks))
            while (state := ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"][0]["State"]) == "pending":
                time.sleep(0.05)
            listed = ebs.list_snapshot_blocks(SnapshotId=snapshot)["Blocks"] if state == "completed" else []
            if {item["BlockIndex"] for item in listed} != set(blocks):
                self.lose(f"{snapshot} is {state} and has {len(listed)} of {len(blocks)} blocks")
            for item in listed[:4]:
                got = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=item["BlockIndex"],
                                             BlockToken=item["BlockToken"])["BlockData"].read()
                if got != blocks[item["BlockIndex"]]:
                    self.lose(f"{snapshot} block {item['BlockIndex']}: other bytes")
                self.count("blocks read")
            try:
                ec2.delete_snapshot(SnapshotId=snapshot)
            except boto.botocore.exceptions.ClientError as error:
                # Deleted by a call whose answer was cut off.
                if error.response["Error"]["Code"] != "InvalidSnapshot.NotFound":
                    raise

    # --- EC2: tags of one snapshot

    def records(self, number):
        ebs, ec2 = self.client("ebs"), self.client("ec2")
        snapshot = ebs.start_snapshot(VolumeSize=1, Description=f"tags {number}")["SnapshotId"]
        serial = 0
        while self.under_way():
            serial += 1
            key = f"k{serial % 40}"
            ec2.create_tags(Resources=[snapshot], Tags=[{"Key": key, "Value": str(serial)}])
            self.count("tags set")
            (found,) = ec2.describe_snapshots(SnapshotIds=[snapshot])["Snapshots"]
            if {tag["Key"]: tag["Value"] for tag in found["Tags"]}.get(key) != str(serial):
                self.lose(f"tag {key} of {snapshot}")

    # --- memory

    def watch(self):
        pid = self.lab.region_pid()
        while self.under_way():
            fields = pathlib.Path(f"/proc/{pid}/statm").read_text().split()
            self.samples.append(int(fields[1]) * 4096)
            time.sleep(SAMPLE_SECONDS)

    def growth(self):
        """(middle of the second quarter, middle of the last quarter) of resident bytes."""
        quarter = max(1, len(self.samples) // 4)
        middle = lambda values: sorted(values)[len(values) // 2]
        return middle(self.samples[quarter:2 * quarter]), middle(self.samples[-quarter:])


def run(seconds, seed):
    """(load, faults): the load when it has ended, and how many faults hit."""
    with harness.Lab() as lab:
        lab.start_region(None, "--port", 0)
        for kind, rate in FAULTS:
            lab.ok("region", "faults", "add", "*", kind, "always", f"rate={rate}", f"seed={seed}")
        load = Load(lab, seconds, seed)
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            jobs = [pool.submit(load.watch), pool.submit(load.objects, 1), pool.submit(load.objects, 2),
                    pool.submit(load.snapshots, 1), pool.submit(load.snapshots, 2), pool.submit(load.records, 1)]
            for job in jobs:
                job.result()
        faults = sum(1 for line in lab.requests() if line.get("fault"))
        print(f"{seconds} s, seed {seed}: {load.counts}, {faults} faults")
        return load, faults
