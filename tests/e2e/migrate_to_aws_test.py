#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# `--to aws` is the same code with endpoint and credentials from environment or profile: here they
# are the embedded region's, as `vmferry region env` prints them. Keys appear in no output.
#
# labels: e2e
# timeout: 180
import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

harness.require_tools("qemu-img")


class MigrateToAws(harness.TestCase):
    def test_credentials_from_profile_and_environment(self):
        with harness.Lab() as lab:
            lab.start_region()
            profile = lab.aws_environment()
            keys = {"AWS_ACCESS_KEY_ID": lab.aws().key, "AWS_SECRET_ACCESS_KEY": lab.aws().secret,
                    "AWS_REGION": lab.aws().region, "AWS_ENDPOINT_URL": lab.aws().endpoint}
            for number, environment in enumerate((profile, keys)):
                with self.subTest(f"{'environment' if number else 'profile'}"):
                    source = harness.random_disk(lab.folder / f"disk{number}.raw", 11 * harness.MIB, seed=number)
                    running = lab.start("migrate", source, "--to", "aws", "--until", "verify", environment={
                        **environment, "VMFERRY_DEBUG": "1"})
                    migration = running.migration()
                    outcome = running.finish()
                    self.assertEqual(outcome.code, 0, str(outcome))
                    self.assertEqual(lab.certificate(migration)["verdict"], "identical")
                    self.assertEqual(lab.aws().snapshots(), [])
                    lab.ok("clean", migration, environment=environment)
                    self.assertEqual(lab.aws().buckets(), [])
                    self.assertNotIn(lab.aws().secret, outcome.out + outcome.err)
            for path in lab.state.rglob("*"):
                if path.is_file() and path.name not in ("credentials.json", "aws-credentials"):
                    self.assertNotIn(lab.aws().secret.encode(), path.read_bytes(), str(path))


if __name__ == "__main__":
    harness.main(__file__)
