// SPDX-License-Identifier: Apache-2.0
#include "image/vhd/parent_locator.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <string_view>
#include <utility>

#include "base/byte_reader.h"

namespace vmferry::image::vhd {
namespace {

enum class Encoding { kUtf16Little, kPlain, kFileUrl };

struct Platform {
  std::string_view code;
  Encoding encoding;
};

// VHD 1.0, "Parent Locator Entries": W2ru and W2ku are relative and absolute Windows paths, MacX is
// a file URL; Wi2r and Wi2k are the deprecated ones in 8 bit. "Mac " holds an alias, no path.
// In order of preference.
constexpr Platform kPlatforms[] = {
    {"W2ru", Encoding::kUtf16Little}, {"MacX", Encoding::kFileUrl}, {"Wi2r", Encoding::kPlain},
    {"W2ku", Encoding::kUtf16Little}, {"Wi2k", Encoding::kPlain},
};
/// The name in the header is better than absolute locators: it is often the file's name alone.
constexpr std::string_view kHeaderNameBefore = "W2ku";

void AppendUtf8(std::string& text, std::uint32_t point) {
  const auto put = [&](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (point < 0x80) return put(point);
  if (point < 0x800) {
    put(0xc0 | point >> 6);
  } else {
    if (point < 0x10000) {
      put(0xe0 | point >> 12);
    } else {
      put(0xf0 | point >> 18);
      put(0x80 | (point >> 12 & 0x3f));
    }
    put(0x80 | (point >> 6 & 0x3f));
  }
  put(0x80 | (point & 0x3f));
}

std::string UpToZero(std::string_view text) { return std::string(text.substr(0, text.find('\0'))); }

std::optional<std::string> Decode(std::span<const std::byte> bytes, Encoding encoding) {
  switch (encoding) {
    case Encoding::kUtf16Little:
      return FromUtf16(bytes, ByteOrder::kLittle);
    case Encoding::kPlain:
      return UpToZero(AsText(bytes));
    case Encoding::kFileUrl:
      return PathOfFileUrl(UpToZero(AsText(bytes)));
  }
  return std::nullopt;
}

class NameReader {
 public:
  NameReader(const ByteSource& source, ParentNames& found) : source_(source), found_(found) {}

  Result<void> Read(const LocatorEntry& entry, Encoding encoding) {
    const std::uint64_t file_bytes = source_.SizeBytes();
    if (entry.length_bytes == 0 || entry.length_bytes > kMaxLocatorBytes ||
        entry.offset_bytes > file_bytes || entry.length_bytes > file_bytes - entry.offset_bytes) {
      PassOver(entry, fmt::format("is said to have {} bytes at byte {}", entry.length_bytes,
                                  entry.offset_bytes));
      return {};
    }
    std::vector<std::byte> bytes(entry.length_bytes);
    VMFERRY_RETURN_IF_ERROR(source_.ReadAt(entry.offset_bytes, bytes));
    std::optional<std::string> name = Decode(bytes, encoding);
    if (!name || name->empty()) {
      PassOver(entry, "holds no name");
    } else {
      Add(*std::move(name));
    }
    return {};
  }

  void Add(std::string name) {
    if (std::find(found_.names.begin(), found_.names.end(), name) == found_.names.end()) {
      found_.names.push_back(std::move(name));
    }
  }

 private:
  void PassOver(const LocatorEntry& entry, std::string_view why) {
    found_.defects.push_back(
        fmt::format("its parent locator {} {} and was passed over",
                    std::string_view(entry.platform.data(), entry.platform.size()), why));
  }

  const ByteSource& source_;
  ParentNames& found_;
};

}  // namespace

std::optional<std::string> FromUtf16(std::span<const std::byte> bytes, ByteOrder order) {
  ByteReader reader(bytes);
  const auto next = [&]() -> std::uint32_t {
    return order == ByteOrder::kLittle ? reader.U16Le() : reader.U16Be();
  };
  std::string text;
  while (reader.remaining() >= 2) {
    std::uint32_t point = next();
    if (point == 0) break;
    if (point >= 0xd800 && point < 0xe000) {  // the first of two, or astray
      const std::uint32_t low = reader.remaining() >= 2 ? next() : 0;
      if (point >= 0xdc00 || low < 0xdc00 || low >= 0xe000) return std::nullopt;
      point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
    }
    AppendUtf8(text, point);
  }
  return text;
}

std::optional<std::string> PathOfFileUrl(std::string_view url) {
  constexpr std::string_view kScheme = "file://";
  constexpr std::string_view kLocalHost = "localhost/";
  if (!url.starts_with(kScheme)) return std::string(url);
  url.remove_prefix(kScheme.size());
  if (url.starts_with(kLocalHost)) url.remove_prefix(kLocalHost.size() - 1);
  std::string path;
  for (std::size_t i = 0; i < url.size(); ++i) {
    if (url[i] != '%') {
      path.push_back(url[i]);
      continue;
    }
    const std::string_view digits = url.substr(i + 1, 2);
    unsigned value = 0;
    const auto parsed = std::from_chars(digits.begin(), digits.end(), value, 16);
    if (digits.size() != 2 || parsed.ptr != digits.end()) return std::nullopt;
    path.push_back(static_cast<char>(value));
    i += 2;
  }
  return path;
}

Result<ParentNames> ReadParentNames(const ByteSource& source, const DynamicHeader& header) {
  ParentNames found;
  NameReader reader(source, found);
  for (const Platform& platform : kPlatforms) {
    if (platform.code == kHeaderNameBefore) {
      // VHD 1.0, "Dynamic Disk Header Format", Parent Unicode Name: UTF-16, big-endian.
      const auto name = FromUtf16(header.parent_name, ByteOrder::kBig);
      if (name && !name->empty()) reader.Add(*name);
    }
    for (const LocatorEntry& entry : header.locators) {
      if (std::string_view(entry.platform.data(), entry.platform.size()) != platform.code) continue;
      VMFERRY_RETURN_IF_ERROR(reader.Read(entry, platform.encoding));
    }
  }
  return found;
}

}  // namespace vmferry::image::vhd
