// SPDX-License-Identifier: Apache-2.0
//
// Header extensions. Declared in header.h.

#include <fmt/format.h>

#include <algorithm>

#include "base/byte_reader.h"
#include "image/qcow2/damage.h"
#include "image/qcow2/header.h"

namespace vmferry::image::qcow2 {
namespace {

constexpr std::uint32_t kEndOfExtensions = 0;
constexpr std::uint32_t kBackingFormat = 0xe2792aca;
constexpr std::uint32_t kFeatureNames = 0x6803f857;
constexpr std::uint32_t kBitmaps = 0x23852875;
constexpr std::uint32_t kDataFile = 0x44415441;

constexpr std::size_t kFeatureNameBytes = 48;
/// QEMU's bound on the format's name is 15; its other strings are file names.
constexpr std::size_t kMaxTextBytes = 4096;
constexpr std::size_t kBitmapsBytes = 24;

/// Text from a stranger, for messages: what is not printable becomes a question mark.
std::string Printable(std::string_view text) {
  std::string printable(text.substr(0, text.find('\0')));
  std::replace_if(
      printable.begin(), printable.end(), [](char c) { return c < 0x20 || c > 0x7e; }, '?');
  return printable;
}

void ParseFeatureNames(std::span<const std::byte> data, HeaderExtensions& extensions) {
  ByteReader reader(data);
  while (reader.remaining() >= kFeatureNameBytes) {
    const std::uint8_t kind = reader.U8();
    const std::uint8_t bit = reader.U8();
    extensions.feature_names.push_back(
        {.kind = kind, .bit = bit, .name = Printable(AsText(reader.Take(kFeatureNameBytes - 2)))});
  }
}

Result<void> ParseExtension(std::uint32_t kind, std::span<const std::byte> data,
                            HeaderExtensions& extensions) {
  const bool is_text = kind == kBackingFormat || kind == kDataFile;
  if ((is_text && data.size() > kMaxTextBytes) ||
      (kind == kBitmaps && data.size() != kBitmapsBytes)) {
    return Damage(
        "qcow2.extension.length",
        fmt::format("the QCOW2 header extension {:#010x} has {} bytes", kind, data.size()));
  }
  switch (kind) {
    case kBackingFormat:
      extensions.backing_format = std::string(AsText(data));
      break;
    case kDataFile:
      extensions.data_file = std::string(AsText(data));
      break;
    case kFeatureNames:
      ParseFeatureNames(data, extensions);
      break;
    case kBitmaps:
      extensions.bitmap_count = ByteReader(data).U32Be();
      break;
    default:  // qcow2.txt, "Header extensions": what is unknown is safe to ignore
      break;
  }
  return {};
}

}  // namespace

Result<HeaderExtensions> ParseExtensions(const Header& header, std::span<const std::byte> bytes) {
  // qcow2.txt, "Header extensions": from the end of the header to the backing file's name, or to
  // the end of the first cluster.
  const std::uint64_t area_end_bytes =
      header.backing_offset_bytes != 0 ? header.backing_offset_bytes : header.cluster_bytes();
  const auto end = static_cast<std::size_t>(std::min<std::uint64_t>(area_end_bytes, bytes.size()));
  HeaderExtensions extensions;
  if (header.header_bytes > end) return extensions;
  ByteReader reader(bytes.first(end));
  reader.Skip(header.header_bytes);
  while (reader.remaining() >= 8) {
    const std::uint32_t kind = reader.U32Be();
    const std::uint32_t length_bytes = reader.U32Be();
    if (kind == kEndOfExtensions) break;
    // Data is padded to a multiple of 8, but for the last one's sake no padding is asked for.
    const std::span<const std::byte> data = reader.Take(length_bytes);
    if (reader.failed()) {
      return Damage("qcow2.extension.truncated",
                    fmt::format("the QCOW2 header extension {:#010x} of {} bytes leaves the area "
                                "of extensions",
                                kind, length_bytes));
    }
    VMFERRY_RETURN_IF_ERROR(ParseExtension(kind, data, extensions));
    reader.Skip(std::min<std::size_t>(reader.remaining(), (8 - length_bytes % 8) % 8));
  }
  return extensions;
}

}  // namespace vmferry::image::qcow2
