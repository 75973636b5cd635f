#!/bin/bash
# labels: e2e
# timeout: 300
# The tiny guest: taken from the cache the second time, a valid MBR with known bytes behind it, boots, answers on
# port 22 and obeys the power button.
set -euo pipefail

skip() { echo "SKIP: $*"; exit 77; }
fail() { echo "FAIL: $*"; exit 1; }
make_guest=${VMFERRY_SOURCE_DIR:?}/tools/make-guest
for tool in mmdebstrap qemu-system-x86_64 python3; do
  command -v "$tool" >/dev/null || skip "$tool is not installed (tools/install-deps guest run)"
done
work=$(mktemp -d)
qemu=''
trap '[ -z "$qemu" ] || kill "$qemu" 2>/dev/null || true; rm -rf "$work"' EXIT

# Cached: the second call builds nothing and names the same disk.
disk=$("$make_guest" --kind tiny 2>"$work/first") || { cat "$work/first"; fail "make-guest --kind tiny"; }
again=$("$make_guest" --kind tiny 2>"$work/second")
[ "$disk" = "$again" ] || fail "two calls, two paths: $disk and $again"
[ ! -s "$work/second" ] || fail "the second call had something to do: $(cat "$work/second")"

# Bad options are refused before anything is made.
for bad in "--kind fat" "--format qcow3" "--size 1x" "--size 1" "--colour red" "--kind"; do
  # shellcheck disable=SC2086  # words are arguments
  code=0; "$make_guest" $bad >/dev/null 2>&1 || code=$?
  [ "$code" -eq 2 ] || fail "make-guest $bad: exit code $code instead of 2"
done

# The boot sector's signature, one active Linux partition at 1 MiB, a second one with data, zeroes and a hole.
python3 - "$disk" <<'PY' || fail "the disk is not laid out as promised"
import random, struct, sys
mib = 1 << 20
with open(sys.argv[1], 'rb') as f:
    mbr = f.read(512)
    entries = [struct.unpack_from('<B3xB3xII', mbr, 446 + 16 * i) for i in range(4)]
    assert mbr[510:] == b'\x55\xaa', 'no boot signature'
    assert entries[0][:3] == (0x80, 0x83, 2048), entries
    assert entries[1][1] == 0xda and entries[1][2] == 48 * mib // 512, entries
    f.seek(48 * mib)
    assert f.read(4 * mib) == random.Random(20240229).randbytes(4 * mib), 'seeded bytes differ'
    assert f.read(32) == b'vmferry known bytes, line 000000', 'text differs'
    f.seek(56 * mib)
    assert f.read(8 * mib) == bytes(8 * mib), 'zeroes differ'
PY

# The exported VMDK holds the same disk.
vmdk=$("$make_guest" --kind tiny --format vmdk 2>/dev/null)
qemu-img compare -q -f raw -F vmdk "$disk" "$vmdk" || fail "the VMDK differs from the raw disk"

# It boots from NVMe.
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
qemu-img create -q -f qcow2 -b "$disk" -F raw "$work/overlay.qcow2"
qemu-system-x86_64 -machine q35 -accel tcg -m 256 -nodefaults -display none \
  -drive "if=none,id=d,file=$work/overlay.qcow2,format=qcow2" -device nvme,drive=d,serial=vmferry \
  -netdev "user,id=n,restrict=on,hostfwd=tcp:127.0.0.1:$port-:22" -device virtio-net-pci,netdev=n,romfile= \
  -serial "file:$work/serial" -qmp "unix:$work/qmp,server=on,wait=off" 2>"$work/qemu.log" &
qemu=$!
wait_for() {      # wait_for SECONDS WHAT COMMAND...
  local until=$((SECONDS + $1)) what=$2
  shift 2
  until "$@"; do
    kill -0 "$qemu" 2>/dev/null || { cat "$work/qemu.log"; fail "QEMU ended while waiting for $what"; }
    [ "$SECONDS" -lt "$until" ] || { tail -n 20 "$work/serial"; fail "no $what"; }
    sleep 0.2
  done
}
banner() { [[ "$(timeout 2 bash -c 'exec 3<>/dev/tcp/127.0.0.1/$0; head -n 1 <&3' "$port" 2>/dev/null)" == SSH-2.0-tiny* ]]; }
wait_for 120 "known line" grep -qas "VMFERRY-TINY-GUEST READY" "$work/serial"
wait_for 30 "login prompt" grep -qas "login:" "$work/serial"
wait_for 30 "banner on port 22" banner

python3 - "$work/qmp" <<'PY'
import json, socket, sys
s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]); f = s.makefile('rw'); f.readline()
for command in ('qmp_capabilities', 'system_powerdown'):
    f.write(json.dumps({'execute': command}) + '\n'); f.flush(); f.readline()
PY
for _ in $(seq 150); do
  kill -0 "$qemu" 2>/dev/null || { qemu=''; echo "PASS"; exit 0; }
  sleep 0.2
done
fail "the guest ignored the power button"
