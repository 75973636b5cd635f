// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/snapshot_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/byte_reader.h"
#include "image/qcow2/damage.h"

namespace vmferry::image::qcow2 {
namespace {

/// Of the table; 16 entries with the longest name and id (64 KiB each) do not fit, usual ones of
/// about 100 bytes do by far.
constexpr std::uint64_t kMaxReadBytes = 64 * kKiB;
constexpr std::size_t kMaxShownBytes = 64;

std::string Shown(std::string_view text) {
  std::string shown(text.substr(0, kMaxShownBytes));
  std::replace_if(
      shown.begin(), shown.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return shown;
}

std::optional<std::string> NextName(ByteReader& reader) {
  reader.Skip(8 + 4);  // L1 table: place and entries
  const std::uint16_t id_bytes = reader.U16Be();
  const std::uint16_t name_bytes = reader.U16Be();
  reader.Skip(4 + 4 + 8 + 4);  // date, clock, size of the VM's state
  const std::uint32_t extra_bytes = reader.U32Be();
  reader.Skip(extra_bytes);
  const std::string id = Shown(AsText(reader.Take(id_bytes)));
  const std::string name = Shown(AsText(reader.Take(name_bytes)));
  if (reader.failed()) return std::nullopt;
  reader.Skip(std::min(reader.remaining(), (8 - reader.position() % 8) % 8));
  return name.empty() ? id : name;
}

}  // namespace

Result<SnapshotNames> ReadSnapshotNames(const ByteSource& source, const Header& header) {
  SnapshotNames result;
  if (header.snapshot_count == 0) return result;
  if (header.snapshots_offset_bytes >= source.SizeBytes()) {
    return Damage("qcow2.snapshots.range",
                  fmt::format("the QCOW2 snapshot table at byte {} lies outside the file of {} "
                              "bytes",
                              header.snapshots_offset_bytes, source.SizeBytes()));
  }
  std::vector<std::byte> bytes(
      std::min(kMaxReadBytes, source.SizeBytes() - header.snapshots_offset_bytes));
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(header.snapshots_offset_bytes, bytes));
  ByteReader reader(bytes);
  const std::size_t wanted = std::min<std::size_t>(header.snapshot_count, kMaxNamedSnapshots);
  while (result.whole && result.names.size() < wanted) {
    auto name = NextName(reader);
    result.whole = name.has_value();
    if (name) result.names.push_back(*std::move(name));
  }
  return result;
}

}  // namespace vmferry::image::qcow2
