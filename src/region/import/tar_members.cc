// SPDX-License-Identifier: Apache-2.0
#include "region/import/tar_members.h"

#include <algorithm>
#include <array>
#include <optional>
#include <span>
#include <string_view>

#include "base/byte_reader.h"
#include "base/units.h"

namespace vmferry::region {
namespace {

constexpr std::size_t kBlock = 512;
constexpr std::size_t kMembersMax = 1000;
constexpr std::uint64_t kTextMax = 64 * kKiB;  // of one extended header

using Header = std::array<std::byte, kBlock>;

Error Refused() {
  return Error(ErrorCode::kInvalidArgument, "region.upload_refused",
               "Disk validation failed [Unsupported OVA format]");
}

std::string_view Field(const Header& header, std::size_t at, std::size_t length) {
  const std::string_view text = AsText(std::span(header).subspan(at, length));
  return text.substr(0, text.find('\0'));
}

// Octal digits between blanks, or base-256 when the first bit is set.
std::optional<std::uint64_t> Number(const Header& header, std::size_t at, std::size_t length) {
  const std::span<const std::byte> field = std::span(header).subspan(at, length);
  std::uint64_t value = 0;
  if ((std::to_integer<unsigned>(field[0]) & 0x80U) != 0) {
    if (std::to_integer<unsigned>(field[0]) != 0x80U) return std::nullopt;  // negative or huge
    for (const std::byte byte : field.subspan(1)) {
      if ((value >> 55) != 0) return std::nullopt;
      value = value << 8 | std::to_integer<std::uint64_t>(byte);
    }
    return value;
  }
  std::string_view text = Field(header, at, length);
  while (text.starts_with(' ')) text.remove_prefix(1);
  while (text.ends_with(' ')) text.remove_suffix(1);
  if (text.empty()) return std::nullopt;
  for (const char digit : text) {
    if (digit < '0' || digit > '7') return std::nullopt;
    value = value * 8 + static_cast<std::uint64_t>(digit - '0');  // 12 digits at most
  }
  return value;
}

bool ChecksumFits(const Header& header) {
  constexpr std::size_t kAt = 148;
  std::uint64_t sum = 8 * std::uint64_t{' '};
  for (std::size_t i = 0; i < kBlock; ++i) {
    if (i < kAt || i >= kAt + 8) sum += std::to_integer<std::uint64_t>(header[i]);
  }
  return Number(header, kAt, 8) == sum;
}

// What extended headers say about the member behind them.
struct Extended {
  std::optional<std::string> name;
  std::optional<std::uint64_t> size_bytes;
};

// "LENGTH key=value\n" records.
bool ReadPax(std::string_view text, Extended& extended) {
  while (!text.empty()) {
    const std::size_t blank = text.find(' ');
    const auto length = ParseUint(text.substr(0, blank));
    if (blank == text.npos || !length || *length <= blank + 1 || *length > text.size() ||
        text[*length - 1] != '\n') {
      return false;
    }
    const std::string_view record = text.substr(blank + 1, *length - blank - 2);
    text.remove_prefix(*length);
    const std::size_t equals = record.find('=');
    if (equals == record.npos) return false;
    const std::string_view key = record.substr(0, equals);
    const std::string_view value = record.substr(equals + 1);
    if (key == "path") extended.name = value;
    if (key == "size") {
      extended.size_bytes = ParseUint(value);
      if (!extended.size_bytes) return false;
    }
    if (key.starts_with("GNU.sparse")) return false;
  }
  return true;
}

bool IsPlainName(std::string_view name) {
  return !name.empty() && name.size() < 256 && name != "." && name != ".." &&
         name.find('/') == name.npos && name.find('\0') == name.npos;
}

std::string NameOf(const Header& header) {
  const std::string_view prefix =
      Field(header, 257, 6) == "ustar" ? Field(header, 345, 155) : std::string_view();
  std::string name(prefix);
  if (!name.empty()) name += '/';
  name += Field(header, 0, 100);
  if (name.starts_with("./")) name.erase(0, 2);
  return name;
}

class Reader {
 public:
  Reader(const sys::File& file, std::uint64_t file_bytes) : file_(file), file_bytes_(file_bytes) {}

  Result<std::vector<TarMember>> Run() {
    while (members_.size() <= kMembersMax) {
      if (file_bytes_ - at_ < kBlock) break;  // some writers leave out the end
      Header header = {};
      VMFERRY_RETURN_IF_ERROR(file_.ReadAt(at_, header));
      if (std::all_of(header.begin(), header.end(),
                      [](std::byte byte) { return byte == std::byte{0}; })) {
        if (members_.empty()) return Refused();
        return std::move(members_);
      }
      at_ += kBlock;
      VMFERRY_RETURN_IF_ERROR(Take(header));
    }
    if (members_.empty() || members_.size() > kMembersMax) return Refused();
    return std::move(members_);
  }

 private:
  Result<void> Take(const Header& header) {
    std::optional<std::uint64_t> size = Number(header, 124, 12);
    if (!ChecksumFits(header) || !size) return Refused();
    const char type = static_cast<char>(header[156]);
    const bool describes_next = type == 'x' || type == 'L' || type == 'g';
    if (!describes_next && extended_.size_bytes) size = extended_.size_bytes;
    if (*size > file_bytes_ - at_) return Refused();
    const std::uint64_t content = at_;
    at_ += std::min(DivCeil(*size, kBlock) * kBlock, file_bytes_ - at_);
    if (describes_next) return TakeText(type, content, *size);
    const Extended extended = std::exchange(extended_, {});
    if (type == '5') return {};
    if (type != '0' && type != '\0') return Refused();
    std::string name = extended.name.value_or(NameOf(header));
    const bool twice = std::any_of(members_.begin(), members_.end(),
                                   [&](const TarMember& other) { return other.name == name; });
    if (!IsPlainName(name) || twice) return Refused();
    members_.push_back({std::move(name), content, *size});
    return {};
  }

  Result<void> TakeText(char type, std::uint64_t content, std::uint64_t size) {
    if (size > kTextMax || ++texts_ > 2 * kMembersMax) return Refused();
    std::string text(size, '\0');
    VMFERRY_RETURN_IF_ERROR(file_.ReadAt(content, std::as_writable_bytes(std::span(text))));
    if (type == 'L') {
      extended_.name = text.substr(0, text.find('\0'));
    } else if (Extended global; !ReadPax(text, type == 'x' ? extended_ : global)) {
      return Refused();
    }
    return {};
  }

  const sys::File& file_;
  const std::uint64_t file_bytes_;
  std::uint64_t at_ = 0;
  std::size_t texts_ = 0;
  Extended extended_;
  std::vector<TarMember> members_;
};

}  // namespace

Result<std::vector<TarMember>> ReadTarMembers(const sys::File& file) {
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, file.Size());
  return Reader(file, file_bytes).Run();
}

}  // namespace vmferry::region
