#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# vmferry image inspect, map, compare and hash on disks that qemu-img made: the same bytes are found
# the same in every format, one flipped byte at its offset, and what is wrong has its exit code.
#
# labels: e2e
# timeout: 240
import json
import os
import pathlib
import random
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness
from harness import MIB

harness.require_tools("qemu-img")
SIZE = 24 * MIB
# Format of qemu-img, its options, extension. VHD is made with force_size: qemu-img rounds sizes otherwise.
FORMATS = {
    "qcow2": ("qcow2", "", "qcow2"),
    "qcow2-compressed": ("qcow2", "", "qcow2"),
    "vmdk-stream": ("vmdk", "subformat=streamOptimized", "vmdk"),
    "vmdk-sparse": ("vmdk", "subformat=monolithicSparse", "vmdk"),
    "vmdk-flat": ("vmdk", "subformat=monolithicFlat", "vmdk"),
    "vhd-dynamic": ("vpc", "subformat=dynamic,force_size=on", "vhd"),
    "vhd-fixed": ("vpc", "subformat=fixed,force_size=on", "vhd"),
    "vhdx-dynamic": ("vhdx", "subformat=dynamic", "vhdx"),
}


def make_content(path):
    """Random bytes at both ends, text, zeroes that are written, a hole."""
    source = random.Random(3)
    with open(path, "wb") as file:
        file.write(source.randbytes(3 * MIB + 512))
        file.write(b"all work and no play\n" * 50_000)
        file.write(bytes(MIB))
        file.truncate(SIZE)
        file.seek(SIZE - 70_000)
        file.write(source.randbytes(70_000))
    return path


def convert(raw, target, name):
    form, options, _ = FORMATS[name]
    words = ["qemu-img", "convert", "-f", "raw", "-O", form]
    if options:
        words += ["-o", options]
    if "compressed" in name:
        words.append("-c")
    subprocess.run([*words, raw, target], check=True, stdout=subprocess.DEVNULL)
    return target


class ImageCommands(harness.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.lab = harness.Lab()
        cls.addClassCleanup(cls.lab.__exit__, None, None, None)
        cls.folder = cls.lab.folder / "disks"
        cls.folder.mkdir()
        cls.raw = make_content(cls.folder / "disk.raw")
        cls.disks = {name: convert(cls.raw, cls.folder / f"{name}.{FORMATS[name][2]}", name) for name in FORMATS}

    def test_every_format_holds_the_same_bytes(self):
        for name, path in self.disks.items():
            with self.subTest(name):
                found = self.lab.ok("image", "compare", self.raw, path, "--output", "json").json()
                self.assertEqual(found["schema"], "vmferry.image-compare/1")
                self.assertEqual(found["verdict"], "identical")
                self.assertEqual(found["differing_bytes"], 0)
                self.assertEqual(found["b"]["virtual_size_bytes"], SIZE)

    def test_one_flipped_byte_is_found_at_its_offset(self):
        for offset in (0, 3 * MIB + 511, 4 * MIB + 100, 12 * MIB, SIZE - 1):
            changed = self.folder / "changed.raw"
            harness.copy_sparse(self.raw, changed)
            with open(changed, "r+b") as file:
                file.seek(offset)
                byte = file.read(1)[0]
                file.seek(offset)
                file.write(bytes([byte ^ 0x40]))
            for name in ("vmdk-stream", "qcow2-compressed"):
                with self.subTest(f"{name}, byte {offset}"):
                    outcome = self.lab.run("image", "compare", self.disks[name], changed, "--output", "json")
                    self.assert_error(outcome, 6, "compare.differs")
                    found = outcome.json()
                    self.assertEqual(found["verdict"], "differs")
                    self.assertEqual(found["differing_ranges"], [{"offset_bytes": offset, "length_bytes": 1}])
                    self.assertEqual(found["differing_bytes"], 1)
        text = self.lab.run("image", "compare", self.raw, changed)
        self.assertEqual(text.code, 6)
        self.assertIn(str(SIZE - 1), text.out)

    def test_a_longer_disk_is_the_same_when_the_rest_is_zero(self):
        longer = harness.copy_sparse(self.raw, self.folder / "longer.raw")
        os.truncate(longer, SIZE + 5 * MIB)
        outcome = self.lab.ok("image", "compare", self.raw, longer)
        self.assertIn("that rest is zero", outcome.out)
        self.assert_error(self.lab.run("image", "compare", "--strict", self.raw, longer), 6, "compare.differs")
        with open(longer, "r+b") as file:
            file.seek(SIZE + MIB)
            file.write(b"x")
        found = self.lab.run("image", "compare", longer, self.raw, "--output", "json")
        self.assertEqual(found.code, 6, found)
        self.assertEqual(found.json()["differing_ranges"], [{"offset_bytes": SIZE + MIB, "length_bytes": 1}])

    def test_maps_cover_the_disk_and_agree_with_qemu_img(self):
        for name, path in {"raw": self.raw, **self.disks}.items():
            with self.subTest(name):
                found = self.lab.ok("image", "map", path, "--output", "json").json()
                self.assertEqual(found["schema"], "vmferry.image-map/1")
                self.assertEqual(found["virtual_size_bytes"], SIZE)
                position, previous, data = 0, None, set()
                for extent in found["extents"]:
                    self.assertEqual(extent["offset_bytes"], position)
                    self.assertGreater(extent["length_bytes"], 0)
                    self.assertNotEqual(extent["kind"], previous)
                    previous = extent["kind"]
                    position += extent["length_bytes"]
                    if extent["kind"] == "data":
                        data.update(range(extent["offset_bytes"] // 65536, (position + 65535) // 65536))
                self.assertEqual(position, SIZE)
                # qemu-img takes a VHDX, and what lies flat in a file, for one extent.
                if not name.startswith(("vhdx", "vhd-fixed", "vmdk-flat")):
                    form = {"raw": "raw"}.get(name) or FORMATS[name][0]
                    theirs = json.loads(subprocess.run(["qemu-img", "map", "--output=json", "-f", form, path],
                                                       check=True, capture_output=True).stdout)
                    expected = set()
                    for item in theirs:
                        if item["data"]:
                            expected.update(range(item["start"] // 65536,
                                                  (item["start"] + item["length"] + 65535) // 65536))
                    self.assertEqual(data, expected)

    def test_the_map_as_text_ends_in_totals(self):
        lines = self.lab.ok("image", "map", self.disks["qcow2"]).out.splitlines()
        self.assertEqual(lines[0].split(), ["OFFSET", "LENGTH", "KIND"])
        self.assertIn("", lines)
        self.assertTrue(any(" data in " in line for line in lines))

    def test_inspect_says_what_every_disk_is(self):
        for name, path in self.disks.items():
            with self.subTest(name):
                found = self.lab.ok("image", "inspect", path, "--output", "json").json()
                self.assertEqual(found["schema"], "vmferry.image/1")
                self.assertEqual(found["format"], name.split("-")[0])
                self.assertEqual(found["virtual_size_bytes"], SIZE)
                self.assertIn(str(SIZE), self.lab.ok("image", "inspect", path).out)

    def test_a_hash_tree_proves_the_disk_in_any_format(self):
        tree = self.folder / "disk.tree"
        made = self.lab.ok("image", "hash", self.raw, "--tree", tree, "--output", "json").json()
        self.assertEqual(made["schema"], "vmferry.image-hash/1")
        written = json.loads(tree.read_text())
        self.assertEqual(written["schema"], "vmferry.hash-tree/1")
        self.assertEqual(written["root"], made["root"])
        self.assertEqual(written["source"], "disk.raw")
        for name, path in self.disks.items():
            with self.subTest(name):
                found = self.lab.ok("image", "hash", path, "--check", tree, "--output", "json").json()
                self.assertEqual(found["verdict"], "identical")
                self.assertEqual(self.lab.ok("image", "hash", path, "--output", "json").json()["root"], made["root"])

        changed = harness.copy_sparse(self.raw, self.folder / "hashed.raw")
        with open(changed, "r+b") as file:
            file.seek(12 * MIB + 5)
            file.write(b"x")
        outcome = self.lab.run("image", "hash", changed, "--check", tree, "--output", "json")
        self.assert_error(outcome, 6, "hash.differs")
        self.assertEqual(outcome.json()["differing_ranges"],
                         [{"offset_bytes": 12 * MIB, "length_bytes": harness.BLOCK}])

        tree.write_text(tree.read_text().replace(made["root"][:8], "00000000"))
        self.assert_error(self.lab.run("image", "hash", self.raw, "--check", tree), 3, "hashtree.root_mismatch")
        self.assert_error(self.lab.run("image", "hash", self.raw, "--check", self.raw), 3, "hashtree.malformed")

    def test_an_appliance_of_an_appliance_is_the_same_machine(self):
        first, second = self.folder / "first.ova", self.folder / "second.ova"
        self.lab.ok("image", "convert", self.raw, self.folder / "plain.ova")
        subprocess.run(["tar", "-xf", "plain.ova", "plain.ovf"], cwd=self.folder, check=True)
        text = (self.folder / "plain.ovf").read_text()
        # Another machine than the one our writer makes of a disk alone.
        for old, new in (("<rasd:VirtualQuantity>2<", "<rasd:VirtualQuantity>3<"),
                         ("<rasd:VirtualQuantity>2048<", "<rasd:VirtualQuantity>5120<"),
                         ("<Name>plain<", "<Name>the mail server<")):
            self.assertIn(old, text)
            text = text.replace(old, new)
        (self.folder / "plain.ovf").write_text(text)
        subprocess.run(["tar", "-xf", "plain.ova", "--wildcards", "*.vmdk"], cwd=self.folder, check=True)
        disk = next(self.folder.glob("plain*.vmdk"))
        subprocess.run(["tar", "--format=ustar", "-cf", first, "plain.ovf", disk.name], cwd=self.folder, check=True)
        self.lab.ok("image", "convert", first, second)
        machines = [self.lab.ok("image", "inspect", path, "--output", "json").json()["vm"] for path in (first, second)]
        for machine in machines:
            self.assertEqual((machine["name"], machine["cpu_count"], machine["memory_bytes"]),
                             ("the mail server", 3, 5120 * MIB))
        self.assertEqual(self.lab.ok("image", "compare", self.raw, second, "--output", "json").json()["verdict"],
                         "identical")

    def test_usage_errors(self):
        for words in (("image",), ("image", "map"), ("image", "compare", self.raw),
                      ("image", "inspect", self.raw, "--disk", "0"), ("image", "frobnicate"),
                      ("image", "hash", self.raw, "--tree", "a", "--check", "b")):
            with self.subTest(" ".join(map(str, words))):
                self.assert_error(self.lab.run(*words), 2, "cli.usage")
        self.assert_error(self.lab.run("image", "compare", self.raw, self.folder / "absent.raw"), 3, "io.not_found")
        self.assert_error(self.lab.run("image", "hash", self.raw, "--tree", self.folder / "no" / "tree"), 3,
                          "io.not_found")
        # Not even by another name of it.
        link = self.folder / "link.raw"
        link.symlink_to(self.raw)
        self.assert_error(self.lab.run("image", "hash", link, "--tree", self.raw), 2, "target.is_source")

    def test_a_chain_is_followed_only_where_it_may(self):
        inside, outside = self.folder / "vm", self.folder / "elsewhere"
        inside.mkdir()
        outside.mkdir()
        base = harness.copy_sparse(self.raw, outside / "base.raw")
        child = inside / "child.qcow2"
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", base, "-F", "raw", child], check=True)
        self.assert_error(self.lab.run("image", "inspect", child), 3, "image.chain.outside")
        found = self.lab.ok("image", "inspect", child, "--allow-path", outside, "--output", "json").json()
        self.assertEqual(found["format"], "qcow2")
        same = self.lab.ok("image", "compare", child, self.raw, "--allow-path", outside, "--output", "json")
        self.assertEqual(same.json()["verdict"], "identical")

    def test_a_disk_of_many_tebibytes_takes_a_second(self):
        huge = self.folder / "huge.raw"
        with open(huge, "wb") as file:
            file.truncate(15 * 1024**4)
            for offset in (0, 7 * 1024**4 + 12345, 15 * 1024**4 - 4096):
                file.seek(offset)
                file.write(b"x" * 4096)
        for command in (("map", huge), ("inspect", huge), ("compare", huge, huge), ("hash", huge)):
            with self.subTest(command[0]):
                began = time.monotonic()
                self.lab.ok("image", *command)
                self.assertLess(time.monotonic() - began, 10)  # a second on a quiet machine

    def test_ctrl_c_ends_a_comparison(self):
        large = harness.random_disk(self.folder / "large.raw", 256 * MIB, 5)
        process = subprocess.Popen([harness.VMFERRY, "image", "hash", large], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
        self.assertIn(process.returncode, (130, 0))  # 0: it was faster


if __name__ == "__main__":
    harness.main(__file__)
