#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# The embedded region's life: start, status, env, stop; several on one machine; what survives
# kill -9 of its process.
#
# labels: e2e
# timeout: 120
# lock: guest
import os
import pathlib
import re
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

TINY = harness.guest("tiny")
harness.require_tools("qemu-img", "qemu-system-x86_64")


def answers(endpoint):
    try:
        urllib.request.urlopen(endpoint, timeout=10)
    except urllib.error.HTTPError:
        return True  # it wants a signature, so it is there
    except OSError:
        return False
    return True


class RegionLife(harness.TestCase):
    def test_start_status_env_stop(self):
        with harness.Lab() as lab:
            self.assertFalse(lab.ok("region", "status", "--output", "json").json()["running"])
            self.assertIn("does not run", lab.ok("region", "status").out)
            self.assert_error(lab.run("region", "env"), 5, "region.not_running")
            self.assert_error(lab.run("region", "console", "i-00000000000000000"), 5, "region.not_running")
            self.assert_error(lab.run("region", "faults", "list"), 5, "region.not_running")
            self.assertIn("did not run", lab.ok("region", "stop").err)

            first = lab.start_region(None, "--port", 0)
            self.assertTrue(first["running"] and first["started_now"])
            self.assertTrue(answers(first["endpoint"]))
            self.assertRegex(first["endpoint"], r"^http://127\.0\.0\.1:\d+/?$")
            again = lab.start_region()
            self.assertEqual((again["started_now"], again["pid"], again["port"]),
                             (False, first["pid"], first["port"]))
            self.assertIn("running", lab.ok("region", "status").out)
            secret = lab.region_folder / "credentials.json"
            self.assertEqual(stat.S_IMODE(os.stat(secret).st_mode), 0o600)
            lines = lab.ok("region", "env").out
            shown = subprocess.run(["bash", "-c", lines + 'echo "$AWS_PROFILE $AWS_ENDPOINT_URL $AWS_REGION"'],
                                   capture_output=True, text=True, check=True, env=lab.environment).stdout
            self.assertEqual(shown.split()[1:], [first["endpoint"], first["region"]])
            self.assertNotIn(lab.aws().secret, lines)

            lab.ok("region", "stop")
            self.assertFalse(answers(first["endpoint"]))
            self.assertFalse(harness.process_runs(first["pid"]))
            self.assertFalse(lab.ok("region", "status", "--output", "json").json()["running"])
            # What it knew is there after the next start, on the same credentials.
            before = secret.read_bytes()
            self.assertTrue(lab.start_region(None, "--port", 0)["started_now"])
            self.assertEqual(secret.read_bytes(), before)

    def test_several_regions_on_one_machine(self):
        with harness.Lab() as lab:
            folders = [lab.folder / name for name in ("one", "two", "three")]
            views = [lab.start_region(folder) for folder in folders]  # the default port goes to one at most
            self.assertEqual(len({view["port"] for view in views}), 3)
            lab.aws(folders[0]).request("s3", "PUT", "/only-in-one")
            self.assertEqual([lab.aws(folder).buckets() for folder in folders], [["only-in-one"], [], []])
            self.assertNotEqual(lab.aws(folders[0]).secret, lab.aws(folders[1]).secret)
            lab.ok("region", "stop", "--folder", folders[1])
            self.assertEqual([answers(view["endpoint"]) for view in views], [True, False, True])

    def test_kill_9_keeps_state_and_running_guests(self):
        with harness.Lab() as lab:
            source = harness.copy_sparse(TINY, lab.folder / "tiny.raw")
            out = lab.ok("migrate", source, "--check", "none").out
            migration = re.search(r"mig-[a-z0-9]+", out).group(0)
            facts = lab.status(migration)["facts"]
            lab.aws().request("s3", "PUT", "/kept-bucket")
            guests = lab.instance_pids()
            self.assertEqual(len(guests), 1)

            killed = lab.kill_region()
            self.assertFalse(lab.ok("region", "status", "--output", "json").json()["running"])
            self.assertEqual(lab.instance_pids(), guests)
            view = lab.start_region()
            self.assertTrue(view["started_now"])
            self.assertNotEqual(view["pid"], killed)
            aws = lab.aws()
            self.assertEqual(aws.leftovers(), {"buckets": ["kept-bucket"],
                                               "instances": {facts["instance_id"]: "running"},
                                               "volumes": {facts["volume_id"]: "in-use"}})
            self.assertEqual(lab.instance_pids(), guests)

            # The guest that died while nobody watched is found stopped.
            lab.kill_region()
            os.kill(guests[0], 9)
            lab.start_region()
            deadline = time.monotonic() + 20
            while lab.aws().instances() != {facts["instance_id"]: "stopped"} and time.monotonic() < deadline:
                time.sleep(0.2)
            self.assertEqual(lab.aws().instances(), {facts["instance_id"]: "stopped"})


if __name__ == "__main__":
    harness.main(__file__)
