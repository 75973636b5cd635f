// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/dynamic_header.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <string_view>

#include "base/byte_reader.h"
#include "image/vhd/big_endian.h"
#include "image/vhd/damage.h"

namespace vmferry::image::vhd {
namespace {

constexpr std::string_view kCookie = "cxsparse";
constexpr std::uint32_t kVersion = 0x00010000;
constexpr std::size_t kChecksumAt = 36;
constexpr std::size_t kLocators = 8;

LocatorEntry ParseLocator(ByteReader& reader) {
  LocatorEntry entry;
  const std::span<const std::byte> platform = reader.Take(4);
  std::transform(platform.begin(), platform.end(), entry.platform.begin(),
                 [](std::byte byte) { return std::to_integer<char>(byte); });
  reader.U32Be();  // data space: sectors in some writers, bytes in others
  entry.length_bytes = reader.U32Be();
  reader.U32Be();  // reserved
  entry.offset_bytes = reader.U64Be();
  return entry;
}

}  // namespace

Result<DynamicHeader> ParseDynamicHeader(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const bool cookie = AsText(reader.Take(kCookie.size())) == kCookie;
  DynamicHeader header;
  reader.U64Be();  // data offset: unused
  header.table_offset_bytes = reader.U64Be();
  const std::uint32_t version = reader.U32Be();
  header.table_entries = reader.U32Be();
  header.block_bytes = reader.U32Be();
  const std::uint32_t checksum = reader.U32Be();
  const std::span<const std::byte> id = reader.Take(header.parent_id.size());
  reader.U32Be();  // time stamp of the parent's file: copying changes it
  reader.U32Be();  // reserved
  const std::span<const std::byte> name = reader.Take(kParentNameBytes);
  for (std::size_t i = 0; i < kLocators; ++i) {
    const LocatorEntry entry = ParseLocator(reader);
    if (entry.platform != std::array<char, 4>{}) header.locators.push_back(entry);
  }
  // VHD 1.0, "Dynamic Disk Header Format": the cookie is "cxsparse".
  if (reader.failed() || !cookie) {
    return Damage("vhd.dynamic_header.cookie", "the VHD has no dynamic header where one must be");
  }
  std::copy(id.begin(), id.end(), header.parent_id.begin());
  std::copy(name.begin(), name.end(), header.parent_name.begin());
  // VHD 1.0, "Dynamic Disk Header Format", Header Version: 1.0.
  if (version >> 16 != kVersion >> 16) {
    return Unsupported("vhd.dynamic_header.version",
                       fmt::format("version {}.{} of the dynamic VHD header is not known",
                                   version >> 16, version & 0xffff));
  }
  if (const std::uint32_t sum = Checksum(bytes, kChecksumAt); sum != checksum) {
    return Damage("vhd.dynamic_header.checksum",
                  fmt::format("the checksum of the dynamic VHD header is {:#010x}, but its bytes "
                              "give {:#010x}",
                              checksum, sum));
  }
  // VHD 1.0, "Dynamic Disk Header Format", Block Size: a power of two sectors. Below 4 KiB QEMU
  // gives blocks no bitmap, against the specification: which of the two such a disk has is unknown.
  if (!std::has_single_bit(header.block_bytes) || header.block_bytes < kMinBlockBytes) {
    return Damage(
        "vhd.dynamic_header.block_size",
        fmt::format("the dynamic VHD header gives blocks of {} bytes; a power of two from "
                    "{} on is possible",
                    header.block_bytes, kMinBlockBytes));
  }
  return header;
}

std::array<std::byte, kDynamicHeaderBytes> StoreDynamicHeader(const DynamicHeader& header) {
  std::array<std::byte, kDynamicHeaderBytes> bytes = {};
  BigEndianWriter writer(bytes);
  writer.Text(kCookie);
  writer.U64(kNoOffset);
  writer.U64(header.table_offset_bytes);
  writer.U32(kVersion);
  writer.U32(header.table_entries);
  writer.U32(header.block_bytes);
  BigEndianWriter(std::span(bytes).subspan(kChecksumAt)).U32(Checksum(bytes, kChecksumAt));
  return bytes;
}

}  // namespace vmferry::image::vhd
