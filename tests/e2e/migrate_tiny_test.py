#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Migrates the tiny guest into the embedded region, as a raw disk and as a stream-optimised VMDK:
# it boots there, the certificate accounts for every block, qemu-img finds the volume equal to the
# source, and nothing but instance and volume stays.
#
# labels: e2e
# timeout: 240
# lock: guest
import pathlib
import re
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

TINY = harness.guest("tiny")
harness.require_tools("qemu-img", "qemu-system-x86_64")


class MigrateTiny(harness.TestCase):
    def check_result(self, lab, migration, raw):
        view = lab.status(migration)
        self.assertEqual(view["state"], "done")
        self.assertEqual([(step["step"], step["status"]) for step in view["steps"]],
                         [(step, "done") for step in
                          ("assess", "transfer", "import", "verify", "launch", "check", "clean")])
        self.assertEqual(view["confirmed_parts"], view["total_parts"])
        facts = view["facts"]
        instance, volume = facts["instance_id"], facts["volume_id"]
        kept = {(entry["kind"], entry["resource"]): entry["state"]
                for entry in view["ledger"] if entry["state"] != "removed"}
        self.assertEqual(kept, {("instance", instance): "kept", ("volume", volume): "kept"})
        text = lab.ok("status", migration).out
        for word in (migration, "done", instance, volume, "identical", str(facts["certificate"])):
            self.assertIn(word, text)
        self.assertIn(migration, lab.ok("status").out)

        certificate = lab.certificate(migration)
        self.assertEqual(certificate["verdict"], "identical")
        self.assertEqual(certificate["root"], certificate["target_root"])
        blocks = certificate["volume_size_bytes"] // harness.BLOCK
        self.assertEqual(certificate["volume_size_bytes"] % harness.GIB, 0)
        counts = certificate["compared_blocks"]
        self.assertEqual(counts["total"], blocks)
        self.assertEqual(counts["compared"] + counts["unlisted"], blocks)
        self.assertEqual(counts["identical"], counts["compared"])
        self.assertEqual((counts["differing"], counts["missing"]), (0, 0))
        sent = certificate["source_blocks"]
        self.assertEqual(sent["data"] + sent["zero"] + sent["hole"], blocks)
        self.assertEqual(sent["total"], blocks)
        self.assertGreater(counts["read"], 0)
        out = lab.ok("verify", migration).out
        self.assertRegex(out, r"(?m)^signature +valid$")

        aws = lab.aws()
        self.assertEqual(aws.leftovers(), {"instances": {instance: "running"}, "volumes": {volume: "in-use"}})
        console = lab.ok("region", "console", instance).out
        self.assertIn("login:", console)
        disk = lab.region_folder / "vm" / f"{volume}.qcow2"
        compared = subprocess.run(["qemu-img", "compare", "-U", "-f", "raw", "-F", "qcow2", raw, disk],
                                  capture_output=True, text=True)
        self.assertEqual(compared.returncode, 0, compared.stdout + compared.stderr)
        return instance

    def test_raw_and_vmdk_arrive_and_boot(self):
        with harness.Lab() as lab:
            raw = harness.copy_sparse(TINY, lab.folder / "tiny.raw")

            planned = lab.ok("migrate", raw, "--dry-run", "--output", "json").json()
            self.assertIn("ec2:ImportInstance", [call["operation"] for call in planned["calls"]])
            self.assertIn("ec2:ImportInstance", lab.ok("migrate", raw, "--dry-run").out)
            self.assertFalse(lab.region_folder.exists(), "a dry run starts nothing")
            lab.ok("region", "start")
            self.assertIn("ec2:ImportInstance", lab.ok("migrate", raw, "--dry-run").out)
            self.assertEqual(lab.aws().leftovers(), {})
            self.assertEqual(lab.ok("status", "--output", "json").json()["migrations"], [])

            # Raw, with events; a second migration of the same file meanwhile is refused.
            running = lab.start("migrate", raw)
            first = running.migration()
            self.assertIsNotNone(running.wait_for(lambda e: e.get("event") == "step.started"))
            self.assert_error(lab.run("migrate", raw), 7, "migration.busy")
            outcome = running.finish()
            self.assertEqual(outcome.code, 0, str(outcome))
            steps = [(e["event"], e["step"]) for e in running.events
                     if e and e.get("event", "").startswith("step.")]
            self.assertEqual(steps, [(name, step) for step in
                                     ("assess", "transfer", "import", "verify", "launch", "check", "clean")
                                     for name in ("step.started", "step.done")])
            for event in running.events[:-2]:
                self.assertEqual(event["schema"], "vmferry.event/1")
                self.assertRegex(event["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertEqual(running.events[-2]["schema"], "vmferry.migration/1")
            instance = self.check_result(lab, first, raw)
            lab.aws().ec2("TerminateInstances", InstanceId_1=instance)
            deadline = time.monotonic() + 30
            while lab.aws().instances() and time.monotonic() < deadline:
                time.sleep(0.2)
            self.assertEqual(lab.aws().leftovers(), {})

            # The same disk as a VMDK, in text.
            vmdk = harness.to_vmdk(raw, lab.folder / "tiny.vmdk")
            outcome = lab.ok("migrate", vmdk)
            self.assertIn("identical", outcome.out)
            second = re.search(r"mig-[a-z0-9]+", outcome.out).group(0)
            self.check_result(lab, second, raw)
            # Two forms of one disk have one root.
            self.assertEqual(lab.status(first)["facts"]["root"], lab.status(second)["facts"]["root"])


if __name__ == "__main__":
    harness.main(__file__)
