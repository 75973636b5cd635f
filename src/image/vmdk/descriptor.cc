// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/descriptor.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>
#include <system_error>

#include "base/units.h"
#include "image/vmdk/damage.h"
#include "image/vmdk/header.h"

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
  const std::string_view offset = TakeWord(line);
  if (offset.empty()) return extent;
  const auto offset_sectors = ParseUint(offset);
  if (!offset_sectors) return Syntax(line_number, "is an extent with an offset that is no number");
  extent.offset_sectors = *offset_sectors;
  extent.has_device = !Trim(line).empty();
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
  // The database is for people and for VMware's products: comments in it hold what they like.
  const bool is_database = key.starts_with("ddb.");
  if (key.empty() || key.find_first_of(" \t\"") != key.npos) {
    return Syntax(line_number, "has a key that is not one word");
  }
  if (!value.empty() && value.front() == '"') {
    const auto quoted = TakeQuoted(value);
    if (quoted && Trim(value).empty()) {
      value = *quoted;
    } else if (!is_database) {
      return Syntax(line_number, "has unbalanced quotes");
    }
  } else if (value.find('"') != value.npos && !is_database) {
    return Syntax(line_number, "has unbalanced quotes");
  }
  return KeyValue{key, value};
}

Result<void> StoreKey(Descriptor& descriptor, const KeyValue& pair) {
  const std::array<std::pair<std::string_view, std::string*>, 5> known = {
      {{"createType", &descriptor.create_type},
       {"CID", &descriptor.content_id},
       {"parentCID", &descriptor.parent_content_id},
       {"parentFileNameHint", &descriptor.parent_hint},
       {"encoding", &descriptor.encoding}}};
  for (const auto& [key, field] : known) {
    if (!SameLetters(pair.key, key)) continue;
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

std::string Spelled(const ExtentLine& extent) {
  return fmt::format("'{} {} {} \"{}\"'", extent.access, extent.sectors, extent.type,
                     extent.file_name.substr(0, 200));
}

template <std::size_t N>
bool Contains(const std::array<std::string_view, N>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

/// Types whose bytes are in files beside the descriptor. vmfsThin and the like are what VMware's
/// programming interfaces call a vmfs disk; some tools write them.
constexpr std::array<std::string_view, 14> kFileTypes = {"monolithicSparse",
                                                         "streamOptimized",
                                                         "monolithicFlat",
                                                         "twoGbMaxExtentSparse",
                                                         "twoGbMaxExtentFlat",
                                                         "2GbMaxExtentSparse",
                                                         "2GbMaxExtentFlat",
                                                         "vmfs",
                                                         "vmfsThin",
                                                         "vmfsPreallocated",
                                                         "vmfsEagerZeroedThick",
                                                         "vmfsSparse",
                                                         "seSparse",
                                                         "custom"};
/// Types whose bytes are on a device.
constexpr std::array<std::string_view, 8> kDeviceTypes = {
    "fullDevice",       "partitionedDevice",           "vmfsRaw", "vmfsRDM", "vmfsRDMP",
    "vmfsRawDeviceMap", "vmfsPassthroughRawDeviceMap", "vmfsRDMp"};

// VMDK 5.0, "The Header": createType.
Result<void> CheckCreateType(std::string_view type) {
  if (Contains(kFileTypes, type)) return {};
  if (Contains(kDeviceTypes, type)) {
    return Error(ErrorCode::kUnimplemented, "vmdk.descriptor.create_type",
                 fmt::format("this VMDK is of type '{}': a raw device mapping or physical disk, "
                             "whose bytes are on a device and not in files",
                             type))
        .WithRemedy(
            "copy the device to a file where it is attached, or clone the disk to type thin or "
            "thick first: vmkfstools -i SOURCE.vmdk -d thin NEW.vmdk");
  }
  return Unsupported("vmdk.descriptor.create_type",
                     fmt::format("the VMDK descriptor says createType '{}', which is not known",
                                 type.substr(0, 80)));
}

constexpr std::array<std::string_view, 6> kFileExtents = {"FLAT",       "VMFS",     "SPARSE",
                                                          "VMFSSPARSE", "SESPARSE", "ZERO"};

// VMDK 5.0, "Extent Description".
Result<void> CheckExtent(const ExtentLine& extent) {
  if (!Contains(kFileExtents, extent.type)) {
    const bool device = extent.type.starts_with("VMFSRDM") || extent.type == "VMFSRAW";
    return Unsupported(
        "vmdk.descriptor.extent_type",
        fmt::format("the VMDK descriptor's extent {} is of a type that {}", Spelled(extent),
                    device ? "stands for a device, a raw device mapping" : "is not known"));
  }
  if (extent.sectors == 0) {
    return Damage("vmdk.descriptor.bad_extent",
                  fmt::format("the VMDK descriptor's extent {} is empty", Spelled(extent)));
  }
  const bool zero = extent.type == "ZERO";
  if (zero != extent.file_name.empty()) {
    return Damage("vmdk.descriptor.bad_extent",
                  fmt::format("the VMDK descriptor's extent {} {}", Spelled(extent),
                              zero ? "is zero and names a file" : "names no file"));
  }
  if (extent.has_device) {
    return Unsupported(
        "vmdk.descriptor.extent_type",
        fmt::format("the VMDK descriptor's extent {} is a part of a device", Spelled(extent)));
  }
  const bool flat = extent.type == "FLAT" || extent.type == "VMFS";
  if (!flat && extent.offset_sectors != 0) {
    return Damage("vmdk.descriptor.bad_extent",
                  fmt::format("the VMDK descriptor's extent {} begins at sector {} of its file; "
                              "only flat extents can",
                              Spelled(extent), extent.offset_sectors));
  }
  if (!zero && extent.access == "NOACCESS") {
    return Unsupported("vmdk.descriptor.no_access",
                       fmt::format("the VMDK descriptor says that its extent {} may not be read",
                                   Spelled(extent)));
  }
  return {};
}

}  // namespace

std::string_view Descriptor::Entry(std::string_view key) const {
  for (const auto& [name, value] : entries) {
    if (name == key) return value;
  }
  return {};
}

bool LooksLikeDescriptor(std::string_view text) {
  return SameLetters(text.substr(0, kSignature.size()), kSignature);
}

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

Result<std::string> NormalContentId(std::string_view id) {
  // VMDK 5.0, "The Header": CID is a random 32-bit number in hexadecimal.
  std::uint32_t value = 0;
  const auto [end, failure] = std::from_chars(id.data(), id.data() + id.size(), value, 16);
  if (failure != std::errc() || end != id.data() + id.size()) {
    return Damage(
        "vmdk.descriptor.content_id",
        fmt::format("the VMDK descriptor has a content id '{}', which is no 32-bit number",
                    id.substr(0, 40)));
  }
  return fmt::format("{:08x}", value);
}

Result<bool> HasParent(const Descriptor& descriptor) {
  // VMDK 5.0, "The Header": parentCID is ffffffff unless the disk is a difference to a parent.
  std::string parent(kNoParent);
  if (!descriptor.parent_content_id.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(parent, NormalContentId(descriptor.parent_content_id));
  }
  if (parent != kNoParent) return true;
  if (descriptor.parent_hint.empty()) return false;
  return Unsupported("vmdk.descriptor.has_parent",
                     fmt::format("the VMDK descriptor names a parent disk '{}', but says by "
                                 "parentCID that there is none",
                                 descriptor.parent_hint.substr(0, 200)));
}

Result<void> CheckEmbedded(const Descriptor& descriptor, std::uint64_t capacity_sectors,
                           std::uint64_t grain_sectors) {
  // VMDK 5.0, "The Header": createType.
  if (descriptor.create_type != "streamOptimized" && descriptor.create_type != "monolithicSparse") {
    return Unsupported("vmdk.descriptor.create_type",
                       fmt::format("the VMDK descriptor says createType '{}', but lies inside a "
                                   "file of monolithicSparse or streamOptimized layout",
                                   descriptor.create_type));
  }
  // VMDK 5.0, "Extent Description": such a disk is one sparse extent, this very file.
  if (descriptor.extents.size() != 1) {
    return Damage("vmdk.descriptor.bad_extent",
                  fmt::format("the VMDK descriptor lists {} extents; a disk of one file has one",
                              descriptor.extents.size()));
  }
  const ExtentLine& extent = descriptor.extents.front();
  if (extent.type != "SPARSE" || extent.access == "NOACCESS" || extent.offset_sectors != 0 ||
      extent.has_device || !IsPlainFileName(extent.file_name)) {
    return Damage(
        "vmdk.descriptor.bad_extent",
        fmt::format("the VMDK descriptor's extent {} is not the file itself", Spelled(extent)));
  }
  // VirtualBox rounds the header's capacity up to whole grains and keeps the exact size here.
  if (extent.sectors > capacity_sectors || capacity_sectors - extent.sectors >= grain_sectors) {
    return Damage("vmdk.descriptor.bad_extent",
                  fmt::format("the VMDK descriptor's extent has {} sectors, the header {}",
                              extent.sectors, capacity_sectors));
  }
  return {};
}

Result<void> CheckSeparate(const Descriptor& descriptor) {
  VMFERRY_RETURN_IF_ERROR(CheckCreateType(descriptor.create_type));
  if (descriptor.extents.empty()) {
    return Damage("vmdk.descriptor.bad_extent", "the VMDK descriptor lists no extents");
  }
  std::uint64_t total_sectors = 0;
  for (const ExtentLine& extent : descriptor.extents) {
    VMFERRY_RETURN_IF_ERROR(CheckExtent(extent));
    // Neither addend is above the limit, so that the sum fits.
    total_sectors += std::min(extent.sectors, kMaxCapacitySectors + 1);
    if (total_sectors <= kMaxCapacitySectors) continue;
    return Damage("vmdk.descriptor.capacity",
                  fmt::format("the extents of the VMDK descriptor have more than {} sectors",
                              kMaxCapacitySectors));
  }
  return {};
}

std::uint64_t TotalSectors(const Descriptor& descriptor) {
  std::uint64_t sectors = 0;
  for (const ExtentLine& extent : descriptor.extents) sectors += extent.sectors;
  return sectors;
}

std::string FromWindows1252(std::string_view text) {
  // The 32 places where windows-1252 differs from Latin-1; 0 where it has nothing.
  constexpr std::array<std::uint16_t, 32> kUpper = {
      0x20ac, 0,      0x201a, 0x0192, 0x201e, 0x2026, 0x2020, 0x2021, 0x02c6, 0x2030, 0x0160,
      0x2039, 0x0152, 0,      0x017d, 0,      0,      0x2018, 0x2019, 0x201c, 0x201d, 0x2022,
      0x2013, 0x2014, 0x02dc, 0x2122, 0x0161, 0x203a, 0x0153, 0,      0x017e, 0x0178};
  std::string utf8;
  for (const char c : text) {
    unsigned code = static_cast<unsigned char>(c);
    if (code >= 0x80 && code < 0xa0 && kUpper[code - 0x80] != 0) code = kUpper[code - 0x80];
    if (code < 0x80) {
      utf8 += static_cast<char>(code);
    } else if (code < 0x800) {
      utf8 += static_cast<char>(0xc0 | (code >> 6));
      utf8 += static_cast<char>(0x80 | (code & 0x3f));
    } else {
      utf8 += static_cast<char>(0xe0 | (code >> 12));
      utf8 += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
      utf8 += static_cast<char>(0x80 | (code & 0x3f));
    }
  }
  return utf8;
}

}  // namespace vmferry::image::vmdk
