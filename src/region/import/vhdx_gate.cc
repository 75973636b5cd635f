// SPDX-License-Identifier: Apache-2.0
#include "region/import/vhdx_gate.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"

namespace vmferry::region {
namespace {

constexpr std::uint64_t kTableBytes = 64 * kKiB;
constexpr std::uint64_t kRegionTableAt = 192 * kKiB;
constexpr std::uint64_t kRegionCopyAt = 256 * kKiB;
constexpr std::uint32_t kEntriesMax = 2047;  // [MS-VHDX] 2.2.3.1 and 2.6.1.1
constexpr std::uint32_t kHasParent = 2;      // 2.6.2.1

using Guid = std::array<unsigned char, 16>;  // as stored
// 8B7CA206-4790-4B9A-B8FE-575F050F886E
constexpr Guid kMetadataRegion = {0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b,
                                  0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e};
// CAA16737-FA36-4D43-B3B6-33F0AA44E76B
constexpr Guid kFileParameters = {0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d,
                                  0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b};
// A8D35F2D-B30B-454D-ABF7-D3D84834AB0C
constexpr Guid kParentLocator = {0x2d, 0x5f, 0xd3, 0xa8, 0x0b, 0xb3, 0x4d, 0x45,
                                 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c};

Error Unsupported() {
  return Error(ErrorCode::kInvalidArgument, "region.upload_refused",
               "Disk validation failed [Unsupported VHDX File Format]");
}

bool Is(std::span<const std::byte> stored, const Guid& guid) {
  return std::ranges::equal(stored, std::as_bytes(std::span(guid)));
}

std::optional<std::vector<std::byte>> ReadTable(const sys::File& file, std::uint64_t at) {
  std::vector<std::byte> table(kTableBytes);
  if (!file.ReadAt(at, table)) return std::nullopt;
  return table;
}

// Where the metadata region begins.
std::optional<std::uint64_t> FindMetadata(std::span<const std::byte> table,
                                          std::uint64_t file_bytes) {
  if (AsText(table.first(4)) != "regi") return std::nullopt;
  ByteReader header(table.subspan(8));
  const std::uint32_t count = header.U32Le();
  if (count == 0 || count > kEntriesMax) return std::nullopt;
  std::optional<std::uint64_t> found;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::span<const std::byte> entry = table.subspan(16 + std::size_t{i} * 32, 32);
    if (!Is(entry.first(16), kMetadataRegion)) continue;
    ByteReader reader(entry.subspan(16));
    const std::uint64_t offset = reader.U64Le();
    if (found || offset < kMiB || offset > file_bytes || file_bytes - offset < kTableBytes) {
      return std::nullopt;
    }
    found = offset;
  }
  return found;
}

}  // namespace

Result<void> CheckVhdx(const sys::File& file, std::uint64_t file_bytes) {
  std::array<std::byte, 8> identifier = {};
  if (file_bytes < kMiB || !file.ReadAt(0, identifier) || AsText(identifier) != "vhdxfile") {
    return Unsupported();
  }
  const auto regions = ReadTable(file, kRegionTableAt);
  const auto copy = ReadTable(file, kRegionCopyAt);
  // A reader may take either, so they must say the same.
  if (!regions || !copy || *regions != *copy) return Unsupported();
  const std::optional<std::uint64_t> metadata_at = FindMetadata(*regions, file_bytes);
  if (!metadata_at) return Unsupported();
  const auto metadata = ReadTable(file, *metadata_at);
  if (!metadata || AsText(std::span(*metadata).first(8)) != "metadata") return Unsupported();
  ByteReader header{std::span(*metadata).subspan(10)};
  const std::uint16_t count = header.U16Le();
  if (count > kEntriesMax) return Unsupported();
  bool has_parameters = false;
  for (std::uint16_t i = 0; i < count; ++i) {
    const std::span<const std::byte> entry =
        std::span<const std::byte>(*metadata).subspan(32 + std::size_t{i} * 32, 32);
    if (Is(entry.first(16), kParentLocator)) return Unsupported();
    if (!Is(entry.first(16), kFileParameters)) continue;
    ByteReader reader(entry.subspan(16));
    const std::uint64_t offset = *metadata_at + reader.U32Le();
    std::array<std::byte, 8> parameters = {};
    if (has_parameters || !file.ReadAt(offset, parameters)) return Unsupported();
    ByteReader flags{std::span<const std::byte>(parameters).subspan(4)};
    if ((flags.U32Le() & kHasParent) != 0) return Unsupported();
    has_parameters = true;
  }
  if (!has_parameters) return Unsupported();
  return {};
}

}  // namespace vmferry::region
