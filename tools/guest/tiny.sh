# The tiny guest: Debian's cloud kernel and busybox in an initramfs, GRUB, and a second partition of known bytes.
# shellcheck shell=bash
. "$TOOLS/guest/common.sh"
cd "$WORK"

PARTITION_MIB=$((48 - ROOT_MIB))  # the root partition ends at 48 MiB; the known bytes of the last one follow
DATA_MIB=48
SEED=20240229

# Packages are fetched with apt state of our own, so that no root and no fresh lists of the machine are needed.
mkdir -p apt/lists/partial apt/cache/archives/partial debs
debian_sources >sources.list
: >apt/status
apt_options=(-q -o Dir::State="$WORK/apt" -o Dir::State::lists="$WORK/apt/lists" -o Dir::State::status="$WORK/apt/status"
  -o Dir::Cache="$WORK/apt/cache" -o Dir::Etc::sourcelist="$WORK/sources.list" -o Dir::Etc::sourceparts=/dev/null
  -o Acquire::Languages=none -o Acquire::Retries=3 -o APT::Sandbox::User= -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
apt-get "${apt_options[@]}" update
kernel_package=$(apt-cache "${apt_options[@]}" depends linux-image-cloud-amd64 |
  sed -n 's/^ *Depends: \(linux-image-.*\)$/\1/p' | head -n 1)
[ -n "$kernel_package" ] || { echo "apt names no kernel package" >&2; exit 1; }
(cd debs && apt-get "${apt_options[@]}" download "$kernel_package" busybox-static)
version=${kernel_package#linux-image-}
echo "fetched: $SECONDS s"

modules=lib/modules/$version/kernel
mkdir -p initramfs/{bin,dev,proc,sys,modules,etc} unpacked tree/boot
dpkg-deb --fsys-tarfile debs/busybox-static_*.deb | tar -x -C unpacked ./bin/busybox
dpkg-deb --fsys-tarfile debs/linux-image-*.deb |
  tar -x -C unpacked "./boot/vmlinuz-$version" "./$modules/drivers/virtio" "./$modules/drivers/net/virtio_net.ko" \
    "./$modules/drivers/net/net_failover.ko" "./$modules/net/core/failover.ko" \
    "./$modules/drivers/acpi/button.ko" "./$modules/drivers/input/evdev.ko" "./$modules/drivers/block/virtio_blk.ko"
for module in virtio_ring virtio virtio_pci_modern_dev virtio_pci_legacy_dev virtio_pci failover net_failover virtio_net \
  button evdev virtio_blk; do
  find unpacked/lib -name "$module.ko" -exec cp {} initramfs/modules/ \; 
  [ -s "initramfs/modules/$module.ko" ] || { echo "the kernel package has no $module" >&2; exit 1; }
done
cp unpacked/bin/busybox initramfs/bin/
cp "unpacked/boot/vmlinuz-$version" tree/boot/vmlinuz
install -m 755 "$TOOLS/guest/tiny-init" initramfs/init
install -m 755 "$TOOLS/guest/tiny-dhcp" initramfs/etc/dhcp
find initramfs -exec touch -h -d @0 {} +
(cd initramfs && find . | LC_ALL=C sort | cpio -o -H newc -R 0:0 --reproducible --quiet) >tree/boot/initrd
echo "unpacked: $SECONDS s"

make_disk disk.raw
if [ "$FIRMWARE" = bios ]; then type=da; else type=L,uuid=6f1b6a1e-2c7a-4d56-9d0e-7f0d6c1f5a13; fi
printf 'start=%dMiB, type=%s\n' "$DATA_MIB" "$type" | sfdisk -q --append disk.raw
cat >early.cfg <<EOF
search --no-floppy --fs-uuid --set=root $ROOT_UUID
linux /boot/vmlinuz console=ttyS0,115200 quiet net.ifnames=0 mitigations=off nokaslr panic=10
initrd /boot/initrd
boot
EOF
install_loader disk.raw early.cfg part_msdos part_gpt ext2 search search_fs_uuid linux
find tree -exec touch -h -d @0 {} +
export PARTITION_MIB E2FSPROGS_FAKE_TIME=1
fakeroot bash -euo pipefail -c '. "$TOOLS/guest/common.sh"; chown -R 0:0 tree; fill_partition disk.raw tree'

[ "$DATA_DISK_MIB" = 0 ] || make_data_disk data.raw

# The last partition: 4 MiB that do not compress, 4 MiB of text, 4 MiB of zeroes that are written; the rest is a hole.
python3 - disk.raw "$DATA_MIB" "$SEED" <<'PY'
import random, sys
disk, start, seed = sys.argv[1], int(sys.argv[2]) << 20, int(sys.argv[3])
mib = 1 << 20
line = ''.join('vmferry known bytes, line %08d\n' % i for i in range(4 * mib // 32)).encode()
with open(disk, 'r+b') as f:
    f.seek(start)
    f.write(random.Random(seed).randbytes(4 * mib))
    f.write(line[:4 * mib])
    f.write(bytes(4 * mib))
PY
echo "disk: $SECONDS s"
