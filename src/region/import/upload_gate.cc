// SPDX-License-Identifier: Apache-2.0
#include "region/import/upload_gate.h"

#include <array>
#include <optional>
#include <string_view>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "region/import/vhdx_gate.h"

namespace vmferry::region {
namespace {

// VMware, "Virtual Disk Format 5.0", "Hosted Sparse Extent Header".
constexpr std::uint32_t kVmdkMagic = 0x564d444b;  // "KDMV"
constexpr std::uint64_t kGdAtEnd = ~std::uint64_t{0};
constexpr std::uint32_t kFlagCompressed = 1U << 16;
constexpr std::uint32_t kFlagMarkers = 1U << 17;
constexpr std::uint64_t kDescriptorSectorsMax = 2048;  // 1 MiB, the bound of block/vmdk.c
// QEMU looks for a parent in 20 sectors behind the header whatever the header says.
constexpr std::uint64_t kParentScanBytes = 64 * kKiB;

struct SparseHeader {
  std::uint32_t version = 0;
  std::uint32_t flags = 0;
  std::uint64_t capacity = 0;
  std::uint64_t descriptor_sector = 0;
  std::uint64_t descriptor_sectors = 0;
  std::uint64_t gd_sector = 0;
};

Error Refused(std::string text) {
  return Error(ErrorCode::kInvalidArgument, "region.upload_refused", std::move(text));
}

Error UnsupportedVmdk() { return Refused("Disk validation failed [Unsupported VMDK File Format]"); }

std::optional<SparseHeader> ReadHeader(const sys::File& file, std::uint64_t offset) {
  std::array<std::byte, kSectorBytes> sector = {};
  if (!file.ReadAt(offset, sector)) return std::nullopt;
  ByteReader reader(sector);
  if (reader.U32Le() != kVmdkMagic) return std::nullopt;
  SparseHeader header;
  header.version = reader.U32Le();
  header.flags = reader.U32Le();
  header.capacity = reader.U64Le();
  reader.Skip(8);  // grain size
  header.descriptor_sector = reader.U64Le();
  header.descriptor_sectors = reader.U64Le();
  reader.Skip(4 + 8);  // entries per grain table, redundant grain directory
  header.gd_sector = reader.U64Le();
  return header;
}

// The descriptor's "key=value" lines and extent lines, as far as they decide here.
struct Descriptor {
  std::string create_type;
  std::string parent_cid;
  std::vector<std::string> extents;
};

std::string Lower(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  }
  return lower;
}

std::string_view Stripped(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r\"";
  const std::size_t first = text.find_first_not_of(kBlank);
  if (first == text.npos) return {};
  return text.substr(first, text.find_last_not_of(kBlank) - first + 1);
}

Descriptor ParseDescriptor(std::string_view text) {
  Descriptor descriptor;
  text = text.substr(0, text.find('\0'));
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text = end == text.npos ? std::string_view() : text.substr(end + 1);
    line = line.substr(0, line.find('#'));
    if (Stripped(line).empty()) continue;
    const std::size_t equals = line.find('=');
    // An extent line has no '=' before its file name in quotes.
    if (equals == line.npos || equals > line.find('"')) {
      descriptor.extents.emplace_back(Stripped(line));
      continue;
    }
    const std::string key = Lower(Stripped(line.substr(0, equals)));
    const std::string value = Lower(Stripped(line.substr(equals + 1)));
    if (key == "createtype") descriptor.create_type = value;
    if (key == "parentcid") descriptor.parent_cid = value;
  }
  return descriptor;
}

// "RW 4192256 SPARSE "name.vmdk"" and nothing else.
bool IsOwnSparseExtent(std::string_view line) {
  std::array<std::string_view, 3> words;
  for (std::string_view& word : words) {
    const std::size_t blank = line.find(' ');
    if (blank == line.npos) return false;
    word = line.substr(0, blank);
    line = Stripped(line.substr(blank));
  }
  return words[0] == "RW" && ParseUint(words[1]).has_value() && words[2] == "SPARSE";
}

bool IsPlainHeader(const SparseHeader& header, std::uint64_t file_bytes) {
  // capacity 0 makes QEMU take the descriptor for a list of other files.
  return header.version >= 1 && header.version <= 3 && header.capacity > 0 &&
         header.descriptor_sector == 1 && header.descriptor_sectors > 0 &&
         header.descriptor_sectors <= kDescriptorSectorsMax &&
         (1 + header.descriptor_sectors) * kSectorBytes <= file_bytes;
}

Result<void> CheckVmdk(const sys::File& file, std::uint64_t file_bytes) {
  const std::optional<SparseHeader> header = ReadHeader(file, 0);
  if (!header || !IsPlainHeader(*header, file_bytes)) return UnsupportedVmdk();
  const bool streams = (header->flags & (kFlagCompressed | kFlagMarkers)) != 0;
  if (header->gd_sector == kGdAtEnd) {
    // The footer takes the header's place: it must say the same. VMware, "Stream-Optimized
    // Compressed Sparse Extents": footer marker, footer, end-of-stream marker.
    if (file_bytes < 4 * kSectorBytes) return UnsupportedVmdk();
    const std::optional<SparseHeader> footer = ReadHeader(file, file_bytes - 2 * kSectorBytes);
    if (!footer || footer->capacity != header->capacity || footer->descriptor_sector > 1 ||
        footer->flags != header->flags) {
      return UnsupportedVmdk();
    }
  }
  std::string text(std::max(header->descriptor_sectors * kSectorBytes, kParentScanBytes), '\0');
  VMFERRY_ASSIGN_OR_RETURN(const std::size_t count,
                           file.ReadSomeAt(kSectorBytes, std::as_writable_bytes(std::span(text))));
  text.resize(count);
  if (Lower(text).find("parentfilenamehint") != text.npos) return UnsupportedVmdk();
  const Descriptor descriptor =
      ParseDescriptor(std::string_view(text).substr(0, header->descriptor_sectors * kSectorBytes));
  const bool known = descriptor.create_type == "streamoptimized" ||
                     (descriptor.create_type == "monolithicsparse" && !streams);
  const bool whole = descriptor.parent_cid.empty() || descriptor.parent_cid == "ffffffff";
  if (!known || !whole || descriptor.extents.size() != 1 ||
      !IsOwnSparseExtent(descriptor.extents[0])) {
    return UnsupportedVmdk();
  }
  return {};
}

// Microsoft, "Virtual Hard Disk Image Format Specification", "Hard Disk Footer Format".
Result<void> CheckVhd(const sys::File& file, std::uint64_t file_bytes) {
  constexpr std::uint64_t kFooterBytes = 512;
  constexpr std::uint32_t kFixed = 2;
  constexpr std::uint32_t kDynamic = 3;
  const Error unsupported = Refused("Disk validation failed [Unsupported VHD File Format]");
  std::array<std::byte, kFooterBytes> footer = {};
  if (file_bytes < kFooterBytes || !file.ReadAt(file_bytes - kFooterBytes, footer)) {
    return unsupported;
  }
  if (AsText(std::span(footer).first(8)) != "conectix") return unsupported;
  ByteReader reader{std::span(footer).subspan(60)};
  const std::uint32_t type = reader.U32Be();
  if (type == kFixed) return {};
  if (type != kDynamic) return Refused("Footers not identical");  // AWS's text for differencing
  std::array<std::byte, kFooterBytes> copy = {};
  if (!file.ReadAt(0, copy) || copy != footer) return Refused("Footers not identical");
  return {};
}

}  // namespace

Result<void> CheckUpload(const sys::File& file, ImageFormat format) {
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t file_bytes, file.Size());
  switch (format) {
    case ImageFormat::kRaw:
      return {};  // any bytes are a raw disk
    case ImageFormat::kVmdk:
      return CheckVmdk(file, file_bytes);
    case ImageFormat::kVhd:
      return CheckVhd(file, file_bytes);
    case ImageFormat::kVhdx:
      return CheckVhdx(file, file_bytes);
    case ImageFormat::kOva:
      break;  // its disks pass here one by one
  }
  return Refused("Disk validation failed [Unsupported specified file format]");
}

std::string QemuFormat(ImageFormat format) {
  switch (format) {
    case ImageFormat::kRaw:
      return "raw";
    case ImageFormat::kVmdk:
      return "vmdk";
    case ImageFormat::kVhd:
      return "vpc";
    case ImageFormat::kVhdx:
      return "vhdx";
    case ImageFormat::kOva:
      break;
  }
  return "";
}

}  // namespace vmferry::region
