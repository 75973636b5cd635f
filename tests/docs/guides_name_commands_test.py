#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# README and the pages of docs/ name no command and no flag that --help does not.
#
# labels: docs
# timeout: 60
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness


class HelpAndGuides(harness.TestCase):
    maxDiff = None
    COMMANDS = ("migrate", "status", "resume", "cancel", "clean", "verify", "image inspect", "image map",
                "image convert", "image compare", "image hash", "region start",
                "region stop", "region status", "region env", "region console", "region faults")

    def test_guides_name_only_commands_and_flags_that_exist(self):
        with harness.Lab() as lab:
            everywhere = set(re.findall(r"--[a-z][a-z-]+", lab.ok("--help").out))
            flags = {command: everywhere | set(re.findall(r"--[a-z][a-z-]+", lab.ok(*command.split(), "--help").out))
                     for command in self.COMMANDS}
        pages = [harness.SOURCE_DIR / "README.md", *sorted((harness.SOURCE_DIR / "docs").rglob("*.md"))]
        for page in pages:
            if not page.exists() or page.name == "errors.md" or "adr" in page.parts:
                continue
            for line in re.findall(r"(?m)^(?:\$ |[a-z ]*)(?:build/\S*/)?vmferry +(.*)$", page.read_text("utf-8")):
                line = line.split("#")[0].split("|")[0]
                command = next((c for c in self.COMMANDS if re.match(rf"{c}\b", line)), None)
                with self.subTest(f"{page.name}: {line}"):
                    self.assertIsNotNone(command, "no such command")
                    unknown = set(re.findall(r"(?<!\S)--[a-z][a-z-]+", line)) - flags[command]
                    self.assertEqual(unknown, set())


if __name__ == "__main__":
    harness.main(__file__)
