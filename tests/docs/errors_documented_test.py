#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
#
# docs/errors.md lists the reason tokens of the sources, all of them and no others.
#
# labels: docs
# timeout: 60
import pathlib
import re
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import harness

TOKEN = r"[a-z][a-z0-9]*(?:\.[a-z0-9_]+)+"
# Literals of the same form that are no reasons.
NOT_REASONS = {
    "import.convert", "import.download", "import.inspect", "import.instance", "import.register", "import.snapshot",  # stages, for `region faults`
    "migration.resumed", "migration.started",  # events
    "region.db", "region.json", "region.log",  # files
}
NOT_THROWN = {"src/cli/exit_code.cc"}  # prefixes of reasons


def sources():
    for top in ("src", "apps"):
        for path in sorted((harness.SOURCE_DIR / top).rglob("*")):
            name = str(path.relative_to(harness.SOURCE_DIR))
            if path.suffix in (".cc", ".h") and not re.search(r"_(test|fuzz)\.cc$", name) and name not in NOT_THROWN:
                yield name, re.sub(r"(?m)^\s*//.*$", "", path.read_text("utf-8"))


def reasons_of_sources():
    """Token to the files that name it."""
    texts = dict(sources())
    thrown = {token for text in texts.values()
              for token in re.findall(rf'ErrorCode::k\w+,\s*"({TOKEN})"', text)}
    families = {token.split(".")[0] for token in thrown | harness.documented_reasons()}
    found = {}
    for name, text in texts.items():
        for token in re.findall(rf'"({TOKEN})"', text):
            if token.split(".")[0] in families and token not in NOT_REASONS:
                found.setdefault(token, []).append(name)
    return found


class ErrorsDocumented(harness.TestCase):
    maxDiff = None

    def test_every_reason_is_documented_and_every_documented_reason_exists(self):
        found = reasons_of_sources()
        self.assertGreater(len(found), 100)
        missing = {token: names[0] for token, names in found.items() if token not in harness.documented_reasons()}
        self.assertEqual(missing, {}, "not in docs/errors.md")
        self.assertEqual(sorted(harness.documented_reasons() - set(found)), [], "documented, and nowhere in the sources")

    def test_reasons_are_documented_once_and_completely(self):
        text = (harness.SOURCE_DIR / "docs" / "errors.md").read_text("utf-8")
        rows = re.findall(r"(?m)^\| `([^`]+)` \|(.*)$", text)
        tokens = [token for token, _ in rows]
        self.assertEqual(sorted(token for token in set(tokens) if tokens.count(token) > 1), [])
        for token, rest in rows:
            with self.subTest(token):
                cells = [cell.strip() for cell in rest.rstrip(" |").split(" | ")]
                self.assertEqual(len(cells), 2)
                self.assertTrue(all(cells))

    def test_reasons_stand_in_a_section_that_is_named_for_them(self):
        text = (harness.SOURCE_DIR / "docs" / "errors.md").read_text("utf-8")
        sections = re.findall(r"(?ms)^## ([^\n]+)\n(.*?)(?=^## |\Z)", text)
        titles = [title for title, _ in sections]
        self.assertEqual(sorted(title for title in set(titles) if titles.count(title) > 1), [])
        for title, body in sections:
            if title == "Exit codes":
                continue
            families = {word.split(".")[0] for word in title.split(", ")}
            with self.subTest(title):
                found = {token.split(".")[0] for token in re.findall(r"(?m)^\| `([^`]+)` \|", body)}
                self.assertEqual(found, families)


if __name__ == "__main__":
    harness.main(__file__)
