# SPDX-License-Identifier: Apache-2.0
"""Migrates a guest that lies in some format: it arrives, is proven identical and boots."""

import os
import pathlib
import subprocess

import harness

MAKE_ESX_DISK = pathlib.Path(os.environ.get("VMFERRY_BUILD_DIR", "build/release")) / "tests" / "make_esx_disk"


def run(*arguments, cwd=None):
    outcome = subprocess.run([str(a) for a in arguments], cwd=cwd, capture_output=True, text=True)
    if outcome.returncode != 0:
        raise AssertionError(f"{arguments}: {outcome.stdout}{outcome.stderr}")


def convert(raw, target, form, *options):
    """By an independent writer; options of qemu-img -o."""
    words = ["-o", ",".join(options)] if options else []
    run("qemu-img", "convert", "-f", "raw", "-O", form, *words, raw, target)
    return target


class FormatsTestCase(harness.TestCase):
    """One Lab for a format; the disk is made in the Lab's folder."""

    def migrate(self, make, sent_as, *flags, check="console"):
        """`make(folder)` returns the source; `sent_as` is None when it is transcoded."""
        with harness.Lab() as lab:
            folder = pathlib.Path(lab.folder) / "disks"
            folder.mkdir()
            source = make(folder)
            outcome = lab.ok("migrate", source, "--check", check, *flags, "--output", "json")
            view = outcome.json()
            self.assertEqual(view["state"], "done")
            spec = view["spec"]["source"]
            if sent_as is None:
                self.assertTrue(spec["encoder"].startswith("vmdk-stream/"), spec)
                self.assertEqual(spec["wire_format"], "VMDK")
            else:
                self.assertEqual((spec["encoder"], spec["wire_format"]), ("", sent_as))
            certificate = lab.certificate(view["id"])
            self.assertEqual(certificate["verdict"], "identical")
            counts = certificate["compared_blocks"]
            self.assertEqual((counts["differing"], counts["missing"]), (0, 0))
            self.assertGreater(counts["read"], 0)
            instance = view["facts"]["instance_id"]
            self.assertRegex(lab.ok("region", "console", instance).out, r"login:")
            return view
