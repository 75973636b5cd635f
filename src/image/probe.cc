// SPDX-License-Identifier: Apache-2.0
#include "image/probe.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/byte_reader.h"
#include "base/units.h"

namespace vmferry::image {
namespace {

using namespace std::string_view_literals;

struct Signature {
  std::size_t offset_bytes;
  std::string_view bytes;
  Format format;
};

constexpr std::array kSignatures = std::to_array<Signature>({
    {0, "KDMV"sv, Format::kVmdkSparse},
    {0, "\xbe\xba\xfe\xca\0\0\0\0\1\0\0\0\2\0\0\0"sv, Format::kVmdkSparse},  // seSparse
    {0, "COWD"sv, Format::kVmdkCow},
    {0, "# Disk DescriptorFile"sv, Format::kVmdkDescriptor},
    {0, "# Disk Descriptorfile"sv, Format::kVmdkDescriptor},
    {0, "# disk descriptorfile"sv, Format::kVmdkDescriptor},
    {0, "QFI\xfb"sv, Format::kQcow2},
    {0, "conectix"sv, Format::kVhd},  // dynamic: a copy of the footer comes first
    {0, "vhdxfile"sv, Format::kVhdx},
    {64, "\x7f\x10\xda\xbe"sv, Format::kVdi},
    {0, "QED\0"sv, Format::kQed},
    {0, "WithoutFreeSpace"sv, Format::kParallels},
    {0, "WithouFreSpacExt"sv, Format::kParallels},
    {257, "ustar"sv, Format::kTar},
    {0, "\x1f\x8b\x08"sv, Format::kCompressed},
    {0,
     "\xfd"
     "7zXZ\0"sv,
     Format::kCompressed},
    {0, "\x28\xb5\x2f\xfd"sv, Format::kCompressed},
    {0, "BZh"sv, Format::kCompressed},
    {0, "PK\x03\x04"sv, Format::kCompressed},
});

/// Enough for a comment in front of an OVF's root element.
constexpr std::size_t kHeadBytes = 4096;

bool IsOvf(std::string_view head) {
  if (head.starts_with("\xef\xbb\xbf")) head.remove_prefix(3);  // a byte order mark
  const bool xml = head.starts_with("<?xml") || head.starts_with("<Envelope") ||
                   head.starts_with("<ovf:Envelope");
  return xml && head.find("Envelope") != head.npos;
}

}  // namespace

std::string FormatName(Format format) {
  switch (format) {
    case Format::kUnknown:
      return "unknown";
    case Format::kVmdkSparse:
      return "VMDK";
    case Format::kVmdkDescriptor:
      return "VMDK descriptor";
    case Format::kVmdkCow:
      return "ESX COWD";
    case Format::kQcow2:
      return "QCOW2";
    case Format::kVhd:
      return "VHD";
    case Format::kVhdx:
      return "VHDX";
    case Format::kVdi:
      return "VDI";
    case Format::kQed:
      return "QED";
    case Format::kParallels:
      return "Parallels";
    case Format::kTar:
      return "OVA (tar)";
    case Format::kOvf:
      return "OVF";
    case Format::kCompressed:
      return "compressed";
  }
  return "unknown";
}

Result<Format> Probe(const ByteSource& source) {
  std::array<std::byte, kHeadBytes> buffer;
  const auto head_bytes = std::span(buffer).first(
      static_cast<std::size_t>(std::min<std::uint64_t>(source.SizeBytes(), buffer.size())));
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(0, head_bytes));
  const std::string_view head = AsText(head_bytes);
  for (const Signature& signature : kSignatures) {
    if (head.size() < signature.offset_bytes) continue;
    if (head.substr(signature.offset_bytes).starts_with(signature.bytes)) return signature.format;
  }
  if (IsOvf(head)) return Format::kOvf;
  // A fixed VHD is a raw disk with a footer in its last sector.
  if (source.SizeBytes() >= 2 * kSectorBytes) {
    // Those of Virtual PC before 2004 have 511 bytes.
    std::array<std::byte, 9> footer;
    VMFERRY_RETURN_IF_ERROR(source.ReadAt(source.SizeBytes() - kSectorBytes, footer));
    const std::string_view text = AsText(footer);
    if (text.starts_with("conectix") || text.ends_with("conectix")) return Format::kVhd;
  }
  return Format::kUnknown;
}

}  // namespace vmferry::image
