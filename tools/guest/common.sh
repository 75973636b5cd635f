# Shared by debian.sh and tiny.sh, which make-guest runs with KIND, FIRMWARE, SIZE_MIB, DATA_DISK_MIB (0: none), TOOLS and
# WORK set.
# shellcheck shell=bash

SUITE=bookworm
ROOT_UUID=6f1b6a1e-2c7a-4d56-9d0e-7f0d6c1f5a01
DATA_UUID=6f1b6a1e-2c7a-4d56-9d0e-7f0d6c1f5a02
ESP_SERIAL=766D6665
DATA_SEED=20240301
GRUB=/usr/lib/grub/i386-pc
# Where the root partition begins. BIOS: at 1 MiB, GRUB's core image lives in the gap before it. UEFI: behind the EFI
# system partition.
ESP_MIB=8
if [ "$FIRMWARE" = uefi ]; then ROOT_MIB=$((1 + ESP_MIB)); else ROOT_MIB=1; fi
FIRST_SECTOR=$((ROOT_MIB * 2048))

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

# make_disk FILE: an empty disk with one bootable Linux partition of PARTITION_MIB; with UEFI a GPT and an EFI system
# partition before it.
make_disk() {
  truncate -s "${SIZE_MIB}M" "$1"
  if [ "$FIRMWARE" = bios ]; then
    printf 'label: dos\nlabel-id: 0x766d6665\nstart=%d, size=%dMiB, type=83, bootable\n' \
      "$FIRST_SECTOR" "$PARTITION_MIB" | sfdisk -q "$1"
    return
  fi
  sfdisk -q "$1" <<EOF
label: gpt
label-id: 6f1b6a1e-2c7a-4d56-9d0e-7f0d6c1f5a10
start=2048, size=${ESP_MIB}MiB, type=U, uuid=6f1b6a1e-2c7a-4d56-9d0e-7f0d6c1f5a11, name=esp
start=$FIRST_SECTOR, size=${PARTITION_MIB}MiB, type=L, uuid=6f1b6a1e-2c7a-4d56-9d0e-7f0d6c1f5a12, name=root
EOF
}

# fill_partition FILE FOLDER: ext4 straight from a folder into the root partition, without mounting.
fill_partition() { fill_at "$1" "$2" "$FIRST_SECTOR" "$PARTITION_MIB" "$ROOT_UUID" root; }

# fill_at FILE FOLDER SECTOR MIB UUID LABEL
fill_at() {
  mke2fs -q -t ext4 -U "$5" -L "$6" -d "$2" \
    -E "offset=$(($3 * 512)),root_owner=0:0,hash_seed=$5,lazy_itable_init=1" \
    "$1" "$(($4 * 1024))k"
}

# install_loader FILE CONFIG MODULE...: GRUB that begins with CONFIG, for the firmware of this guest.
install_loader() {
  if [ "$FIRMWARE" = bios ]; then
    install_grub "$1" "$2" biosdisk "${@:3}"
  else
    install_grub_efi "$@"
  fi
}

# install_grub_efi FILE CONFIG MODULE...: GRUB as the fallback loader, which needs no entry in the firmware's variables.
install_grub_efi() {
  local disk=$1 config=$2
  shift 2
  grub-mkimage -O x86_64-efi -p /boot/grub -c "$config" -o "$WORK/BOOTX64.EFI" "$@"
  truncate -s "${ESP_MIB}M" "$WORK/esp.img"
  mkfs.vfat -i "$ESP_SERIAL" -n ESP "$WORK/esp.img"
  touch -d @0 "$WORK/BOOTX64.EFI"
  mmd -i "$WORK/esp.img" ::/EFI ::/EFI/BOOT
  mcopy -m -i "$WORK/esp.img" "$WORK/BOOTX64.EFI" ::/EFI/BOOT/
  dd if="$WORK/esp.img" of="$disk" bs=1M seek=1 conv=notrunc,sparse status=none
}

# make_data_disk FILE: MBR, one partition, ext4 labelled vmferry-data: a line of text and a MiB that does not compress.
make_data_disk() {
  truncate -s "${DATA_DISK_MIB}M" "$1"
  printf 'label: dos\nlabel-id: 0x766d6664\nstart=2048, type=83\n' | sfdisk -q "$1"
  mkdir data
  echo "vmferry known content of the second disk" >data/known.txt
  python3 -c "import random,sys; sys.stdout.buffer.write(random.Random($DATA_SEED).randbytes(1 << 20))" >data/bytes
  find data -exec touch -h -d @0 {} +
  fakeroot bash -euo pipefail -c '. "$TOOLS/guest/common.sh"; chown -R 0:0 data
    fill_at "$0" data 2048 $((DATA_DISK_MIB - 1)) "$DATA_UUID" vmferry-data' "$1"
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
