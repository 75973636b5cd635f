# SPDX-License-Identifier: Apache-2.0
"""Disks of machines that look installed: as much of a system as an import service looks at, without mounting or root."""
import pathlib
import shutil
import subprocess
import tarfile
import io

MIB = 1 << 20
DISK_MIB = 24
DEBIAN = 'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\nVERSION_ID="12"\n'
KERNEL = "6.1.0-13-amd64"
ELF_X86_64, ELF_I386, ELF_AARCH64 = 62, 3, 183


def grub_config(kernel=KERNEL, folder="/boot"):
    return f'set timeout=0\nmenuentry "x" {{\n  linux {folder}/vmlinuz-{kernel} root=UUID=x ro\n}}\n'


def linux_files(kernel=KERNEL, release=DEBIAN, machine=ELF_X86_64):
    """Path and content of what the service reads on a Debian 12."""
    elf = b"\x7fELF\x02\x01\x01" + bytes(9) + (2).to_bytes(2, "little") + machine.to_bytes(2, "little") + bytes(40)
    return {
        "etc/fstab": "UUID=x / ext4 defaults 0 1\n",
        "usr/lib/os-release": release,
        "etc/os-release": pathlib.PurePath("../usr/lib/os-release"),  # a link
        "usr/bin/sh": elf,
        "bin": pathlib.PurePath("usr/bin"),
        f"boot/vmlinuz-{kernel}": "kernel",
        "boot/grub/grub.cfg": grub_config(kernel),
        f"lib/modules/{kernel}/kernel/drivers/net/ethernet/amazon/ena/ena.ko": "driver",
    }


def run(*command, **options):
    subprocess.run([str(word) for word in command], check=True, capture_output=True, **options)


def ext4(image, files, offset, size, work):
    """Puts an ext4 with these files into `image` at `offset`."""
    tree = work / "tree"
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir()
    for name, content in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, pathlib.PurePath):
            path.symlink_to(content)
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "256", "-E", f"offset={offset}", "-d", tree, image,
        f"{size // 1024}k")


def fat(image, files, offset, size, work):
    part = work / "fat.img"
    part.unlink(missing_ok=True)
    with part.open("wb") as out:
        out.truncate(size)
    run("mkfs.vfat", part)
    made = set()
    for name, content in files.items():
        (work / "file").write_bytes(content)
        for parent in reversed(pathlib.PurePath(name).parents[:-1]):
            if parent not in made:
                run("mmd", "-i", part, f"::/{parent}")
                made.add(parent)
        run("mcopy", "-i", part, work / "file", f"::/{name}")
    with image.open("r+b") as out:
        out.seek(offset)
        out.write(part.read_bytes())


def disk(path, partitions, label="dos", boot_code=True, size_mib=DISK_MIB):
    """A disk with partitions (kind, type, MiB, files) in a row from 1 MiB on; kind is ext4, fat or empty."""
    work = path.parent
    path.unlink(missing_ok=True)
    with path.open("wb") as out:
        out.truncate(size_mib * MIB)
    if label:
        lines = "".join(f"size={mib}MiB, type={kind_of}\n" for _, kind_of, mib, _ in partitions)
        run("sfdisk", "--quiet", path, input=f"label: {label}\n{lines}".encode())
    at = MIB if label else 0
    for kind, _, mib, files in partitions:
        if kind != "empty":
            {"ext4": ext4, "fat": fat}[kind](path, files, at, mib * MIB, work)
        at += mib * MIB
    if boot_code:
        with path.open("r+b") as out:
            out.write(b"\xeb\x63\x90GRUB boot code of a test")
    return path


def linux_disk(path, files=None, **options):
    return disk(path, [("ext4", "83" if options.get("label", "dos") == "dos" else "linux", 20,
                        linux_files() if files is None else files)], **options)


def ova(path, disks, firmware=None, extra_file_attribute=""):
    """An OVA of disk files, in the order of `disks`; in the archive they lie in the reverse order."""
    files = "".join(f'<File ovf:id="f{i}" ovf:href="{d.name}" ovf:size="{d.stat().st_size}"{extra_file_attribute}/>'
                    for i, d in enumerate(disks))
    entries = "".join(f'<Disk ovf:diskId="d{i}" ovf:fileRef="f{i}" ovf:capacity="{DISK_MIB * MIB}"/>'
                      for i, _ in reversed(list(enumerate(disks))))
    items = "".join(f'<Item><rasd:AddressOnParent>{i}</rasd:AddressOnParent><rasd:HostResource>ovf:/disk/d{i}'
                    f'</rasd:HostResource><rasd:InstanceID>{10 + i}</rasd:InstanceID><rasd:Parent>3</rasd:Parent>'
                    f'<rasd:ResourceType>17</rasd:ResourceType></Item>' for i, _ in reversed(list(enumerate(disks))))
    config = f'<vmw:Config ovf:required="false" vmw:key="firmware" vmw:value="{firmware}"/>' if firmware else ""
    envelope = ('<?xml version="1.0" encoding="UTF-8"?><Envelope xmlns="http://schemas.dmtf.org/ovf/envelope/1" '
                'xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1" xmlns:vmw="http://www.vmware.com/schema/ovf" '
                'xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData">'
                f'<References>{files}</References><DiskSection><Info>disks</Info>{entries}</DiskSection>'
                f'<VirtualSystem ovf:id="vm"><Info>vm</Info><VirtualHardwareSection><Info>hw</Info>{items}{config}'
                '</VirtualHardwareSection></VirtualSystem></Envelope>').encode()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        info = tarfile.TarInfo("vm.ovf")
        info.size = len(envelope)
        archive.addfile(info, io.BytesIO(envelope))
        for d in reversed(disks):
            archive.add(d, arcname=d.name)
    return path
