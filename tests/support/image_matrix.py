# SPDX-License-Identifier: Apache-2.0
"""The generated matrix of disks: every subformat that qemu-img writes, times sizes, times patterns, times chains; and
what vmferry writes. image_matrix_test.py runs a bounded part of it, image_matrix_long_test.py all of it.

The bytes of a case follow from its name alone: a failing one can be run by itself, by a regular expression,
    VMFERRY_MATRIX=vmdk-twoGbMaxExtentSparse tests/interop/image_matrix_test.py
"""

import hashlib
import itertools
import json
import random
import shutil
import tarfile
import xml.etree.ElementTree
import zlib

import disks
from disks import GIB, KIB, MIB, SECTOR, TIB, Case, Pattern

PATTERNS = ("empty", "dense", "edges_only", "sparse", "written_zeros", "discarded")
WRITTEN = PATTERNS[:-1]  # QEMU's VHDX ignores discards, which its raw files, the oracles, follow
DENSE_LIMIT = 40 * MIB  # dense disks are no larger: time
QCOW2_EDGE = 512 * MIB


class Family:
    """One subformat with its options and the sizes worth trying."""

    def __init__(self, name, format_, options=(), sizes=(), edges=(), *, patterns=PATTERNS, map_rule="exact",
                 libyal=True, written_by="writes", block_bytes=None):
        self.name, self.format, self.options = name, format_, tuple(options)
        self.sizes, self.edges = tuple(sizes), tuple(edges)
        self.patterns, self.map_rule, self.libyal = patterns, map_rule, libyal
        self.written_by = written_by  # "writes": played on the disk; "convert", "compress": made from a raw disk
        self.block_bytes = block_bytes

    @property
    def file(self):
        return f"disk.{disks.EXTENSION[self.format]}"


def around(edge):
    """Just under it, it, and just over."""
    return (edge - SECTOR, edge, edge + SECTOR)


def multiples(step, size):
    """A few edges of blocks `step` wide in a disk of `size`: the first ones, a middle one, the last."""
    last = size // step
    return {step * number for number in (1, 2, 3, last // 2, last - 1, last)}


def families():
    result = []
    add = lambda *arguments, **options: result.append(Family(*arguments, **options))

    # VMDK: grains of 64 KiB, grain tables of 32 MiB, split extents of 2 GiB (2047 MiB in VMware's).
    vmdk_sizes = (SECTOR, 3 * SECTOR, 64 * KIB - SECTOR, 64 * KIB + SECTOR, *around(32 * MIB), *around(2 * GIB),
                  2 * GIB + 33 * MIB, 64 * GIB)
    vmdk_edges = (64 * KIB, 32 * MIB, 64 * MIB, 2 * GIB - 64 * KIB, 2 * GIB, 2 * GIB + 32 * MIB)
    for name, options in (("monolithicSparse", ()), ("twoGbMaxExtentSparse", ()), ("monolithicFlat", ()),
                          ("twoGbMaxExtentFlat", ()), ("monolithicSparse", ("zeroed_grain=on",)),
                          ("twoGbMaxExtentSparse", ("zeroed_grain=on",)),
                          ("monolithicSparse", ("compat6=on",)),
                          ("monolithicSparse", ("adapter_type=lsilogic", "hwversion=14"))):
        add("-".join(["vmdk", name, *options]), "vmdk", (f"subformat={name}", *options), vmdk_sizes, vmdk_edges,
            libyal="zeroed_grain=on" not in options)  # libvmdk takes the mark for the place of a grain
    add("vmdk-streamOptimized", "vmdk", ("subformat=streamOptimized",), vmdk_sizes, vmdk_edges, written_by="convert")

    # VHD: blocks of 2 MiB, 128 of them in a sector of the block allocation table; sizes rounded up to CHS, or not.
    vhd_sizes = (SECTOR, 7 * SECTOR, *around(2 * MIB), *around(256 * MIB), 64 * GIB)
    vhd_edges = (SECTOR * 17, 2 * MIB, 4 * MIB, 256 * MIB, 258 * MIB)
    for kind, force in itertools.product(("dynamic", "fixed"), ("on", "off")):
        add(f"vhd-{kind}-force_size={force}", "vpc", (f"subformat={kind}", f"force_size={force}"), vhd_sizes, vhd_edges,
            map_rule="no_zero_mark")

    # VHDX: a chunk is what one bitmap block describes: 4 GiB for 512-byte sectors, whatever the block size.
    for block in (1, 2, 32, 256):
        block_bytes = block * MIB
        sizes = (SECTOR, *around(block_bytes), *around(4 * GIB), 64 * GIB)
        edges = (block_bytes, 2 * block_bytes, 4 * GIB, 4 * GIB + block_bytes)
        for kind in ("dynamic", "fixed"):
            if kind == "fixed":  # all of it is data, however sparse the file: its size is what it costs
                sizes = [size for size in sizes if size < GIB] + [4 * GIB + SECTOR] * (block == 32)
            add(f"vhdx-{kind}-{block}M", "vhdx", (f"subformat={kind}", f"block_size={block}M"), sizes, edges,
                patterns=WRITTEN, map_rule="none", block_bytes=block_bytes if kind == "dynamic" else None)
    add("vhdx-dynamic-no-zero-state", "vhdx", ("block_state_zero=off", "log_size=2M"),
        (SECTOR, 8 * MIB + SECTOR, 100 * MIB), (8 * MIB,), patterns=WRITTEN, map_rule="none")

    # QCOW2: an L2 table holds cluster_size / 8 entries (/ 16 when extended).
    for version, cluster in itertools.product(("v2", "v3"), (512, 4 * KIB, 64 * KIB, 2 * MIB)):
        covered = cluster * (cluster // 8)
        sizes = [0, SECTOR, cluster - SECTOR, cluster + SECTOR, 5 * MIB + 3 * SECTOR]
        sizes += around(covered) if covered <= 64 * GIB else (64 * GIB,)
        if cluster == 64 * KIB:
            sizes.append(64 * GIB)
        sizes = sorted({size for size in sizes if size >= 0})
        add(f"qcow2-{version}-{cluster}", "qcow2", (f"compat={version}", f"cluster_size={cluster}"), sizes,
            (cluster, 2 * cluster, covered, 2 * covered))
    qcow2_sizes = (SECTOR, 5 * MIB + SECTOR, *around(QCOW2_EDGE)[::2])
    qcow2_edges = (64 * KIB, 128 * KIB, QCOW2_EDGE)
    for options in (("refcount_bits=1",), ("refcount_bits=64",), ("lazy_refcounts=on",), ("preallocation=metadata",),
                    ("preallocation=falloc",)):
        add(f"qcow2-{options[0]}", "qcow2", options, qcow2_sizes, qcow2_edges)
    add("qcow2-preallocation=full", "qcow2", ("preallocation=full",), qcow2_sizes[:2], qcow2_edges)
    for cluster in (16 * KIB, 64 * KIB, 2 * MIB):
        covered = cluster * (cluster // 16)
        sizes = (SECTOR, cluster + SECTOR, 5 * MIB + SECTOR, *(around(covered)[::2] if covered < GIB else (64 * GIB,)))
        add(f"qcow2-extended_l2-{cluster}", "qcow2", ("extended_l2=on", f"cluster_size={cluster}"), sizes,
            (cluster // 32, cluster, covered), libyal=False)  # libqcow knows no extended L2 tables
    for method, cluster in itertools.product(("zlib", "zstd"), (512, 4 * KIB, 64 * KIB, 2 * MIB)):
        add(f"qcow2-{method}-{cluster}", "qcow2", (f"compression_type={method}", f"cluster_size={cluster}"),
            (SECTOR, cluster + SECTOR, 5 * MIB + SECTOR, 35 * MIB), (cluster, 4 * MIB), written_by="compress",
            libyal=method == "zlib")
    add("qcow2-zlib-v2", "qcow2", ("compat=v2",), (5 * MIB + SECTOR,), (64 * KIB,), written_by="compress")
    add("qcow2-zlib-extended_l2", "qcow2", ("extended_l2=on",), (5 * MIB + SECTOR,), (64 * KIB,),
        written_by="compress", libyal=False)

    add("raw", "raw", (), (SECTOR, 3 * SECTOR, 64 * KIB + SECTOR, 5 * MIB + SECTOR, *around(2 * GIB), 64 * GIB),
        (4 * KIB, 2 * GIB), map_rule="no_zero_mark")
    return result


def seed_of(name):
    return zlib.crc32(name.encode())


def reading_cases(long):
    """Short: each size of each family once or twice, the patterns in turn. Long: each size with each pattern."""
    turn = 0
    for family in families():
        for size in family.sizes:
            fitting = [pattern for pattern in family.patterns
                       if (pattern != "dense" or size <= DENSE_LIMIT) and (size > 0 or pattern == "empty")]
            if not long:
                fitting = [fitting[turn % len(fitting)]]
                turn += 1
            for pattern in fitting:
                name = f"{family.name}/{size}/{pattern}"
                yield Case(name, lambda bench, f=family, s=size, p=pattern, n=name: read_case(bench, f, s, p, n))


def read_case(bench, family, size, pattern, name):
    bench.commands.append(f"# {name}")
    edges = set(family.edges) | (multiples(family.block_bytes, size) if family.block_bytes else set())
    writes = getattr(Pattern(size, edges, seed_of(name)), pattern)()
    disk = family.file
    oracle = None
    if family.written_by == "writes":
        bench.create(disk, family.format, size, *family.options)
        bench.write(disk, family.format, writes)
        if family.format == "vhdx" and size > GIB:  # QEMU would read all of it
            oracle = replay(bench, size, writes)
    else:
        raw = replay(bench, size, writes, "source.raw")
        options = ("-c",) if family.written_by == "compress" else ()
        bench.convert(raw, "raw", disk, family.format, *options, *family.options)
        if family.written_by == "compress" and pattern in ("sparse", "edges_only"):  # some clusters once more
            bench.write(disk, family.format, [disks.noise(size // 2, min(size - size // 2, 5000), 2)])
    may_hold = disks.touched(writes, family.block_bytes, size) if family.block_bytes else None
    libyal = family.libyal and libyal_reads(family, writes)
    if size == 0:
        empty_case(bench, disk, family.format)
        return
    bench.check_reading(disk, family.format, oracle=oracle, map_rule=family.map_rule, libyal=libyal, may_hold=may_hold)


def libyal_reads(family, writes):
    """libqcow knows no zero clusters: it takes the mark for a place."""
    marks = any(write.startswith("discard") or " -z " in write for write in writes)
    return family.format != "qcow2" or "compat=v2" in family.options or not marks


def empty_case(bench, disk, format_):
    """A disk of no bytes: nobody's machine, so it may be refused; what it may not is crash or be read otherwise."""
    bench.run("vmferry", "image", "map", disk, "--output", "json", codes=(0, 3))
    del format_


def replay(bench, size, writes, name="oracle.raw"):
    """The same writes, on a raw file."""
    bench.truncate(name, size)
    bench.write(name, "raw", writes)
    return name


# --- chains


CHAINS = {
    # name: layers from the base up, each (format, options, size in MiB)
    "vmdk-2": (("vmdk", (), 40), ("vmdk", (), 40)),
    "vmdk-5": (("vmdk", (), 70),) * 5,
    "vmdk-split-2": (("vmdk", ("subformat=twoGbMaxExtentSparse",), 40), ("vmdk", (), 40)),
    "vmdk-zeroed-3": (("vmdk", ("zeroed_grain=on",), 40),) * 3,
    "qcow2-2": (("qcow2", (), 20),) * 2,
    "qcow2-5": (("qcow2", (), 20),) * 5,
    "qcow2-clusters-5": (("qcow2", ("cluster_size=512",), 9), ("qcow2", ("cluster_size=2M",), 9),
                         ("qcow2", ("cluster_size=4k",), 9), ("qcow2", ("extended_l2=on",), 9),
                         ("qcow2", ("cluster_size=64k",), 9)),
    "qcow2-growing-4": (("qcow2", (), 3), ("qcow2", (), 5), ("qcow2", ("cluster_size=2M",), 9), ("qcow2", (), 12)),
    "qcow2-shrinking-3": (("qcow2", (), 12), ("qcow2", (), 7), ("qcow2", (), 4)),
    "qcow2-dented-3": (("qcow2", (), 12), ("qcow2", (), 4), ("qcow2", (), 10)),
    "qcow2-v2-3": (("qcow2", ("compat=v2",), 20),) * 3,
    "raw-qcow2": (("raw", (), 20), ("qcow2", (), 20)),
    "raw-qcow2-longer": (("raw", (), 5), ("qcow2", (), 20), ("qcow2", (), 20)),
    "vmdk-qcow2": (("vmdk", (), 40), ("qcow2", (), 40)),
    "vmdk-flat-qcow2": (("vmdk", ("subformat=monolithicFlat",), 20), ("qcow2", (), 20)),
    "vhd-qcow2": (("vpc", ("force_size=on",), 20), ("qcow2", (), 20)),
    "vhdx-qcow2-3": (("vhdx", (), 20), ("qcow2", (), 20), ("qcow2", (), 20)),
    "mixed-5": (("raw", (), 8), ("qcow2", ("compat=v2", "cluster_size=4k"), 16), ("qcow2", ("extended_l2=on",), 16),
                ("qcow2", (), 24), ("qcow2", ("cluster_size=512",), 24)),
    "mixed-vmdk-5": (("vmdk", (), 40), ("qcow2", (), 40), ("qcow2", ("cluster_size=512",), 40),
                     ("qcow2", ("cluster_size=1M",), 44), ("qcow2", ("compat=v2",), 44)),
}


def chain_cases(long):
    for name, layers in CHAINS.items():
        for pattern in ("sparse", "edges_only", "written_zeros", "discarded") if long else ("sparse",):
            case = f"chain-{name}/{pattern}"
            yield Case(case, lambda bench, l=layers, p=pattern, n=case: chain_case(bench, l, p, n))


def chain_case(bench, layers, pattern, name):
    bench.commands.append(f"# {name}")
    below = None
    sizes = {size for _, _, size in layers}
    for number, (format_, options, size_mib) in enumerate(layers):
        size = size_mib * MIB + (SECTOR if number % 2 else 0) if len(sizes) > 1 else size_mib * MIB
        disk = f"layer{number}.{disks.EXTENSION[format_]}"
        # A VMDK over a VMDK takes its parent's size and does not name it again.
        bench.create(disk, format_, None if below and format_ == "vmdk" else size, *options, backing=below)
        kind = pattern if number else "dense" if size <= DENSE_LIMIT and pattern != "sparse" else "sparse"
        bench.write(disk, format_, getattr(Pattern(size, (64 * KIB, 32 * MIB, size // 2), seed_of(f"{name}{number}")), kind)())
        below = disk, format_
    formats = {format_ for format_, _, _ in layers}
    rule = "none" if "vhdx" in formats else "hole_base" if formats & {"raw", "vpc"} else \
        "short_parent" if len(sizes) > 1 else "exact"
    bench.check_reading(*below, map_rule=rule, libyal=False, chain_length=len(layers) - 1)


# --- what a disk says beside its bytes


def special_cases():
    yield Case("special/qcow2-internal-snapshot", internal_snapshot_case)
    yield Case("special/qcow2-backing-in-subfolder", backing_in_subfolder_case)
    yield Case("special/one-byte-differs", difference_case)
    yield Case("special/extension-disagrees", wrong_extension_case)
    for server in ("qemu-nbd", "nbdkit"):
        yield Case(f"special/{server}", lambda bench, s=server: nbd_case(bench, s))


def internal_snapshot_case(bench):
    """The active state is read, not the snapshot."""
    bench.create("disk.qcow2", "qcow2", 8 * MIB)
    bench.write("disk.qcow2", "qcow2", [disks.noise(0, 3 * MIB)])
    bench.run("qemu-img", "snapshot", "-c", "before", "disk.qcow2")
    bench.write("disk.qcow2", "qcow2", [disks.fill(MIB, MIB), disks.zeros(2 * MIB, 300000)])
    bench.check_reading("disk.qcow2", "qcow2", libyal=False)


def backing_in_subfolder_case(bench):
    bench.path("below").mkdir()
    bench.commands.append("mkdir below")
    bench.create("below/base.qcow2", "qcow2", 8 * MIB)
    bench.write("below/base.qcow2", "qcow2", [disks.noise(MIB, 3 * MIB)])
    bench.create("disk.qcow2", "qcow2", None, backing=("below/base.qcow2", "qcow2"))
    bench.write("disk.qcow2", "qcow2", [disks.fill(2 * MIB, 100000)])
    bench.check_reading("disk.qcow2", "qcow2", libyal=False, chain_length=1)


def difference_case(bench):
    """`image compare` says 6 when one byte differs, and where it is."""
    size = 40 * MIB + SECTOR
    raw = replay(bench, size, [disks.noise(MIB, 3 * MIB)], "a.raw")
    for name, format_, options in (("b.vmdk", "vmdk", ()), ("b.vhd", "vpc", ("force_size=on",)), ("b.vhdx", "vhdx", ()),
                                   ("b.qcow2", "qcow2", ()), ("b.raw", "raw", ())):
        for place in (0, 2 * MIB + 77, size - 1):
            bench.convert(raw, "raw", name, format_, *options)
            bench.vmferry("image", "compare", raw, name)
            bench.write(name, format_, [disks.fill(place, 1, 0xEE)])
            out = bench.run("vmferry", "image", "compare", raw, name, codes=(6,))
            out += bench.run("vmferry", "image", "compare", name, raw, "--output", "json", codes=(6,))
            bench.expect(str(place) in out, f"the answer names byte {place}: {out}")
            bench.remove(name)


def wrong_extension_case(bench):
    """The content decides; an extension that disagrees is reported."""
    bench.create("disk.vmdk", "qcow2", 5 * MIB)
    bench.write("disk.vmdk", "qcow2", [disks.noise(MIB, 3 * MIB)])
    inspected = bench.json("vmferry", "image", "inspect", "disk.vmdk", "--output", "json")
    bench.equal(inspected["format"], "qcow2", "format")
    bench.expect("vmdk" in json.dumps({key: value for key, value in inspected.items() if key != "path"}),
                 f"a remark about the extension in {inspected}")


def nbd_case(bench, server):
    """An export of a stranger's server: its bytes, and what it says is allocated."""
    if shutil.which(server) is None:
        print(f"skipped: special/{server}: {server} is missing", flush=True)
        return
    size = 70 * MIB + SECTOR
    writes = Pattern(size, (32 * MIB,), 11).sparse(40)
    oracle = replay(bench, size, writes)
    if server == "qemu-nbd":
        disk, format_ = "disk.qcow2", "qcow2"
        bench.create(disk, format_, size)
        bench.write(disk, format_, writes)
        program = ["qemu-nbd", "-r", "-t", "-e", "8", "-f", format_, "-k", "socket", disk]
    else:
        disk, format_ = oracle, "raw"
        program = ["nbdkit", "-f", "-r", "-U", "socket", "file", f"file={oracle}"]
    program = [str(bench.path(word)) if word == "socket" else word for word in program]
    with bench.background(*program, until="socket"):
        uri = f"nbd+unix:///?socket={bench.path('socket')}"
        inspected = bench.json("vmferry", "image", "inspect", uri, "--output", "json")
        bench.equal((inspected["format"], inspected["virtual_size_bytes"]), ("nbd", size), "format and size by inspect")
        bench.vmferry("image", "compare", uri, oracle)
        bench.vmferry("image", "convert", uri, "ours.raw", "--format", "raw")
        bench.same_bytes("ours.raw", oracle)
        ours = bench.json("vmferry", "image", "map", uri, "--output", "json")
    theirs = bench.json("qemu-img", "map", "-f", format_, "--output=json", disk)
    bench.same_map(ours["extents"], theirs, "nbd")


# --- large disks: what is stored is small, oracle and result are sparse files


def large_cases(long):
    sizes = (2 * TIB + SECTOR, 15 * TIB)
    kinds = [("raw", ()), ("qcow2", ()), ("qcow2", ("cluster_size=2M",)), ("vhdx", ())]
    if long:
        kinds += [("vhdx", ("block_size=256M",)), ("qcow2", ("extended_l2=on", "cluster_size=128k")), ("vhdx", ("block_size=2M",))]
    for size, (format_, options) in itertools.product(sizes, kinds):
        if not long and size == 15 * TIB and (format_, options) not in (("qcow2", ()), ("vhdx", ())):
            continue
        name = "-".join(["large", format_, *options]) + f"/{size}"
        yield Case(name, lambda bench, s=size, f=format_, o=options, n=name: large_case(bench, s, f, o, n))


def large_case(bench, size, format_, options, name):
    bench.commands.append(f"# {name}")
    disk = f"disk.{disks.EXTENSION[format_]}"
    edges = (4 * GIB, TIB, 2 * TIB, 2 * TIB - 64 * KIB, 8 * TIB, size // 2)
    pattern = Pattern(size, edges, seed_of(name))
    writes = pattern.edges_only() + [disks.noise(pattern.random.randrange(size - 9 * MIB), 70000, 1) for _ in range(12)]
    bench.create(disk, format_, size, *options)
    bench.write(disk, format_, writes)
    oracle = replay(bench, size, writes)
    bench.vmferry("image", "compare", disk, oracle)
    bench.vmferry("image", "convert", disk, "ours.raw", "--format", "raw")
    difference = disks.same_sparse_bytes(bench.path("ours.raw"), bench.path(oracle))
    bench.expect(difference is None, f"ours.raw and {oracle} differ: {difference}")
    rule = {"raw": "no_zero_mark", "vhdx": "none"}.get(format_, "exact")
    bench.check_map(disk, format_, size, rule,
                    may_hold=disks.touched(writes, 256 * MIB, size) if format_ == "vhdx" else None)
    # Sampled reads of the source by an independent reader, at places where something is and where nothing is.
    if format_ == "vhdx":
        with open(bench.path("ours.raw"), "rb") as ours:
            for place in (0, size - SECTOR, size // 3 // SECTOR * SECTOR):
                ours.seek(place)
                sector = ours.read(SECTOR)
                if sector == bytes(SECTOR):
                    bench.run("qemu-io", "-r", "-f", format_, "-c", f"read -P 0 {place} {SECTOR}", disk)
    # ... and back.
    bench.vmferry("image", "convert", disk, "again.qcow2", "--format", "qcow2")
    bench.run("qemu-img", "check", "-q", "again.qcow2")
    bench.same_bytes("again.qcow2", oracle, "qcow2")


# --- what vmferry writes


def target_sources(long):
    """(name, size, writes) of the disks that every target gets."""
    few = [("sector", SECTOR, lambda p: p.dense()),
           ("odd", 5 * MIB + 3 * SECTOR, lambda p: p.written_zeros()),
           ("tables", 600 * MIB + SECTOR, lambda p: p.edges_only()),
           ("dense", 33 * MIB, lambda p: p.dense())]
    more = [("empty", 70 * MIB, lambda p: p.empty()),
            ("sparse", 4 * GIB + SECTOR, lambda p: p.sparse(60)),
            ("grain", 64 * KIB - SECTOR, lambda p: p.dense()),
            ("wide", 64 * GIB, lambda p: p.edges_only()),
            ("odd-dense", 8 * MIB - SECTOR, lambda p: p.dense())]
    for name, size, make in few + (more if long else more[:2]):
        edges = (64 * KIB, 2 * MIB, 32 * MIB, 256 * MIB, 512 * MIB, 2 * GIB, 4 * GIB)
        yield name, size, make(Pattern(size, edges, seed_of(name)))


def target_cases(long):
    for (name, size, writes), target in itertools.product(target_sources(long), (*disks.TARGETS, "ova")):
        if name == "wide" and target == "vhd-fixed":
            continue  # 64 GiB of zeros, written out by some readers
        yield Case(f"target-{target}/{name}", lambda bench, t=target, s=size, w=writes: target_case(bench, t, s, w, long))


def target_case(bench, target, size, writes, long):
    oracle = replay(bench, size, writes)
    extension = disks.EXTENSION.get(disks.TARGETS.get(target), target)
    first = f"first.{extension}"
    bench.vmferry("image", "convert", oracle, first, "--format", target)
    if target == "ova":
        check_appliance(bench, first, oracle)
    else:
        check_written(bench, first, target, oracle)
    bench.vmferry("image", "compare", first, oracle)

    # The same bytes out of other formats, and zeros that are stored rather than left out: the same file.
    others = [("source.qcow2", "qcow2", ("-c",)), ("source.vhdx", "vhdx", ())]
    if long:
        others += [("source.vmdk", "vmdk", ()), ("stream.vmdk", "vmdk", ("subformat=streamOptimized",)),
                   ("source.vhd", "vpc", ("force_size=on",)), ("fixed.vhd", "vpc", ("force_size=on", "subformat=fixed")),
                   ("small.qcow2", "qcow2", ("cluster_size=4k",))]
        if size <= DENSE_LIMIT:
            others.append(("full.raw", "raw", ("-S", "0")))
    digest = bench.digest(first)
    again = f"again/{first}"  # VMDKs and appliances tell the name of their file
    bench.run("mkdir", "again")
    for source, format_, options in others:
        if format_ == "vhdx" and size > GIB:
            continue
        if format_ == "raw":
            bench.run("cp", "--sparse=never", oracle, source)
        else:
            bench.convert(oracle, "raw", source, format_, *options)
        bench.vmferry("image", "convert", source, again, "--format", target)
        bench.commands.append(f"sha256sum {first} {again}")
        bench.equal(bench.digest(again), digest, f"digest of {again}, made from {source}, against that of {first}")
        bench.remove(source, again)
    bench.vmferry("image", "convert", first, "back.raw", "--format", "raw")
    if target.startswith("vhd"):  # may be longer: rounded up to a geometry
        bench.expect(bench.path("back.raw").stat().st_size >= size, "size of back.raw")
    else:
        bench.equal(bench.path("back.raw").stat().st_size, size, "size of back.raw")
    bench.same_bytes("back.raw", oracle)


def check_written(bench, disk, target, oracle):
    """qemu-img and libyal agree with what vmferry wrote, and with vmferry about its size and allocation."""
    format_ = disks.TARGETS[target]
    size = bench.path(oracle).stat().st_size
    info = bench.info(disk, format_)
    inspected = bench.json("vmferry", "image", "inspect", disk, "--output", "json")
    bench.equal(info["virtual-size"], inspected["virtual_size_bytes"], "size by qemu-img info, against inspect")
    bench.equal(inspected["format"], disks.OUR_NAME[format_], "format by inspect")
    bench.equal(inspected.get("defects", []), [], "defects by inspect")
    if target.startswith("vhd"):
        bench.expect(size <= info["virtual-size"] < size * 1.01 + 20 * MIB, f"size {info['virtual-size']} of {size}")
    else:
        bench.equal(info["virtual-size"], size, "size by qemu-img info")
    if target == "qcow2-compressed" or target == "qcow2":
        bench.run("qemu-img", "check", "-q", "-f", "qcow2", disk)
    elif format_ == "vmdk":
        bench.run("qemu-img", "check", "-q", "-f", "vmdk", disk)
    bench.same_bytes(disk, oracle, format_)
    bench.check_map(disk, format_, info["virtual-size"], "no_zero_mark" if format_ in ("raw", "vpc") else "exact")
    if format_ == "vpc":
        bench.vmferry("image", "convert", disk, "longer.raw", "--format", "raw")
        bench.libyal(disk, format_, "longer.raw")
        bench.remove("longer.raw")
    else:
        bench.libyal(disk, format_, oracle)


def local_name(element):
    return element.tag.rsplit("}", 1)[-1]


def attribute(element, name):
    return next((value for key, value in element.attrib.items() if key.rsplit("}", 1)[-1] == name), None)


def check_appliance(bench, path, oracle):
    """A tar with the descriptor first, a manifest with true digests, and a disk that qemu-img reads."""
    with tarfile.open(bench.path(path)) as archive:
        names = archive.getnames()
        content = {}
        for member in archive.getmembers():
            bench.expect(member.isfile() and "/" not in member.name, f"a plain file: {member.name}")
            if member.name.endswith(".vmdk"):
                archive.extract(member, bench.folder)
            else:
                content[member.name] = archive.extractfile(member).read()
    bench.commands.append(f"tar -xf {path}")
    bench.expect(names[0].endswith(".ovf"), f"the descriptor comes first: {names}")
    (manifest,) = [name for name in names if name.endswith(".mf")]
    (disk,) = [name for name in names if name.endswith(".vmdk")]
    listed = {}
    for line in content[manifest].decode().splitlines():
        algorithm, rest = line.split("(", 1)
        name, digest = rest.split(")=")
        bench.equal(algorithm, "SHA256", "digest of the manifest")
        listed[name] = digest.strip()
    for name in names:
        if name != manifest:
            found = disks.sha256_of(bench.path(name)) if name == disk else hashlib.sha256(content[name]).hexdigest()
            bench.equal(listed.get(name), found, f"digest of {name} in the manifest")
    root = xml.etree.ElementTree.fromstring(content[names[0]])
    bench.equal(local_name(root), "Envelope", "root of the descriptor")
    (file,) = [item for item in root.iter() if local_name(item) == "File"]
    (described,) = [item for item in root.iter() if local_name(item) == "Disk"]
    bench.equal(attribute(file, "href"), disk, "href of the file")
    bench.equal(int(attribute(file, "size")), bench.path(disk).stat().st_size, "size of the file")
    bench.equal(attribute(described, "fileRef"), attribute(file, "id"), "fileRef of the disk")
    units = attribute(described, "capacityAllocationUnits") or "byte"
    factor = 2 ** int(units.split("^")[1]) if "^" in units else 1
    size = bench.path(oracle).stat().st_size
    bench.equal(int(attribute(described, "capacity")) * factor, size, "capacity of the disk")
    bench.run("qemu-img", "check", "-q", "-f", "vmdk", disk)
    bench.same_bytes(disk, oracle, "vmdk")


# --- random disks


def property_cases(seed, count):
    print(f"seed {seed}; VMFERRY_SEED={seed} plays the same disks again", flush=True)
    kinds = [family for family in families() if family.written_by == "writes"]
    for number in range(count):
        name = f"random-{seed}-{number}"
        yield Case(name, lambda bench, n=name: property_case(bench, kinds, n))


def property_case(bench, kinds, name):
    """read = oracle, for random writes; the oracle is a raw file that got the same writes."""
    source = random.Random(name)
    family = source.choice(kinds)
    size = source.choice([size for size in family.sizes if 0 < size <= GIB] + [source.randrange(1, 200000) * SECTOR])
    bench.commands.append(f"# {name}: {family.name}")
    bench.create(family.file, family.format, size, *family.options)
    size = bench.info(family.file, family.format)["virtual-size"]
    writes = Pattern(size, family.edges, name).sparse(source.randrange(5, 80))
    bench.write(family.file, family.format, writes)
    bench.check_reading(family.file, family.format, oracle=replay(bench, size, writes), map_rule=family.map_rule,
                        libyal=family.libyal and libyal_reads(family, writes),
                        may_hold=disks.touched(writes, family.block_bytes, size) if family.block_bytes else None)
