#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
# labels: layers
# timeout: 60
"""Holds every #include of src/ and apps/ to the table of ARCHITECTURE.md: who may include whom.

A module is a folder below src/ with a CMakeLists.txt. `image` in a list means the root of image/
only, `image/*` all of it. Heavy third-party headers belong to the modules named below.
"""
import os
import re
import sys

ROOT = os.environ.get("VMFERRY_SOURCE_DIR", os.getcwd())

ALLOWED = {
    "base": [],
    "sys": ["base"],
    "codec": ["base"],
    "io": ["sys", "base"],
    "text": ["base"],
    "sqlite": ["base"],
    "image": ["io", "codec", "sys", "base", "image/*"],  # the root opens each format
    "image/raw": ["image", "io", "codec", "sys", "base"],
    "image/nbd": ["image", "codec", "sys", "base"],
    "image/qcow2": ["image", "io", "codec", "sys", "base"],
    "image/vhd": ["image", "io", "codec", "sys", "base"],
    "image/vhdx": ["image", "io", "codec", "sys", "base"],
    "image/vmdk": ["image", "io", "codec", "sys", "base"],
    "guest": ["image", "io", "codec", "text", "base"],
    "image/ova": ["image", "image/vmdk", "text", "io", "codec", "sys", "base"],
    "proof": ["image", "io", "codec", "text", "sys", "base"],
    "http": ["io", "sys", "codec", "base"],
    "sigv4": ["codec", "base"],
    "aws/core": ["http", "sigv4", "text", "io", "sys", "codec", "base"],
    "aws/s3": ["aws/core", "http", "sigv4", "text", "io", "sys", "codec", "base"],
    "aws/ec2": ["aws/core", "http", "sigv4", "text", "io", "sys", "codec", "base"],
    "aws/ebs": ["aws/core", "http", "sigv4", "text", "io", "sys", "codec", "base"],
    "aws/sts": ["aws/core", "http", "sigv4", "text", "io", "sys", "codec", "base"],
    "store": ["sqlite", "io", "text", "sys", "base"],
    "transfer": ["image", "proof", "aws/core", "aws/s3", "aws/ebs", "store", "text", "io", "codec",
                 "sys", "base"],
    "migration": ["transfer", "proof", "guest", "image", "aws/*", "store", "text", "io", "codec",
                  "sys", "base"],
    "region/core": ["http", "sigv4", "sqlite", "text", "io", "codec", "sys", "base"],
    "region/blobs": ["region/core", "http", "sqlite", "text", "io", "codec", "sys", "base"],
    "region/vm": ["region/core", "http", "sqlite", "text", "io", "codec", "sys", "base"],
    "region/import": ["region/core", "region/blobs", "region/vm", "http", "sigv4", "sqlite", "text",
                      "io", "codec", "sys", "base"],
    **{f"region/{service}": ["region/core", "region/blobs", "region/vm", "region/import", "http",
                             "sigv4", "sqlite", "text", "io", "codec", "sys", "base"]
       for service in ("s3", "ec2", "ebs", "sts", "iam")},
    # The one room that knows every service: it starts and stops the region.
    "region/control": ["region/*", "http", "sigv4", "sqlite", "text", "io", "codec", "sys", "base"],
    "cli": ["migration", "transfer", "proof", "guest", "image", "text", "sys", "base"],
}

HEAVY = {  # third-party header prefix -> modules whose .cc files may include it
    "boost/": ["http"],
    "CLI/": ["cli"],
    "nlohmann/": ["text"],
    "expat.h": ["text"],
    "sqlite3.h": ["sqlite"],
    "curl/": ["http"],
    "spdlog/": ["apps"],
    "openssl/": ["codec", "sys", "http"],
    "isa-l": ["codec", "region/core"],
    "libdeflate.h": ["codec"],
    "libnbd.h": ["image/nbd"],
    "zstd.h": ["codec"],
    "regex": [],
    "iostream": [],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def modules():
    found = []
    for folder, _, files in os.walk(os.path.join(ROOT, "src")):
        if "CMakeLists.txt" in files:
            found.append(os.path.relpath(folder, os.path.join(ROOT, "src")))
    return sorted(found)


def module_of(path, known):
    """The longest module name that is a folder of `path` (relative to src/)."""
    folder = os.path.dirname(path)
    while folder:
        if folder in known:
            return folder
        folder = os.path.dirname(folder)
    return None


def is_allowed(module, target):
    return target == module or any(
        target == entry or (entry.endswith("/*") and target.startswith(entry[:-1]))
        for entry in ALLOWED[module])


def check_file(relative, module, known, faults):
    with open(os.path.join(ROOT, relative), encoding="utf-8") as source:
        for number, line in enumerate(source, 1):
            match = INCLUDE.match(line)
            if not match:
                continue
            kind, header = match.groups()
            where = f"{relative}:{number}"
            if kind == "<":
                for prefix, owners in HEAVY.items():
                    matches = header == prefix or (prefix.endswith("/") and header.startswith(prefix))
                    if matches and (module not in owners or relative.endswith(".h")):
                        faults.append(f"{where}: <{header}> belongs to the .cc files of {owners}")
                continue
            if header.startswith("testing/"):
                faults.append(f"{where}: only tests may include testing/")
                continue
            if module == "apps" and os.path.exists(
                    os.path.join(ROOT, os.path.dirname(relative), header)):
                continue
            target = module_of(header, known)
            if target is None:
                faults.append(f"{where}: \"{header}\" names no module (write it from src/)")
            elif module != "apps" and not is_allowed(module, target):
                faults.append(f"{where}: {module} may not include {target}")


def main():
    known = modules()
    faults = [f"src/{module}: not in the table of tests/layers" for module in known
              if module not in ALLOWED]
    checked = 0
    for top in ("src", "apps"):
        for folder, _, files in os.walk(os.path.join(ROOT, top)):
            for name in files:
                if not name.endswith((".h", ".cc")) or name.endswith("_test.cc"):
                    continue
                relative = os.path.relpath(os.path.join(folder, name), ROOT)
                module = "apps" if top == "apps" else module_of(
                    os.path.relpath(relative, "src"), known)
                if module != "apps" and module not in ALLOWED:
                    continue
                checked += 1
                check_file(relative, module, known, faults)
    print(f"{checked} files of {len(known)} modules read, {len(faults)} faults")
    for fault in faults:
        print(fault)
    return 1 if faults or checked == 0 else 0


if __name__ == "__main__":
    sys.exit(main())
