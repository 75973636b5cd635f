// SPDX-License-Identifier: Apache-2.0
//
// TarBuilder: makes tar archives header by header, right ones and wrong ones; and the descriptors
// that VMware, VirtualBox, oVirt and others put into an appliance. Written from POSIX.1-2017 (pax)
// and DSP0243, not from the reader under test; the texts imitate what each program writes.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace vmferry::testing {

struct TarEntry {
  std::string name;
  std::string content;
  char type = '0';
  std::string link_name = {};
  std::optional<std::string> size_field = {};  ///< the 12 bytes, instead of octal digits
  bool gnu = false;                            ///< GNU's magic instead of POSIX's
};

struct TarBuilder {
  std::vector<TarEntry> entries;
  std::size_t end_blocks = 2;

  TarBuilder& Add(std::string name, std::string content, char type = '0');
  /// A pax header with these records ("path=a/b") for the next entry.
  TarBuilder& Pax(const std::vector<std::string>& records, char type = 'x');
  /// A GNU long name for the next entry.
  TarBuilder& GnuLongName(const std::string& name);
  std::vector<std::byte> Build() const;
};

/// Where an entry's header lies in the archive, by the headers' sizes.
std::size_t TarHeaderOffset(const TarBuilder& builder, std::size_t index);

/// Makes the checksum of the header at `offset` right again.
void FixTarChecksum(std::vector<std::byte>& archive, std::size_t offset);

/// A disk as a descriptor lists it.
struct OvfDiskText {
  std::string file;
  std::uint64_t file_bytes = 0;
  std::uint64_t capacity_bytes = 0;
};

/// As ovftool and vCenter write it: OVF 1.0, SCSI, firmware in a vmw:Config.
std::string VmwareOvf(const std::vector<OvfDiskText>& disks, std::string_view firmware = "efi");
/// As VirtualBox 7 writes it: a SATA controller, the machine's own settings in vbox:Machine.
std::string VirtualBoxOvf(const std::vector<OvfDiskText>& disks);
/// As oVirt 4.4 and RHV write it into an OVA: namespace with a slash, sections by xsi:type.
std::string OvirtOvf(const std::vector<OvfDiskText>& disks);
/// OVF 2.0 with its StorageItem and EthernetPortItem.
std::string Ovf2(const std::vector<OvfDiskText>& disks);
/// As ESX 3.5's tools wrote it, before OVF 1.0.
std::string EarlyVmwareOvf(const std::vector<OvfDiskText>& disks);
/// As tools that convert from Hyper-V write it: a VHD on IDE.
std::string HyperVOvf(const std::vector<OvfDiskText>& disks);

}  // namespace vmferry::testing
