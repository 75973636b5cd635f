#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# The sentence of the README: a Debian guest, exported as a stream-optimised VMDK, arrives, is
# proven identical, boots to its login prompt and answers on port 22. The same as a VHDX, which is
# encoded while it is read.
#
# labels: e2e
# timeout: 900
# lock: guest
import pathlib
import re
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

DEBIAN = harness.guest("debian")
harness.require_tools("qemu-img", "qemu-system-x86_64")


class MigrateDebian(harness.TestCase):
    def test_debian_boots_to_its_login_prompt(self):
        with harness.Lab() as lab:
            self.arrives(lab, DEBIAN)

    def test_debian_arrives_from_a_vhdx(self):
        with harness.Lab() as lab:
            disk = pathlib.Path(lab.folder) / "debian.vhdx"
            subprocess.run(["qemu-img", "convert", "-f", "vmdk", "-O", "vhdx", DEBIAN, disk], check=True)
            view = self.arrives(lab, disk)
            self.assertTrue(view["spec"]["source"]["encoder"].startswith("vmdk-stream/"))

    def arrives(self, lab, source):
        outcome = lab.ok("migrate", source, "--instance-type", "t2.micro")
        migration = re.search(r"mig-[a-z0-9]+", outcome.out).group(0)
        view = lab.status(migration)
        print({step["step"]: (step["started"], step.get("ended"), step["detail"]) for step in view["steps"]})
        self.assertEqual(lab.certificate(migration)["verdict"], "identical")
        instance = view["facts"]["instance_id"]
        self.assertRegex(lab.ok("region", "console", instance).out, r"guest login:")
        (check,) = [step for step in view["steps"] if step["step"] == "check"]
        self.assertRegex(check["detail"], r"ssh answers SSH-2\.0-OpenSSH")
        self.assertEqual(lab.aws().leftovers(), {"instances": {instance: "running"},
                                                 "volumes": {view["facts"]["volume_id"]: "in-use"}})
        return view


if __name__ == "__main__":
    harness.main(__file__)
