# The Debian guest: package tree by mmdebstrap, file system by mke2fs under fakeroot, GRUB.
# shellcheck shell=bash
. "$TOOLS/guest/common.sh"
cd "$WORK"

PARTITION_MIB=$((SIZE_MIB - ROOT_MIB))
[ "$FIRMWARE" = bios ] || PARTITION_MIB=$((PARTITION_MIB - 1))   # the second copy of the GPT
PACKAGES=(
  linux-image-cloud-amd64 initramfs-tools      # kernel; NVMe is built in, virtio and SATA come by the initramfs
  systemd-sysv udev dbus kmod procps           # an init that a user would find on a server
  ifupdown isc-dhcp-client iproute2 netbase    # DHCP
  openssh-server login passwd e2fsprogs        # what a person meets first
)

# Which way of being root mmdebstrap has here: user namespaces where they are allowed, else chroot for root,
# else a pretended one.
if [ -n "${VMFERRY_MMDEBSTRAP_MODE:-}" ]; then mode=$VMFERRY_MMDEBSTRAP_MODE
elif mmdebstrap --mode=unshare --unshare-helper true 2>/dev/null; then mode=unshare
elif [ "$(id -u)" -eq 0 ]; then mode=root
else mode=fakechroot
fi

# fakechroot does not redirect the run paths of binaries, so systemd's tools miss their private libraries while their
# packages are configured; mmdebstrap adds the tree's lib/systemd to LD_LIBRARY_PATH (Debian bug 917920), so links there
# lead to them.
mode_hooks=()
if [ "$mode" = fakechroot ]; then
  mode_hooks=(
    --essential-hook='mkdir -p "$1/usr/lib/systemd"; for part in shared core; do
      ln -s "../x86_64-linux-gnu/systemd/libsystemd-$part-252.so" "$1/usr/lib/systemd/"; done'
    --customize-hook='rm -f "$1"/usr/lib/systemd/libsystemd-*-252.so')
fi

debian_sources >sources.list
aptopts=(--aptopt='APT::Install-Recommends "false"')
while IFS= read -r option; do aptopts+=(--aptopt="$option"); done < <(apt_acquire_options)

# Runs outside the tree with the tree as its argument, as its root.
cat >customize.sh <<'EOF'
#!/bin/bash
set -euo pipefail
root=$1
echo guest >"$root/etc/hostname"
printf '127.0.0.1 localhost guest\n::1 localhost\n' >"$root/etc/hosts"
printf 'auto lo\niface lo inet loopback\nallow-hotplug eth0\niface eth0 inet dhcp\n' >"$root/etc/network/interfaces"
printf 'UUID=%s / ext4 errors=remount-ro 0 1\n' "$ROOT_UUID" >"$root/etc/fstab"
if [ "$FIRMWARE" = uefi ]; then
  mkdir "$root/boot/efi"
  printf 'UUID=%s-%s /boot/efi vfat umask=0077 0 0\n' "${ESP_SERIAL:0:4}" "${ESP_SERIAL:4}" >>"$root/etc/fstab"
fi
if [ "$DATA_DISK_MIB" != 0 ]; then
  # nofail: the guest also boots without it, as on the first boot of an instance whose disk is not attached yet.
  mkdir "$root/data"
  printf 'LABEL=vmferry-data /data ext4 ro,nofail,x-systemd.device-timeout=300 0 0\n' >>"$root/etc/fstab"
  cat >"$root/etc/systemd/system/vmferry-data.service" <<'UNIT'
[Unit]
Description=Say on the console what is on the second disk
RequiresMountsFor=/data
Before=serial-getty@ttyS0.service
[Service]
Type=oneshot
ExecStart=/bin/sh -c 'echo; echo "VMFERRY-DATA $(cat /data/known.txt) $(sha256sum </data/bytes | cut -c 1-64)"'
StandardOutput=tty
TTYPath=/dev/ttyS0
[Install]
WantedBy=multi-user.target
UNIT
  ln -s ../vmferry-data.service "$root/etc/systemd/system/multi-user.target.wants/vmferry-data.service"
fi
rm -f "$root/etc/apt/apt.conf.d/99mmdebstrap"
ln -sf /lib/systemd/system/serial-getty@.service "$root/etc/systemd/system/getty.target.wants/serial-getty@ttyS0.service"
# Guests of the region reach no network: nothing may wait for one.
for unit in apt-daily.timer apt-daily-upgrade.timer; do ln -sf /dev/null "$root/etc/systemd/system/$unit"; done
# A machine that has been in use, not one fresh from the factory: systemd's first-boot work (presets, catalogues,
# machine id) costs many seconds under software emulation, and no one migrates a machine that never ran.
rm -f "$root/etc/machine-id"
tr -d - </proc/sys/kernel/random/uuid >"$root/etc/machine-id"
touch "$root/etc/.updated" "$root/var/.updated"
if [ -n "$ROOT_PASSWORD" ]; then
  printf 'root:%s\n' "$ROOT_PASSWORD" | chroot "$root" chpasswd
  printf 'PermitRootLogin yes\n' >"$root/etc/ssh/sshd_config.d/root.conf"
else
  chroot "$root" passwd -q -l root
fi
EOF
# The namespace's root may not read our files, so the password goes by the environment, never by an argument.
ROOT_PASSWORD=''
if [ -n "$PASSWORD_FILE" ]; then
  IFS= read -r ROOT_PASSWORD <"$PASSWORD_FILE" || [ -n "$ROOT_PASSWORD" ] || { echo "the password file is empty" >&2; exit 1; }
fi
export ROOT_UUID ROOT_PASSWORD ESP_SERIAL FIRMWARE DATA_DISK_MIB

started=$SECONDS
echo "mmdebstrap --mode=$mode"
mmdebstrap --mode="$mode" --variant=minbase --format=tar \
  --include="$(IFS=,; echo "${PACKAGES[*]}")" "${aptopts[@]}" \
  --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
  --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-include=/usr/share/doc/*/copyright' \
  --essential-hook='mkdir -p "$1/etc/initramfs-tools/conf.d"; echo MODULES=most >"$1/etc/initramfs-tools/conf.d/modules"' \
  "${mode_hooks[@]}" --customize-hook='bash -c "$(cat customize.sh)" customize "$1"' \
  "$SUITE" root.tar sources.list
echo "tree: $((SECONDS - started)) s, $(stat -c %s root.tar) bytes"

started=$SECONDS
make_disk disk.raw
cat >early.cfg <<EOF
search --no-floppy --fs-uuid --set=root $ROOT_UUID
set prefix=(\$root)/boot/grub
EOF
install_loader disk.raw early.cfg \
  part_msdos part_gpt ext2 search search_fs_uuid normal configfile linux echo serial terminal test ls cat
export PARTITION_MIB
[ "$DATA_DISK_MIB" = 0 ] || make_data_disk data.raw
# One fakeroot session from unpacking to filling: owners, modes and device nodes live only inside it.
fakeroot bash -euo pipefail -c '
  . "$TOOLS/guest/common.sh"
  mkdir root
  tar -x -p --numeric-owner -f root.tar -C root
  kernel=$(cd root/boot && ls vmlinuz-* | sort -V | tail -n 1)
  version=${kernel#vmlinuz-}
  [ -s "root/boot/initrd.img-$version" ] || { echo "no initramfs was made for $version" >&2; exit 1; }
  mkdir -p root/boot/grub
  cat >root/boot/grub/grub.cfg <<EOF
serial --unit=0 --speed=115200
terminal_input serial console
terminal_output serial console
set timeout=0
menuentry "Debian" {
  search --no-floppy --fs-uuid --set=root $ROOT_UUID
  linux /boot/vmlinuz-$version root=UUID=$ROOT_UUID ro console=tty0 console=ttyS0,115200 net.ifnames=0
  initrd /boot/initrd.img-$version
}
EOF
  fill_partition disk.raw root'
echo "disk: $((SECONDS - started)) s"
