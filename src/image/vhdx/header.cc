// SPDX-License-Identifier: Apache-2.0
#include "image/vhdx/header.h"

#include <fmt/format.h>

#include <array>
#include <optional>
#include <vector>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "image/vhdx/damage.h"
#include "image/vhdx/utf16.h"

namespace vmferry::image::vhdx {
namespace {

constexpr std::string_view kMagic = "vhdxfile";
constexpr std::size_t kCreatorBytes = 512;
constexpr std::string_view kHeaderSignature = "head";
constexpr std::size_t kHeaderBytes = 4 * kKiB;
constexpr std::array<std::uint64_t, 2> kHeaderOffsets = {64 * kKiB, 128 * kKiB};
constexpr std::uint16_t kVersion = 1;

using HeaderBytes = std::array<std::byte, kHeaderBytes>;

/// The header, when its signature and checksum are right. `bytes` lose their checksum.
std::optional<Header> ParseHeader(HeaderBytes& bytes) {
  ByteReader reader(bytes);
  if (AsText(reader.Take(4)) != kHeaderSignature) return std::nullopt;
  reader.Skip(4);
  Header header;
  header.sequence = reader.U64Le();
  header.file_write_guid = ReadGuid(reader);
  header.data_write_guid = ReadGuid(reader);
  header.log_guid = ReadGuid(reader);
  header.log_version = reader.U16Le();
  header.version = reader.U16Le();
  header.log_length_bytes = reader.U32Le();
  header.log_offset_bytes = reader.U64Le();
  if (!ChecksumHolds(bytes)) return std::nullopt;
  return header;
}

Result<void> CheckCurrent(const Header& header, std::uint64_t file_bytes) {
  // [MS-VHDX] 2.2.2: "If the version is not supported, the file MUST NOT be opened": 1 is it.
  if (header.version != kVersion) {
    return Unsupported("vhdx.header.version",
                       fmt::format("the VHDX has version {}; 1 is read", header.version));
  }
  // [MS-VHDX] 2.2.2: LogOffset and LogLength are multiples of 1 MiB, LogOffset at least 1 MiB.
  const bool aligned = header.log_offset_bytes % kAlignmentBytes == 0 &&
                       header.log_length_bytes % kAlignmentBytes == 0 &&
                       header.log_offset_bytes >= kHeaderSectionBytes;
  const bool inside = header.log_offset_bytes <= file_bytes &&
                      header.log_length_bytes <= file_bytes - header.log_offset_bytes;
  const bool none = header.log_length_bytes == 0 && header.log_guid.IsZero();
  if (none || (aligned && inside && header.log_length_bytes > 0)) return {};
  return Damage("vhdx.log.place",
                fmt::format("the VHDX header places a log of {} bytes at byte {} of a file of {}",
                            header.log_length_bytes, header.log_offset_bytes, file_bytes));
}

Result<HeaderSection> ChooseHeader(const ByteSource& source) {
  std::array<HeaderBytes, 2> bytes;
  std::array<std::optional<Header>, 2> headers;
  for (std::size_t i = 0; i < headers.size(); ++i) {
    VMFERRY_RETURN_IF_ERROR(source.ReadAt(kHeaderOffsets[i], bytes[i]));
    headers[i] = ParseHeader(bytes[i]);
  }
  HeaderSection section;
  if (!headers[0] && !headers[1]) {
    return Damage("vhdx.header.damaged", "both headers of the VHDX are damaged");
  }
  if (!headers[0] || !headers[1]) {
    section.damaged_copy = headers[0] ? 2 : 1;
    section.header = headers[0] ? *headers[0] : *headers[1];
    return section;
  }
  // [MS-VHDX] 2.2.2.1: the higher sequence number counts; equal ones belong to equal headers
  // (Disk2vhd writes such).
  if (headers[0]->sequence == headers[1]->sequence && bytes[0] != bytes[1]) {
    return Damage("vhdx.header.ambiguous",
                  fmt::format("the two headers of the VHDX differ, but both have the sequence "
                              "number {}",
                              headers[0]->sequence));
  }
  section.header = headers[0]->sequence >= headers[1]->sequence ? *headers[0] : *headers[1];
  return section;
}

}  // namespace

bool ChecksumHolds(std::span<std::byte> structure) {
  ByteReader reader(structure);
  reader.Skip(4);
  const std::uint32_t stored = reader.U32Le();
  for (std::byte& byte : structure.subspan(4, 4)) byte = std::byte{0};
  return codec::Crc32c(structure) == stored;
}

Result<HeaderSection> ReadHeaderSection(const ByteSource& source) {
  std::array<std::byte, kMagic.size() + kCreatorBytes> identifier;
  if (source.SizeBytes() < kHeaderSectionBytes) {
    return Damage(
        "vhdx.header.truncated",
        fmt::format("the file ends inside the VHDX headers, after {} bytes", source.SizeBytes()));
  }
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(0, identifier));
  ByteReader reader(identifier);
  if (AsText(reader.Take(kMagic.size())) != kMagic) {
    return Error(ErrorCode::kInvalidArgument, "vhdx.header.magic",
                 "the file does not begin as a VHDX does");
  }
  VMFERRY_ASSIGN_OR_RETURN(HeaderSection section, ChooseHeader(source));
  VMFERRY_RETURN_IF_ERROR(CheckCurrent(section.header, source.SizeBytes()));
  // Only people read it: damage does not matter.
  section.creator = Utf16ToUtf8(reader.Take(kCreatorBytes)).value_or("");
  return section;
}

}  // namespace vmferry::image::vhdx
