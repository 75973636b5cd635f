#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Compares a disk, as libvmdk, libvhdi or libqcow reads it, with a raw file: exit 0 when they hold the same bytes.

usage: libyal_compare.py vmdk|vhdi|qcow DISK RAW

A program of its own, in Debian's Python: these libraries are C, and a fault of theirs must not end the tests. Bytes
of RAW behind the end of DISK have to be zero; no more than kMaximum of holes is read.
"""
import importlib
import os
import sys

STEP = 4 << 20
# A hole longer than this is looked at only at both ends and in the middle: the libraries read zeros slowly.
LONG_HOLE = 64 << 20


def data_runs(file):
    size, at = os.fstat(file).st_size, 0
    while at < size:
        try:
            begin = os.lseek(file, at, os.SEEK_DATA)
        except OSError:
            return
        at = os.lseek(file, begin, os.SEEK_HOLE)
        yield begin, at


def pieces(file, size):
    """Ranges to compare: everything, but for the insides of long holes."""
    at = 0
    for begin, end in [*data_runs(file), (size, size)]:
        if begin - at > LONG_HOLE:
            middle = (at + begin) // 2
            yield from ((at, at + STEP), (middle, middle + STEP), (begin - STEP, begin))
        else:
            yield at, begin
        yield begin, end
        at = end


def main():
    kind, disk, raw = sys.argv[1:]
    library = importlib.import_module(f"py{kind}")
    handle = library.handle() if kind == "vmdk" else library.file()
    handle.open(disk)
    if kind == "vmdk":
        handle.open_extent_data_files()
    file = os.open(raw, os.O_RDONLY)
    size, media_size = os.fstat(file).st_size, handle.get_media_size()
    if media_size != size:
        print(f"lib{kind} reads a disk of {media_size} bytes, {raw} has {size}")
        return 1
    for begin, end in pieces(file, size):
        for at in range(begin, end, STEP):
            step = min(STEP, end - at)
            if handle.read_buffer_at_offset(step, at) != os.pread(file, step, at):
                print(f"lib{kind} reads other bytes in [{at}, {at + step})")
                return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
