#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# What the region's operator sees: status, regions that leave nothing behind, faults by rate and in each service's words.
#
# labels: e2e
# timeout: 180
import json
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import boto
import harness


class RegionOperations(harness.TestCase):
    def test_status_tells_what_there_is(self):
        with harness.Lab() as lab:
            lab.start_region(None, "--port", 0)
            before = lab.ok("region", "status", "--output", "json").json()
            for name in ("instances", "tasks", "images"):
                self.assertEqual(before[name], [])
            self.assertEqual((before["volumes"], before["snapshots"]), ({}, {}))
            s3, ebs = (boto.client(lab.region_folder, name) for name in ("s3", "ebs"))
            s3.create_bucket(Bucket="status-test")
            s3.put_object(Bucket="status-test", Key="k", Body=bytes(range(256)) * 40_000)
            ebs.start_snapshot(VolumeSize=1)
            after = lab.ok("region", "status", "--output", "json").json()
            self.assertEqual(after["snapshots"], {"pending": 1})
            self.assertGreaterEqual(after["space_bytes"]["objects"], before["space_bytes"]["objects"] + 10_000_000)
            self.assertGreaterEqual(after["space_bytes"]["total"], after["space_bytes"]["objects"])
            text = lab.ok("region", "status").out
            self.assertIn("1 pending", text)
            self.assertIn(after["endpoint"], text)

    def test_status_names_tasks_and_instances(self):
        with harness.Lab() as lab:
            lab.start_region(None, "--port", 0)
            s3, ec2 = boto.client(lab.region_folder, "s3"), boto.client(lab.region_folder, "ec2")
            url = s3.generate_presigned_url("get_object", {"Bucket": "not-yet", "Key": "manifest.xml"})
            task = ec2.import_instance(
                Platform="Linux", LaunchSpecification={"Architecture": "x86_64", "InstanceType": "t3.micro"},
                DiskImages=[{"Image": {"Format": "RAW", "Bytes": 1 << 20, "ImportManifestUrl": url},
                             "Volume": {"Size": 1}}])["ConversionTask"]
            told = lab.ok("region", "status", "--output", "json").json()
            self.assertEqual([(item["id"], item["state"]) for item in told["tasks"]],
                             [(task["ConversionTaskId"], "active")])
            instance = task["ImportInstance"]["InstanceId"]
            self.assertEqual([(item["id"], item["state"]) for item in told["instances"]], [(instance, "stopped")])
            text = lab.ok("region", "status").out
            self.assertIn(task["ConversionTaskId"], text)
            self.assertIn(instance, text)

    def test_an_ephemeral_region_leaves_nothing(self):
        with harness.Lab() as lab:
            folder = lab.folder / "gone"
            lab.start_region(folder, "--port", 0, "--ephemeral")
            boto.client(folder, "s3").create_bucket(Bucket="for-now")
            self.assertTrue((folder / "region.db").exists())
            lab.ok("region", "stop", "--folder", folder)
            self.assertFalse(folder.exists())
            # Killed: what it left goes when it is stopped.
            lab.start_region(folder, "--port", 0, "--ephemeral")
            pid = json.loads((folder / "region.json").read_text())["pid"]
            os.kill(pid, signal.SIGKILL)
            while harness.process_runs(pid):
                time.sleep(0.01)
            self.assertTrue(folder.exists())
            lab.ok("region", "stop", "--folder", folder)
            self.assertFalse(folder.exists())

    def test_a_region_that_is_to_stay_stays(self):
        with harness.Lab() as lab:
            folder = lab.folder / "kept"
            lab.start_region(folder, "--port", 0)
            boto.client(folder, "s3").create_bucket(Bucket="to-stay")
            lab.ok("region", "stop", "--folder", folder)
            self.assert_error(lab.run("region", "start", "--folder", folder, "--port", 0, "--ephemeral"), 5,
                              "region.not_ephemeral")
            lab.start_region(folder, "--port", 0)
            self.assertEqual([b["Name"] for b in boto.client(folder, "s3").list_buckets()["Buckets"]], ["to-stay"])

    def test_faults_speak_each_services_words(self):
        with harness.Lab() as lab:
            lab.start_region(None, "--port", 0)
            clients = {name: boto.client(lab.region_folder, name) for name in ("s3", "ec2", "ebs", "sts", "iam")}
            calls = {"s3": clients["s3"].list_buckets, "ec2": clients["ec2"].describe_instances,
                     "ebs": lambda: clients["ebs"].start_snapshot(VolumeSize=1),
                     "sts": clients["sts"].get_caller_identity, "iam": clients["iam"].list_roles}
            expected = {
                "throttle": {"s3": (503, "SlowDown"), "ec2": (503, "RequestLimitExceeded"),
                             "ebs": (400, "RequestThrottledException"), "sts": (400, "Throttling"),
                             "iam": (400, "Throttling")},
                "server-error": {"s3": (500, "InternalError"), "ec2": (500, "InternalError"),
                                 "ebs": (500, "InternalServerException"), "sts": (500, "InternalFailure"),
                                 "iam": (500, "InternalFailure")},
                "expired-token": {"s3": (400, "ExpiredToken"), "ec2": (400, "RequestExpired"),
                                  "ebs": (403, "ExpiredTokenException"), "sts": (403, "ExpiredToken"),
                                  "iam": (403, "ExpiredToken")},
            }
            for kind, by_service in expected.items():
                lab.ok("region", "faults", "add", "*", kind, len(calls))
                self.assertEqual({name: boto.refusal(call)[:2] for name, call in calls.items()}, by_service)
                for call in calls.values():
                    call()
            # boto3 knows them for what they are: it tries again and gets through.
            lab.ok("region", "faults", "add", "*", "throttle", 2)
            boto.client(lab.region_folder, "ec2", attempts=5).describe_instances()
            boto.client(lab.region_folder, "ebs", attempts=5).start_snapshot(VolumeSize=1)

    def test_faults_by_rate_and_seed(self):
        with harness.Lab() as lab:
            lab.start_region(None, "--port", 0)
            s3 = boto.client(lab.region_folder, "s3")

            def pattern():
                hits = ""
                for _ in range(60):
                    try:
                        s3.list_buckets()
                        hits += "."
                    except boto.botocore.exceptions.ClientError:
                        hits += "x"
                return hits

            lab.ok("region", "faults", "add", "ListBuckets", "throttle", "always", "rate=30%", "seed=5")
            self.assertIn("rate of 0.3 (seed 5)", lab.ok("region", "faults", "list").out)
            first = pattern()
            self.assertTrue(5 < first.count("x") < 35, first)
            lab.ok("region", "faults", "clear")
            self.assertEqual(pattern(), "." * 60)
            lab.ok("region", "faults", "add", "ListBuckets", "throttle", "always", "rate=0.3", "seed=5")
            self.assertEqual(pattern(), first)
            self.assert_error(lab.run("region", "faults", "add", "ListBuckets", "throttle", "rate=2"), 2)


if __name__ == "__main__":
    harness.main(__file__)
