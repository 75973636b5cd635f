#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# Whatever is wrong with what vmferry is given: the right exit code, one sentence, what to do, a
# reason that docs/errors.md lists, and nothing created that `vmferry clean` does not remove.
#
# labels: e2e
# timeout: 240
import os
import pathlib
import shutil
import socket
import struct
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

harness.require_tools("qemu-img")
NOBODY = 65534


def closed_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def small_folder_prefix():
    """A command prefix that gives the rest a small file system on a folder, or None where that is not allowed."""
    prefix = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-Urm"]
    script = 'mount -t tmpfs -o size="$1",mode=0700 none "$2" && shift 2 && exec "$@"'
    works = subprocess.run([*prefix, "sh", "-c", script, "sh", "1m", "/mnt", "true"], capture_output=True)
    return [*prefix, "sh", "-c", script, "sh"] if works.returncode == 0 else None


class BadSource(harness.TestCase):
    def setUp(self):
        self.lab = harness.Lab()
        self.addCleanup(self.lab.__exit__, None, None, None)

    def refused(self, what, source, code, *reasons):
        with self.subTest(what):
            self.assert_error(self.lab.run("migrate", source, timeout=60), code, *reasons)
            self.assert_error(self.lab.run("migrate", source, "--dry-run", timeout=60), code, *reasons)
            self.assert_error(self.lab.run("image", "inspect", source, timeout=60), code, *reasons)
            self.assertEqual(self.lab.ok("status", "--output", "json").json()["migrations"], [])
            self.assertFalse(self.lab.ok("region", "status", "--output", "json").json()["running"])

    def test_sources_that_are_no_disks(self):
        folder = self.lab.folder
        self.refused("missing", folder / "absent.raw", 3, "io.not_found")
        (folder / "empty.raw").write_bytes(b"")
        self.refused("empty", folder / "empty.raw", 3, "image.empty")
        (folder / "empty.vmdk").write_bytes(b"")
        self.refused("empty, called .vmdk", folder / "empty.vmdk", 3, "image.empty")
        (folder / "notes.vmdk").write_text("Milk, bread, coffee.\n" * 100)
        self.refused("text, called .vmdk", folder / "notes.vmdk", 3, "image.extension_mismatch")
        (folder / "notes.txt").write_text("Milk, bread, coffee.\n" * 100)
        self.refused("text", folder / "notes.txt", 3, "image.unknown_format")
        (folder / "tiny.raw").write_bytes(b"x" * 511)
        self.refused("less than a sector", folder / "tiny.raw", 3, "image.too_small")
        self.refused("a directory", folder, 3, "io.is_directory")
        os.mkfifo(folder / "pipe.raw")
        self.refused("a FIFO", folder / "pipe.raw", 3, "image.not_a_file")
        self.refused("a device that is no disk", "/dev/null", 3, "image.not_a_file")
        (folder / "loop.raw").symlink_to("loop.raw")
        self.refused("a link to itself", folder / "loop.raw", 3)
        self.refused("a name that is too long", folder / ("n" * 300), 3)

    def test_a_source_that_may_not_be_read(self):
        program = self.lab.folder / "vmferry"
        shutil.copy(harness.VMFERRY, program)
        source = harness.random_disk(self.lab.folder / "secret.raw", harness.MIB, seed=1)
        os.chmod(source, 0)
        state = self.lab.folder / "other-state"
        state.mkdir()
        prefix = ()
        if os.geteuid() == 0:
            os.chmod(self.lab.folder, 0o755)
            os.chown(state, NOBODY, NOBODY)
            prefix = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups")
        done = subprocess.run([*prefix, program, "migrate", source], capture_output=True, text=True, timeout=60,
                              env={**self.lab.environment, "VMFERRY_STATE": str(state)}, cwd=self.lab.folder)
        outcome = harness.Outcome(("migrate", source), done.returncode, done.stdout, done.stderr)
        self.assert_error(outcome, 3, "io.permission_denied")

    def test_vmdks_that_are_cut_off_or_broken(self):
        raw = harness.random_disk(self.lab.folder / "disk.raw", 2 * harness.MIB, seed=2)
        whole = harness.to_vmdk(raw, self.lab.folder / "whole.vmdk").read_bytes()
        broken = self.lab.folder / "broken.vmdk"
        lengths = {1, 3, 4, 100, 511, 512, 513, 1024, 64 * 1024, len(whole) // 2, len(whole) - 1024,
                   len(whole) - 512, len(whole) - 1, *range(700, len(whole), len(whole) // 23)}
        for length in sorted(lengths):
            with self.subTest(f"cut to {length} of {len(whole)} bytes"):
                broken.write_bytes(whole[:length])
                outcome = self.lab.run("migrate", broken)
                self.assert_error(outcome, 3)
                self.assertRegex(outcome.reason(), r"^(vmdk|image)\.")
        (directory,) = struct.unpack_from("<Q", whole, 56)
        if directory == 2 ** 64 - 1:  # the writer did not know it yet: the footer does
            (directory,) = struct.unpack_from("<Q", whole, len(whole) - 1024 + 56)
        (table,) = struct.unpack_from("<I", whole, directory * 512)
        for what, value, reasons in (("past the end", 0xfffffff0, ["vmdk.grain_table.range"]),
                                     ("into the header", 0, None),
                                     ("at another grain", struct.unpack_from("<I", whole, table * 512 + 4)[0],
                                      ["vmdk.grain.marker"])):
            with self.subTest(f"a grain table entry that points {what}"):
                damaged = bytearray(whole)
                struct.pack_into("<I", damaged, table * 512 + 8, value)
                broken.write_bytes(damaged)
                outcome = self.lab.run("migrate", broken, "--check", "none", "--until", "verify")
                if reasons is not None:
                    self.assert_error(outcome, 3, *reasons)
                    continue
                # A zero entry is a hole: the disk is another one, and still arrives as it is.
                self.assertEqual(outcome.code, 0, str(outcome))
        for view in self.lab.ok("status", "--output", "json").json()["migrations"]:
            self.lab.ok("clean", view["id"])
        self.assertEqual(set(self.lab.aws().leftovers()) - {"instances", "volumes"}, set())


class BadCommandLine(harness.TestCase):
    def test_what_is_not_understood(self):
        with harness.Lab() as lab:
            source = harness.random_disk(lab.folder / "disk.raw", harness.MIB, seed=1)
            for arguments in ((), ("migrat",), ("migrate",), ("migrate", source, "--frobnicate"),
                              ("migrate", source, "--to", "mars"), ("migrate", source, "--parallel", "0"),
                              ("migrate", source, "--parallel", "many"), ("migrate", source, "--until", "later"),
                              ("migrate", source, "--check", "telepathy"), ("migrate", source, "--route", "scenic"),
                              ("migrate", source, "--verify", "maybe"), ("status", "one", "two"), ("cancel",),
                              ("region",), ("region", "start", "--port", "65536"), ("image", "inspect"),
                              ("verify",), ("status", "--output", "xml"), ("--no-such-option",)):
                with self.subTest(" ".join(map(str, arguments))):
                    self.assert_error(lab.run(*arguments), 2, "cli.usage")
            for command in ("status", "resume", "cancel", "clean", "verify"):
                with self.subTest(command + " of what is not there"):
                    self.assert_error(lab.run(command, "mig-absent"), 2, "store.no_such_migration")
            self.assert_error(lab.run("resume"), 2, "migration.which")
            self.assertFalse(lab.region_folder.exists())

    def test_buckets_and_places(self):
        with harness.Lab() as lab:
            source = harness.random_disk(lab.folder / "disk.raw", harness.MIB, seed=1)
            lab.start_region()
            for name in ("Upper", "ab", "under_score", "a" * 64, "192.168.0.1", "-dash"):
                with self.subTest(name):
                    self.assert_error(lab.run("migrate", source, f"--bucket={name}"), 2, "aws.bucket_invalid")
            lab.ok("region", "faults", "add", "taken-by-others", "foreign-bucket")
            self.assert_error(lab.run("migrate", source, "--bucket", "taken-by-others"), 4,
                              "aws.bucket_taken", "aws.access_denied")
            for option, value in (("--instance-type", "x9.gigantic"), ("--subnet", "subnet-0123456789abcdef0"),
                                  ("--zone", "mars-1a")):
                with self.subTest(option):
                    self.assert_error(lab.run("migrate", source, option, value), 4)
            for view in lab.ok("status", "--output", "json").json()["migrations"]:
                lab.ok("clean", view["id"])
            self.assertEqual(lab.aws().leftovers(), {})


class BadSurroundings(harness.TestCase):
    def test_credentials(self):
        with harness.Lab() as lab:
            source = harness.random_disk(lab.folder / "disk.raw", harness.MIB, seed=1)
            there = {"AWS_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true"}
            keys = {"AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x" * 40}
            migrate = ("migrate", source, "--to", "aws")
            self.assert_error(lab.run(*migrate, environment=there), 4, "aws.no_credentials")
            self.assert_error(lab.run(*migrate, environment={**there, "AWS_ACCESS_KEY_ID": "AKIA"}), 4,
                              "aws.no_credentials")
            self.assert_error(lab.run(*migrate, environment=keys), 2, "aws.no_region")
            self.assert_error(lab.run(*migrate, "--profile", "nobody", environment=there), 2, "aws.no_such_profile")
            self.assert_error(lab.run(*migrate, environment={**there, **keys, "AWS_ENDPOINT_URL": "::"}), 2,
                              "aws.bad_config")

            lab.start_region()
            there = {"AWS_REGION": lab.aws().region, "AWS_ENDPOINT_URL": lab.aws().endpoint}
            outcome = lab.run(*migrate, environment={**there, **keys})
            self.assert_error(outcome, 4, "aws.bad_credentials")
            outcome = lab.run(*migrate, environment={**there, **keys, "AWS_ACCESS_KEY_ID": lab.aws().key})
            self.assert_error(outcome, 4, "aws.signature_mismatch")
            self.assertEqual({r["status"] for r in lab.requests() if r["service"] == "sts"}, {403})
            self.assertEqual(lab.ok("status", "--output", "json").json()["migrations"], [])
            self.assertEqual(lab.aws().leftovers(), {})

    def test_no_region_answers(self):
        with harness.Lab() as lab:
            source = harness.random_disk(lab.folder / "disk.raw", harness.MIB, seed=1)
            began = time.monotonic()
            outcome = lab.run("migrate", source, "--to", "aws", timeout=120, environment={
                "AWS_REGION": "us-east-1", "AWS_ENDPOINT_URL": f"http://127.0.0.1:{closed_port()}",
                "AWS_ACCESS_KEY_ID": "AKIAIOSFODNN7EXAMPLE", "AWS_SECRET_ACCESS_KEY": "x" * 40})
            self.assert_error(outcome, 5, "http.connect_failed")
            print(f"given up after {time.monotonic() - began:.1f} s")

    def test_the_region_s_port_is_in_use(self):
        with harness.Lab() as lab, socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = other.getsockname()[1]
            outcome = lab.run("region", "start", "--port", port)
            self.assert_error(outcome, 5, "http.server.port_in_use")
            self.assertFalse(lab.ok("region", "status", "--output", "json").json()["running"])

    def test_a_state_that_is_damaged_or_cannot_be_written(self):
        with harness.Lab() as lab:
            source = harness.random_disk(lab.folder / "disk.raw", harness.MIB, seed=1)
            lab.state.mkdir()
            (lab.state / "journal.db").write_bytes(b"this is no database " * 1000)
            self.assert_error(lab.run("status"), 7, "sqlite.damaged")
            self.assert_error(lab.run("migrate", source), 7, "sqlite.damaged")
        with harness.Lab() as lab:
            source = harness.random_disk(lab.folder / "disk.raw", harness.MIB, seed=1)
            lab.state.write_text("a file where the folder should be")
            outcome = lab.run("migrate", source)
            self.assert_error(outcome, outcome.code)
            self.assertIn(outcome.code, (3, 7), str(outcome))

    def test_a_full_disk(self):
        prefix = small_folder_prefix()
        if prefix is None:
            self.skipTest("a small file system cannot be mounted here")
        with harness.Lab() as lab, self.subTest("the state's"):
            source = harness.random_disk(lab.folder / "disk.raw", harness.MIB, seed=1)
            lab.state.mkdir()
            # Room for the folder, not for a journal.
            self.assert_error(lab.run("migrate", source, prefix=(*prefix, "20k", lab.state)), 7,
                              "sqlite.no_space", "io.no_space")
        with harness.Lab() as lab, self.subTest("the region's"):
            source = harness.random_disk(lab.folder / "disk.raw", 40 * harness.MIB, seed=1)
            lab.region_folder.mkdir(parents=True)
            # The region lives in the same name space, so the same shell has to stop it.
            script = '"$0" migrate "$1"; code=$?; "$0" region stop 2>/dev/null; exit $code'
            began = time.monotonic()
            done = subprocess.run([*prefix, "24m", lab.region_folder, "sh", "-c", script, harness.VMFERRY, source],
                                  capture_output=True, text=True, env=lab.environment, timeout=200)
            outcome = harness.Outcome(("migrate", source), done.returncode, done.stdout, done.stderr)
            print(f"given up after {time.monotonic() - began:.1f} s")
            self.assert_error(outcome, 5)
            (view,) = lab.ok("status", "--output", "json").json()["migrations"]
            self.assertEqual(view["state"], "failed")

    def test_two_migrations_of_one_source_at_once(self):
        with harness.Lab() as lab:
            source = harness.random_disk(lab.folder / "disk.raw", 2 * harness.PART, seed=1)
            lab.start_region()
            other_name = lab.folder / "other-name.raw"
            os.link(source, other_name)
            lab.ok("region", "faults", "add", "PutObject", "delay", "always", "delay=6s")
            running = lab.start("migrate", source, "--until", "transfer")
            migration = running.migration()
            for command in (("migrate", source), ("migrate", other_name), ("resume", migration), ("clean", migration)):
                with self.subTest(" ".join(map(str, command))):
                    self.assert_error(lab.run(*command), 7, "migration.busy")
            outcome = running.finish()
            self.assertEqual(outcome.code, 0, str(outcome))
            self.assertEqual(len(lab.ok("status", "--output", "json").json()["migrations"]), 1)


if __name__ == "__main__":
    harness.main(__file__)
