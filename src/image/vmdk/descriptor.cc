// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/descriptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <optional>

#include "base/units.h"
#include "image/vmdk/damage.h"

namespace vmferry::image::vmdk {
namespace {

constexpr std::string_view kSignature = "# Disk DescriptorFile";
constexpr std::string_view kBlanks = " \t";
constexpr std::string_view kNoParent = "ffffffff";

std::string_view Trim(std::string_view text) {
  const std::size_t first = text.find_first_not_of(kBlanks);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlanks) - first + 1);
}

bool SameLetters(std::string_view a, std::string_view b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](char x, char y) {
    return std::tolower(static_cast<unsigned char>(x)) ==
           std::tolower(static_cast<unsigned char>(y));
  });
}

Error Syntax(std::size_t line_number, std::string_view what) {
  return Damage("vmdk.descriptor.syntax",
                fmt::format("line {} of the VMDK descriptor {}", line_number, what));
}

/// Takes the text up to the next blank from the front of `rest`.
std::string_view TakeWord(std::string_view& rest) {
  rest = Trim(rest);
  const std::string_view word = rest.substr(0, rest.find_first_of(kBlanks));
  rest.remove_prefix(word.size());
  return word;
}

/// Takes "quoted text" from the front of `rest` and returns what is between the quotes.
std::optional<std::string_view> TakeQuoted(std::string_view& rest) {
  rest = Trim(rest);
  if (rest.empty() || rest.front() != '"') return std::nullopt;
  const std::size_t end = rest.find('"', 1);
  if (end == rest.npos) return std::nullopt;
  const std::string_view text = rest.substr(1, end - 1);
  rest.remove_prefix(end + 1);
  return text;
}

bool IsAccessWord(std::string_view word) {
  return word == "RW" || word == "RDONLY" || word == "NOACCESS";
}

// VMDK 5.0, "Extent Description": access, size in sectors, type, and for most types a file name in
// quotes and an offset.
Result<ExtentLine> ParseExtentLine(std::string_view line, std::size_t line_number) {
  ExtentLine extent;
  extent.access = TakeWord(line);
  const auto sectors = ParseUint(TakeWord(line));
  if (!sectors) return Syntax(line_number, "is an extent without a size in sectors");
  extent.sectors = *sectors;
  extent.type = TakeWord(line);
  if (extent.type.empty()) return Syntax(line_number, "is an extent without a type");
  if (Trim(line).empty()) return extent;  // ZERO extents have no file
  const auto file_name = TakeQuoted(line);
  if (!file_name) return Syntax(line_number, "is an extent whose file name is not in quotes");
  extent.file_name = *file_name;
  extent.has_offset = !Trim(line).empty();
  return extent;
}

struct KeyValue {
  std::string_view key;
  std::string_view value;
};

// VMDK 5.0, "The Header" and "The Disk Database": key = value, the value with or without quotes.
Result<KeyValue> ParseKeyValue(std::string_view line, std::size_t line_number) {
  const std::size_t equals = line.find('=');
  if (equals == line.npos)
    return Syntax(line_number, "is neither an extent nor a key with a value");
  const std::string_view key = Trim(line.substr(0, equals));
  std::string_view value = Trim(line.substr(equals + 1));
  if (key.empty() || key.find_first_of(" \t\"") != key.npos) {
    return Syntax(line_number, "has a key that is not one word");
  }
  if (!value.empty() && value.front() == '"') {
    const auto quoted = TakeQuoted(value);
    if (!quoted || !Trim(value).empty()) return Syntax(line_number, "has unbalanced quotes");
    value = *quoted;
  } else if (value.find('"') != value.npos) {
    return Syntax(line_number, "has unbalanced quotes");
  }
  return KeyValue{key, value};
}

Result<void> StoreKey(Descriptor& descriptor, const KeyValue& pair) {
  const std::array<std::pair<std::string_view, std::string*>, 3> known = {
      {{"createType", &descriptor.create_type},
       {"CID", &descriptor.content_id},
       {"parentCID", &descriptor.parent_content_id}}};
  for (const auto& [key, field] : known) {
    if (pair.key != key) continue;
    // Two answers to one question: readers would disagree about which counts.
    if (!field->empty()) {
      return Damage("vmdk.descriptor.duplicate",
                    fmt::format("the VMDK descriptor has more than one {}", key));
    }
    *field = pair.value;
    return {};
  }
  descriptor.entries.emplace_back(pair.key, pair.value);
  return {};
}

Result<void> ParseLine(Descriptor& descriptor, std::string_view line, std::size_t line_number) {
  const bool printable = std::all_of(line.begin(), line.end(), [](char c) {
    return c == '\t' || (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f);
  });
  if (!printable) return Syntax(line_number, "has control characters");
  line = Trim(line);
  if (line.empty() || line.front() == '#') return {};
  std::string_view rest = line;
  if (IsAccessWord(TakeWord(rest)) && !Trim(rest).starts_with('=')) {
    VMFERRY_ASSIGN_OR_RETURN(ExtentLine extent, ParseExtentLine(line, line_number));
    descriptor.extents.push_back(std::move(extent));
    return {};
  }
  VMFERRY_ASSIGN_OR_RETURN(const KeyValue pair, ParseKeyValue(line, line_number));
  return StoreKey(descriptor, pair);
}

/// True for a name that cannot lead out of a folder.
bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find_first_of("/\\:") == name.npos;
}

}  // namespace

std::string_view Descriptor::Entry(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return value;
  }
  return {};
}

bool LooksLikeDescriptor(std::string_view text) { return text.starts_with(kSignature); }

Result<Descriptor> ParseDescriptor(std::string_view text) {
  text = text.substr(0, text.find('\0'));
  // VMDK 5.0, "The Descriptor File": the first line says what it is.
  if (!LooksLikeDescriptor(text)) {
    return Damage("vmdk.descriptor.signature",
                  "the VMDK descriptor does not begin with '# Disk DescriptorFile'");
  }
  Descriptor descriptor;
  for (std::size_t line_number = 1; !text.empty(); ++line_number) {
    if (line_number > kMaxDescriptorLines) {
      return Damage("vmdk.descriptor.too_long",
                    fmt::format("the VMDK descriptor has more than {} lines", kMaxDescriptorLines));
    }
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == text.npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    VMFERRY_RETURN_IF_ERROR(ParseLine(descriptor, line, line_number));
  }
  return descriptor;
}

Result<void> CheckStreamOptimized(const Descriptor& descriptor, std::uint64_t capacity_sectors,
                                  std::uint64_t grain_sectors) {
  // VMDK 5.0, "The Header": createType.
  if (descriptor.create_type != "streamOptimized") {
    return Unsupported("vmdk.descriptor.create_type",
                       fmt::format("the VMDK descriptor says createType '{}', not streamOptimized",
                                   descriptor.create_type));
  }
  // VMDK 5.0, "The Header": parentCID is ffffffff unless the disk is a difference to a parent.
  if (!SameLetters(descriptor.parent_content_id, kNoParent) ||
      !descriptor.Entry("parentFileNameHint").empty()) {
    return Unsupported(
        "vmdk.descriptor.has_parent",
        fmt::format("this VMDK holds only differences to a parent disk (parentCID '{}')",
                    descriptor.parent_content_id));
  }
  // VMDK 5.0, "Extent Description": a stream-optimised disk is one sparse extent, this very file.
  if (descriptor.extents.size() != 1) {
    return Damage(
        "vmdk.descriptor.bad_extent",
        fmt::format("the VMDK descriptor lists {} extents; a stream-optimised disk has one",
                    descriptor.extents.size()));
  }
  const ExtentLine& extent = descriptor.extents.front();
  if (extent.type != "SPARSE" || extent.access == "NOACCESS" || extent.has_offset ||
      !IsPlainFileName(extent.file_name)) {
    return Damage(
        "vmdk.descriptor.bad_extent",
        fmt::format("the VMDK descriptor's extent '{} {} {} \"{}\"' is not the file itself",
                    extent.access, extent.sectors, extent.type, extent.file_name));
  }
  // VirtualBox rounds the header's capacity up to whole grains and keeps the exact size here.
  if (extent.sectors > capacity_sectors || capacity_sectors - extent.sectors >= grain_sectors) {
    return Damage("vmdk.descriptor.bad_extent",
                  fmt::format("the VMDK descriptor's extent has {} sectors, the header {}",
                              extent.sectors, capacity_sectors));
  }
  return {};
}

}  // namespace vmferry::image::vmdk
