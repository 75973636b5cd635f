// SPDX-License-Identifier: Apache-2.0
#include "image/ova/tar.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "base/byte_reader.h"
#include "image/ova/damage.h"
#include "image/ova/member_name.h"

namespace vmferry::image::ova {
namespace {

using Block = std::array<std::byte, kTarBlockBytes>;

constexpr std::size_t kChecksumOffset = 148;
constexpr std::size_t kChecksumBytes = 8;

/// A text field: up to its first NUL.
std::string_view Field(std::string_view block, std::size_t offset, std::size_t length) {
  const std::string_view field = block.substr(offset, length);
  return field.substr(0, field.find('\0'));
}

/// Octal digits between blanks. Nothing when there is anything else.
std::optional<std::uint64_t> ParseOctal(std::string_view field) {
  field = field.substr(0, field.find('\0'));
  while (field.starts_with(' ')) field.remove_prefix(1);
  while (field.ends_with(' ')) field.remove_suffix(1);
  std::uint64_t value = 0;
  for (const char c : field) {
    if (c < '0' || c > '7') return std::nullopt;
    value = value * 8 + static_cast<std::uint64_t>(c - '0');  // at most 12 digits: 36 bits
  }
  return value;
}

/// Octal, or, with the first bit set, a big-endian number in two's complement.
std::optional<std::uint64_t> ParseNumber(std::string_view field) {
  const auto byte_at = [&](std::size_t i) { return static_cast<unsigned char>(field[i]); };
  if ((byte_at(0) & 0x80) == 0) return ParseOctal(field);
  // GNU tar manual, "Basic Tar Format": 0x80 begins a positive number, 0xff a negative one.
  std::uint64_t value = byte_at(0) & 0x7f;
  for (std::size_t i = 1; i < field.size(); ++i) {
    if ((value >> 55) != 0) return std::nullopt;  // beyond 63 bits, or negative
    value = (value << 8) | byte_at(i);
  }
  return value;
}

/// POSIX.1-2017, pax, "ustar Interchange Format": the sum of all bytes, those of the checksum taken
/// for blanks. Some old programs added signed bytes.
bool ChecksumHolds(std::span<const std::byte, kTarBlockBytes> block) {
  std::int64_t plain = 0;
  std::int64_t with_signs = 0;
  for (std::size_t i = 0; i < block.size(); ++i) {
    const bool own = i >= kChecksumOffset && i < kChecksumOffset + kChecksumBytes;
    const auto value =
        own ? static_cast<unsigned char>(' ') : std::to_integer<unsigned char>(block[i]);
    plain += value;
    with_signs += static_cast<signed char>(value);
  }
  const auto stored = ParseOctal(AsText(block).substr(kChecksumOffset, kChecksumBytes));
  return stored && (static_cast<std::int64_t>(*stored) == plain ||
                    static_cast<std::int64_t>(*stored) == with_signs);
}

bool IsZero(std::span<const std::byte> block) {
  return std::all_of(block.begin(), block.end(),
                     [](std::byte byte) { return byte == std::byte{0}; });
}

/// Walks one archive.
class Walk {
 public:
  explicit Walk(const ByteSource& source) : source_(source), size_bytes_(source.SizeBytes()) {}

  Result<TarIndex> Run() {
    for (std::size_t headers = 0;; ++headers) {
      if (headers == kMaxTarHeaders) {
        return Unsupported("ova.tar.too_many",
                           fmt::format("the archive has more than {} headers", kMaxTarHeaders));
      }
      VMFERRY_ASSIGN_OR_RETURN(const bool more, Step());
      if (!more) return std::move(index_);
    }
  }

 private:
  /// Takes one header and what belongs to it; false at the end.
  Result<bool> Step() {
    if (at_bytes_ == size_bytes_) {
      if (pending_name_ || pending_.path || pending_.size_bytes) return CutOff();
      index_.defects.emplace_back(
          "the archive ends without an end-of-archive mark: it may be cut off");
      return false;
    }
    if (size_bytes_ - at_bytes_ < kTarBlockBytes) return CutOff();
    Block block;
    VMFERRY_RETURN_IF_ERROR(source_.ReadAt(at_bytes_, block));
    if (IsZero(block)) return false;
    VMFERRY_ASSIGN_OR_RETURN(TarHeader header, ParseTarHeader(block));
    at_bytes_ += kTarBlockBytes;
    switch (header.type) {
      case 'x':
      case 'g':
      case 'L':
      case 'K':
        VMFERRY_RETURN_IF_ERROR(TakeExtension(header));
        return true;
      default:
        VMFERRY_RETURN_IF_ERROR(TakeMember(std::move(header)));
        return true;
    }
  }

  Error CutOff() const {
    return Damage("ova.tar.truncated",
                  fmt::format("the archive of {} bytes ends inside a member", size_bytes_))
        .With("offset_bytes", at_bytes_);
  }

  /// Steps over the content of a member: whole blocks, of which the last may be missing.
  Result<void> SkipContent(std::uint64_t size_bytes) {
    if (size_bytes > size_bytes_ - at_bytes_) return CutOff();
    at_bytes_ += size_bytes;
    const std::uint64_t padding_bytes =
        DivCeil(size_bytes, kTarBlockBytes) * kTarBlockBytes - size_bytes;
    at_bytes_ += std::min(padding_bytes, size_bytes_ - at_bytes_);
    return {};
  }

  Result<void> TakeExtension(const TarHeader& header) {
    if (header.size_bytes > kMaxTarExtensionBytes) {
      return Damage("ova.tar.extension",
                    fmt::format("an extended header of {} bytes exceeds the limit of {}",
                                header.size_bytes, kMaxTarExtensionBytes));
    }
    if (header.size_bytes > size_bytes_ - at_bytes_) return CutOff();
    std::vector<std::byte> content(static_cast<std::size_t>(header.size_bytes));
    VMFERRY_RETURN_IF_ERROR(source_.ReadAt(at_bytes_, content));
    VMFERRY_RETURN_IF_ERROR(SkipContent(header.size_bytes));
    const std::string_view text = AsText(content);
    if (header.type == 'x') {
      VMFERRY_ASSIGN_OR_RETURN(pending_, ParsePaxRecords(text));
    } else if (header.type == 'g') {
      // Defaults for all members: none of what is used here makes sense for all.
      VMFERRY_RETURN_IF_ERROR(ParsePaxRecords(text));
    } else if (header.type == 'L') {
      pending_name_ = std::string(text.substr(0, text.find('\0')));
    }
    return {};
  }

  Result<void> TakeMember(TarHeader header) {
    const PaxRecords pax = std::exchange(pending_, {});
    const std::optional<std::string> long_name = std::exchange(pending_name_, std::nullopt);
    if (long_name) header.name = *long_name;
    if (pax.path) header.name = *pax.path;
    if (pax.size_bytes) header.size_bytes = *pax.size_bytes;
    if (header.type == 'S') {
      return Unsupported("ova.tar.sparse",
                         fmt::format("'{}' is stored as a GNU sparse file", Shown(header.name)));
    }
    if (header.type == '5') return SkipContent(0);
    // POSIX.1-2017, pax, "ustar Interchange Format", typeflag: '0' and NUL are regular files, '7'
    // may be treated as one. The rest are links, devices, FIFOs and private extensions.
    if (header.type != '0' && header.type != '\0' && header.type != '7') {
      return Unsupported(
          "ova.tar.member_type",
          fmt::format("'{}' is a link, a device or another thing (type {:#04x}) that has no place "
                      "in an appliance",
                      Shown(header.name), static_cast<unsigned char>(header.type)));
    }
    auto name = NormalizeMemberName(header.name);
    if (!name) {
      return Damage("ova.tar.member_name",
                    fmt::format("the archive has a member called '{}'", Shown(header.name)));
    }
    if (!names_.insert(*name).second) {
      return Damage("ova.tar.duplicate",
                    fmt::format("the archive has two members called '{}'", *name));
    }
    if (index_.members.size() == kMaxTarMembers) {
      return Unsupported("ova.tar.too_many",
                         fmt::format("the archive has more than {} files", kMaxTarMembers));
    }
    index_.members.push_back({*std::move(name), at_bytes_, header.size_bytes});
    return SkipContent(header.size_bytes);
  }

  const ByteSource& source_;
  const std::uint64_t size_bytes_;
  std::uint64_t at_bytes_ = 0;
  TarIndex index_;
  std::set<std::string> names_;
  // What extended headers said about the next member.
  PaxRecords pending_;
  std::optional<std::string> pending_name_;
};

}  // namespace

Result<TarHeader> ParseTarHeader(std::span<const std::byte, kTarBlockBytes> block) {
  const std::string_view text = AsText(block);
  // POSIX: "ustar", NUL, "00". GNU: "ustar", two blanks, NUL.
  const std::string_view magic = text.substr(257, 5);
  if (magic != "ustar") {
    return Damage("ova.tar.magic", "a header of the archive is not marked as ustar");
  }
  if (!ChecksumHolds(block)) {
    return Damage("ova.tar.checksum", "the checksum of a header of the archive is wrong");
  }
  const auto size_bytes = ParseNumber(text.substr(124, 12));
  if (!size_bytes) {
    return Damage("ova.tar.number", "a header of the archive has an impossible size");
  }
  TarHeader header;
  header.name = Field(text, 0, 100);
  header.type = text[156];
  header.size_bytes = *size_bytes;
  // GNU headers use the place of the prefix for other things.
  const std::string_view prefix = text[262] == '\0' ? Field(text, 345, 155) : std::string_view();
  if (!prefix.empty()) header.name = fmt::format("{}/{}", prefix, header.name);
  return header;
}

Result<PaxRecords> ParsePaxRecords(std::string_view text) {
  // POSIX.1-2017, pax, "pax Extended Header": "%d %s=%s\n", the length of the whole record first.
  PaxRecords records;
  while (!text.empty()) {
    const std::size_t blank = text.find(' ');
    const auto length = ParseUint(text.substr(0, std::min<std::size_t>(blank, 8)));
    if (blank == text.npos || !length || *length > text.size() || *length < blank + 3 ||
        text[*length - 1] != '\n') {
      return Damage("ova.tar.pax", "an extended header of the archive is malformed");
    }
    const std::string_view record = text.substr(blank + 1, *length - blank - 2);
    text.remove_prefix(*length);
    const std::size_t equals = record.find('=');
    if (equals == record.npos) {
      return Damage("ova.tar.pax", "an extended header of the archive is malformed");
    }
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key.starts_with("GNU.sparse.")) {
      return Unsupported("ova.tar.sparse", "the archive stores a member as a sparse file");
    }
    if (key == "path") records.path = std::string(value);
    if (key == "size") {
      records.size_bytes = ParseUint(value);
      if (!records.size_bytes) {
        return Damage("ova.tar.pax", "an extended header of the archive has an impossible size");
      }
    }
  }
  return records;
}

Result<TarIndex> ReadTar(const ByteSource& source) { return Walk(source).Run(); }

}  // namespace vmferry::image::ova
