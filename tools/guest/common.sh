# Shared by debian.sh and tiny.sh, which make-guest runs with KIND, SIZE_MIB, TOOLS and WORK set.
# shellcheck shell=bash

SUITE=bookworm
ROOT_UUID=6f1b6a1e-2c7a-4d56-9d0e-7f0d6c1f5a01
FIRST_SECTOR=2048               # partition 1 begins at 1 MiB; GRUB's core image lives in the gap before it
GRUB=/usr/lib/grub/i386-pc

# The machine's own Debian sources, so that a mirror or proxy configured there serves the guest too.
debian_sources() {
  local found
  found=$(apt-get indextargets --format '$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)' |
    awk -v s="$SUITE" '$1 == "Packages" && $4 == "main" && ($3 == s || $3 == s "-updates" || $3 == s "-security") {
      print "deb", $2, $3, $4 }' | sort -u)
  grep -q " $SUITE main" <<<"$found" || { echo "no apt source for Debian $SUITE main is configured in /etc/apt" >&2; return 1; }
  printf '%s\n' "$found"
}

# The machine's acquire options (proxy, clock checks), one a line as NAME "VALUE", for apt runs of our own.
apt_acquire_options() {
  apt-config dump --no-empty | sed -n 's/^\(Acquire::\(https\{0,1\}::Proxy\|Check-Date\|Check-Valid-Until\)\) "\(.*\)";$/\1 "\3"/p'
}

# make_disk FILE: an empty disk with an MBR and one bootable Linux partition of PARTITION_MIB.
make_disk() {
  truncate -s "${SIZE_MIB}M" "$1"
  printf 'label: dos\nlabel-id: 0x766d6665\nstart=%d, size=%dMiB, type=83, bootable\n' \
    "$FIRST_SECTOR" "$PARTITION_MIB" | sfdisk -q "$1"
}

# fill_partition FILE FOLDER: ext4 straight from a folder into partition 1, without mounting.
fill_partition() {
  mke2fs -q -t ext4 -U "$ROOT_UUID" -L root -d "$2" \
    -E "offset=$((FIRST_SECTOR * 512)),root_owner=0:0,hash_seed=$ROOT_UUID,lazy_itable_init=1" \
    "$1" "$((PARTITION_MIB * 1024))k"
}

# install_grub FILE CONFIG MODULE...: GRUB for BIOS into the boot sector and the gap behind it, as grub-install would,
# but on a file: boot.img's code goes before the partition table, core.img follows it.
install_grub() {
  local disk=$1 config=$2
  shift 2
  grub-mkimage -O i386-pc -p /boot/grub -c "$config" -o "$WORK/core.img" "$@"
  python3 - "$disk" "$GRUB/boot.img" "$WORK/core.img" "$FIRST_SECTOR" <<'PY'
import struct, sys
disk, boot, core, first = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
boot = bytearray(open(boot, 'rb').read())
core = bytearray(open(core, 'rb').read())
core += bytes(-len(core) % 512)
sectors = len(core) // 512
assert len(boot) == 512 and sectors < first, (len(boot), sectors)
boot[0x66:0x68] = b'\x90\x90'      # always trust the drive number the BIOS hands over, as grub-install does
# Block list at the end of core's first sector: where the rest of core lies (sector, count, load segment).
core[500:512] = struct.pack('<QHH', 2, sectors - 1, 0x820)
with open(disk, 'r+b') as f:
    f.write(boot[:440])            # the disk signature and the partition table stay
    f.seek(512)
    f.write(core)
PY
}
