#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Strangers read the region after a migration: Debian's awscli and boto3, with the profile that
# `vmferry region env` prints. A wrong key is refused.
#
# labels: interop
# timeout: 240
# lock: guest
import json
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

TINY = harness.guest("tiny")
harness.require_tools("qemu-img", "qemu-system-x86_64")
AWS = "/usr/bin/aws"  # Debian's: another one may be first in PATH
PYTHON = "/usr/bin/python3"
if not pathlib.Path(AWS).exists():
    harness.skip("awscli of Debian is missing: apt-get install awscli")
if subprocess.run([PYTHON, "-c", "import boto3"], capture_output=True).returncode != 0:
    harness.skip("boto3 of Debian is missing: apt-get install python3-boto3")

BOTO3 = """
import json, os, boto3, botocore.exceptions
session = boto3.Session()
at = dict(endpoint_url=os.environ["AWS_ENDPOINT_URL"])
ec2, s3, sts, ebs = (session.client(name, **at) for name in ("ec2", "s3", "sts", "ebs"))
instances = [i for page in ec2.get_paginator("describe_instances").paginate()
             for r in page["Reservations"] for i in r["Instances"]]
snapshot = ec2.create_snapshot(VolumeId=os.environ["VOLUME"], Description="by boto3")["SnapshotId"]
ec2.get_waiter("snapshot_completed").wait(SnapshotIds=[snapshot], WaiterConfig={"Delay": 1})
blocks = ebs.list_snapshot_blocks(SnapshotId=snapshot)
first = blocks["Blocks"][0]
block = ebs.get_snapshot_block(SnapshotId=snapshot, BlockIndex=first["BlockIndex"], BlockToken=first["BlockToken"])
ec2.delete_snapshot(SnapshotId=snapshot)
s3.create_bucket(Bucket="by-boto3")
s3.put_object(Bucket="by-boto3", Key="a key/with ümlaut", Body=b"content")
body = s3.get_object(Bucket="by-boto3", Key="a key/with ümlaut", Range="bytes=3-")["Body"].read().decode()
s3.delete_object(Bucket="by-boto3", Key="a key/with ümlaut")
s3.delete_bucket(Bucket="by-boto3")
wrong = dict(at, aws_access_key_id=session.get_credentials().access_key, aws_secret_access_key="x" * 40)
refused = {}
for name, call in (("s3", lambda c: c.list_buckets()), ("ec2", lambda c: c.describe_instances())):
    try:
        call(session.client(name, **wrong))
    except botocore.exceptions.ClientError as error:
        refused[name] = [error.response["ResponseMetadata"]["HTTPStatusCode"], error.response["Error"]["Code"]]
print(json.dumps(dict(instances=[[i["InstanceId"], i["State"]["Name"]] for i in instances], body=body,
                      account=sts.get_caller_identity()["Account"], volume_size=blocks["VolumeSize"],
                      block_size=blocks["BlockSize"], block_length=len(block["BlockData"].read()),
                      refused=refused)))
"""


class AwsTools(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = harness.Lab()
        cls.addClassCleanup(cls.lab.__exit__, None, None, None)
        source = harness.copy_sparse(TINY, cls.lab.folder / "tiny.raw")
        out = cls.lab.ok("migrate", source).out
        cls.facts = cls.lab.status(re.search(r"mig-[a-z0-9]+", out).group(0))["facts"]
        cls.env = cls.lab.ok("region", "env").out

    def aws(self, command, change="true"):
        """Runs `aws` as a user does: in a shell after eval of `region env`."""
        # A shell function named aws adds --endpoint-url, which this version needs; it has to call Debian's.
        done = subprocess.run(["bash", "-c", f'PATH=/usr/bin:/bin; {self.env}\n{change}\naws {command}'],
                              capture_output=True, text=True, env=self.lab.environment, timeout=120)
        return done

    def read(self, command):
        done = self.aws(command + " --output json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_awscli_reads_what_happened(self):
        instance, volume = self.facts["instance_id"], self.facts["volume_id"]
        listed = self.aws("s3 ls")
        self.assertEqual((listed.returncode, listed.stdout), (0, ""), listed.stderr)  # the bucket is gone
        (reservation,) = self.read("ec2 describe-instances")["Reservations"]
        (found,) = reservation["Instances"]
        self.assertEqual((found["InstanceId"], found["State"]["Name"]), (instance, "running"))
        self.assertEqual(found["BlockDeviceMappings"][0]["Ebs"]["VolumeId"], volume)
        (status,) = self.read(f"ec2 describe-instance-status --instance-ids {instance}")["InstanceStatuses"]
        self.assertEqual(status["InstanceStatus"]["Status"], "ok")
        console = self.aws(f"ec2 get-console-output --instance-id {instance} --latest --output text")
        self.assertEqual(console.returncode, 0, console.stderr)
        self.assertIn("login:", console.stdout)
        (found,) = self.read("ec2 describe-volumes")["Volumes"]
        self.assertEqual((found["VolumeId"], found["Size"], found["State"]), (volume, 1, "in-use"))
        (task,) = self.read("ec2 describe-conversion-tasks")["ConversionTasks"]
        self.assertEqual((task["ConversionTaskId"], task["State"]), (self.facts["import_task"], "completed"))
        self.assertEqual(task["ImportInstance"]["InstanceId"], instance)
        self.assertEqual(self.read("ec2 describe-snapshots --owner-ids self")["Snapshots"], [])
        self.assertEqual(len(self.read("ec2 describe-regions")["Regions"]), 1)
        self.assertEqual(len(self.read("ec2 describe-availability-zones")["AvailabilityZones"]), 1)

    def test_awscli_copies_a_file_of_several_parts(self):
        big = harness.random_disk(self.lab.folder / "big", 20 * harness.MIB, seed=7)
        for command in ("s3 mb s3://by-awscli", f"s3 cp --quiet {big} s3://by-awscli/some/big",
                        f"s3 cp --quiet s3://by-awscli/some/big {big}.back"):
            done = self.aws(command)
            self.assertEqual(done.returncode, 0, command + done.stderr)
        self.assertIn("some/big", self.aws("s3 ls --recursive s3://by-awscli").stdout)
        self.assertEqual(pathlib.Path(f"{big}.back").read_bytes(), big.read_bytes())
        done = self.aws("s3 rb --force s3://by-awscli")
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_a_wrong_key_is_refused(self):
        wrong = "unset AWS_PROFILE; export AWS_ACCESS_KEY_ID={} AWS_SECRET_ACCESS_KEY=" + "x" * 40
        for key, s3_code in ((self.lab.aws().key, "SignatureDoesNotMatch"),
                             ("AKIAIOSFODNN7EXAMPLE", "InvalidAccessKeyId")):
            done = self.aws("s3api list-buckets", wrong.format(key))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn(s3_code, done.stderr)
            done = self.aws("s3api head-bucket --bucket any-bucket", wrong.format(key))
            self.assertIn("403", done.stderr)
            done = self.aws("ec2 describe-instances", wrong.format(key))
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("AuthFailure", done.stderr)

    def test_boto3_reads_and_writes(self):
        variables = self.lab.aws_environment(VOLUME=self.facts["volume_id"])
        done = subprocess.run([PYTHON, "-c", BOTO3], capture_output=True, text=True, timeout=120,
                              env={**self.lab.environment, **variables})
        self.assertEqual(done.returncode, 0, done.stderr)
        seen = json.loads(done.stdout)
        self.assertEqual(seen["instances"], [[self.facts["instance_id"], "running"]])
        self.assertEqual(seen["body"], "tent")
        self.assertRegex(seen["account"], r"^\d{12}$")
        self.assertEqual((seen["volume_size"], seen["block_size"], seen["block_length"]), (1, 524288, 524288))
        self.assertEqual(seen["refused"], {"s3": [403, "SignatureDoesNotMatch"], "ec2": [401, "AuthFailure"]})


if __name__ == "__main__":
    harness.main(__file__)
