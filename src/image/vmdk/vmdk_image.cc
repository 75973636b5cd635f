// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/vmdk_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/vmdk/damage.h"
#include "image/vmdk/descriptor.h"
#include "image/vmdk/extent_file.h"
#include "image/vmdk/extent_layer.h"
#include "image/vmdk/header.h"

namespace vmferry::image::vmdk {
namespace {

constexpr std::uint64_t kMaxDescriptorBytes = kMaxDescriptorSectors * kSectorBytes;
/// A flat file in more runs than that is not counted.
constexpr std::size_t kMaxCountedRuns = 4096;

/// A disk under construction.
struct Parts {
  std::vector<std::unique_ptr<Layer>> layers;
  /// Nothing as soon as one extent does not tell.
  std::optional<std::uint64_t> allocated_bytes = 0;
  std::uint64_t stored_bytes = 0;
  std::uint64_t grain_bytes = 0;
  std::vector<std::pair<std::string, std::string>> details;
  std::vector<std::string> defects;

  void Add(std::unique_ptr<Layer> layer, std::optional<std::uint64_t> allocated) {
    layers.push_back(std::move(layer));
    if (allocated_bytes && allocated) {
      *allocated_bytes += *allocated;
    } else {
      allocated_bytes.reset();
    }
  }
  void Add(SparseExtent extent) {
    Add(std::move(extent.layer), extent.facts.allocated_bytes);
    grain_bytes = extent.facts.grain_bytes;
    if (details.empty()) details = std::move(extent.facts.details);
    for (std::string& defect : extent.facts.defects) {
      if (std::find(defects.begin(), defects.end(), defect) == defects.end()) {
        defects.push_back(std::move(defect));
      }
    }
  }
};

/// Names come from hosts of all kinds, and nothing says from which.
NameStyle StyleOf(std::string_view name) {
  const bool drive =
      name.size() >= 2 && name[1] == ':' && std::isalpha(static_cast<unsigned char>(name[0])) != 0;
  return drive || name.find('\\') != name.npos ? NameStyle::kWindows : NameStyle::kUnix;
}

/// The ways in which a file system may spell a name: as it is, and from windows-1252.
std::vector<std::string> SpellingsOf(std::string_view name) {
  std::vector<std::string> spellings = {std::string(name)};
  const bool ascii = std::all_of(name.begin(), name.end(),
                                 [](char c) { return static_cast<unsigned char>(c) < 0x80; });
  if (!ascii) spellings.push_back(FromWindows1252(name));
  return spellings;
}

/// The files of a disk's extents, each opened once.
class ExtentFiles {
 public:
  explicit ExtentFiles(Companions& companions) : companions_(companions) {}

  Result<std::shared_ptr<const ByteSource>> Open(const std::string& name) {
    const auto known = files_.find(name);
    if (known != files_.end()) return known->second;
    std::optional<Error> first_failure;
    for (const std::string& spelling : SpellingsOf(name)) {
      auto opened = companions_.OpenExtent(spelling, StyleOf(name));
      if (opened) {
        std::shared_ptr<const ByteSource> file = *std::move(opened);
        stored_bytes_ += file->SizeBytes();
        return files_.emplace(name, std::move(file)).first->second;
      }
      if (!first_failure) first_failure = std::move(opened).error();
    }
    return *std::move(first_failure);
  }

  std::uint64_t stored_bytes() const { return stored_bytes_; }

 private:
  Companions& companions_;
  std::map<std::string, std::shared_ptr<const ByteSource>> files_;
  std::uint64_t stored_bytes_ = 0;
};

/// Bytes of the range that the file stores; nothing when it has too many holes to count.
Result<std::optional<std::uint64_t>> CountStored(const ByteSource& source,
                                                 std::uint64_t offset_bytes,
                                                 std::uint64_t length_bytes) {
  std::uint64_t stored_bytes = 0;
  for (std::size_t i = 0; i < kMaxCountedRuns; ++i) {
    if (length_bytes == 0) return std::optional<std::uint64_t>(stored_bytes);
    VMFERRY_ASSIGN_OR_RETURN(const sys::FileRun run, source.RunAt(offset_bytes));
    const std::uint64_t step_bytes = std::min(run.length_bytes, length_bytes);
    if (!run.hole) stored_bytes += step_bytes;
    offset_bytes += step_bytes;
    length_bytes -= step_bytes;
  }
  return std::optional<std::uint64_t>();
}

Result<void> AddFlat(Parts& parts, std::shared_ptr<const ByteSource> file, const ExtentLine& line,
                     bool has_parent) {
  // VMDK 5.0, "Extent Description": the offset is where in the file the extent begins.
  const auto offset_bytes = SectorsToBytes(line.offset_sectors);
  const std::uint64_t size_bytes = line.sectors * kSectorBytes;  // bounded by CheckSeparate
  if (!offset_bytes || *offset_bytes > file->SizeBytes() ||
      size_bytes > file->SizeBytes() - *offset_bytes) {
    return Damage(
        "vmdk.extent.truncated",
        fmt::format("the VMDK descriptor's flat extent '{}' has {} sectors from sector "
                    "{}, but the file has {} bytes",
                    line.file_name, line.sectors, line.offset_sectors, file->SizeBytes()));
  }
  VMFERRY_ASSIGN_OR_RETURN(const auto stored_bytes, CountStored(*file, *offset_bytes, size_bytes));
  // A flat extent holds all its bytes: what is not stored is zero, whatever a parent has there.
  parts.Add(MakeFlatLayer(std::move(file), *offset_bytes, size_bytes,
                          has_parent ? RunKind::kZero : RunKind::kAbsent),
            stored_bytes);
  return {};
}

ExtentLayout LayoutNamed(std::string_view type) {
  if (type == "SPARSE") return ExtentLayout::kHosted;
  if (type == "VMFSSPARSE") return ExtentLayout::kCow;
  return type == "SESPARSE" ? ExtentLayout::kSeSparse : ExtentLayout::kUnknown;
}

Result<Parts> OpenExtents(const Descriptor& descriptor, bool has_parent, Companions& companions) {
  Parts parts;
  MapResources resources;
  ExtentFiles files(companions);
  for (const ExtentLine& line : descriptor.extents) {
    if (line.type == "ZERO") {
      parts.Add(MakeZeroLayer(line.sectors * kSectorBytes), 0);
      continue;
    }
    VMFERRY_ASSIGN_OR_RETURN(auto file, files.Open(line.file_name));
    const ExtentLayout layout = LayoutNamed(line.type);
    if (layout == ExtentLayout::kUnknown) {
      VMFERRY_RETURN_IF_ERROR(AddFlat(parts, std::move(file), line, has_parent));
      continue;
    }
    auto extent = OpenSparseExtent(
        std::move(file), {.layout = layout, .sectors = line.sectors, .name = line.file_name},
        resources);
    if (!extent) return std::move(extent).error().With("extent", line.file_name);
    parts.Add(*std::move(extent));
  }
  parts.stored_bytes = files.stored_bytes();
  return parts;
}

/// The disk that this one is a difference to; nothing when it is none.
Result<std::optional<ParentDisk>> OpenParent(const Descriptor& descriptor, bool has_parent,
                                             Companions& companions) {
  if (!has_parent) return std::optional<ParentDisk>();
  ParentRequest request;
  if (!descriptor.parent_hint.empty()) request.names = SpellingsOf(descriptor.parent_hint);
  request.style = StyleOf(descriptor.parent_hint);
  request.search_beside = true;
  VMFERRY_ASSIGN_OR_RETURN(request.identity, NormalContentId(descriptor.parent_content_id));
  VMFERRY_ASSIGN_OR_RETURN(ParentDisk parent, companions.OpenParent(request));
  return std::optional<ParentDisk>(std::move(parent));
}

/// The program that wrote the disk, where it left a trace.
std::string CreatorOf(const Descriptor& descriptor) {
  // VirtualBox gives every disk an id of its own.
  if (!descriptor.Entry("ddb.uuid.image").empty()) return "VirtualBox";
  // VMware's 128-bit content id.
  if (!descriptor.Entry("ddb.longContentID").empty()) return "VMware";
  return {};
}

Result<DiskImageInfo> Describe(const Descriptor& descriptor, Parts& parts) {
  DiskImageInfo info = {.format = "vmdk",
                        .subformat = descriptor.create_type,
                        .stored_size_bytes = parts.stored_bytes,
                        .allocated_size_bytes = parts.allocated_bytes.value_or(0),
                        .creator = CreatorOf(descriptor),
                        .details = std::move(parts.details),
                        .defects = std::move(parts.defects)};
  if (!descriptor.content_id.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(info.identity, NormalContentId(descriptor.content_id));
  }
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) info.details.emplace_back(name, value);
  };
  if (parts.grain_bytes != 0) add("grain size", FormatSize(parts.grain_bytes));
  if (descriptor.extents.size() > 1) add("extents", fmt::format("{}", descriptor.extents.size()));
  add("content id", info.identity);
  add("parent", descriptor.parent_hint);
  add("adapter type", descriptor.Entry("ddb.adapterType"));
  add("virtual hardware", descriptor.Entry("ddb.virtualHWVersion"));
  add("VMware Tools", descriptor.Entry("ddb.toolsVersion"));
  add("comment", descriptor.Entry("ddb.comment"));
  return info;
}

Result<std::unique_ptr<DiskImage>> OpenDescriptorFile(const ByteSource& source,
                                                      Companions& companions) {
  // The bound QEMU uses in block/vmdk.c.
  if (source.SizeBytes() > kMaxDescriptorBytes) {
    return Damage("vmdk.descriptor.too_long",
                  fmt::format("the VMDK descriptor has {} bytes; {} are possible",
                              source.SizeBytes(), kMaxDescriptorBytes));
  }
  std::vector<std::byte> bytes(source.SizeBytes());
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(0, std::span(bytes)));
  VMFERRY_ASSIGN_OR_RETURN(const Descriptor descriptor, ParseDescriptor(AsText(bytes)));
  VMFERRY_RETURN_IF_ERROR(CheckSeparate(descriptor));
  VMFERRY_ASSIGN_OR_RETURN(const bool has_parent, HasParent(descriptor));
  VMFERRY_ASSIGN_OR_RETURN(Parts parts, OpenExtents(descriptor, has_parent, companions));
  parts.stored_bytes += source.SizeBytes();
  VMFERRY_ASSIGN_OR_RETURN(DiskImageInfo info, Describe(descriptor, parts));
  VMFERRY_ASSIGN_OR_RETURN(auto parent, OpenParent(descriptor, has_parent, companions));
  return MakeLayeredImage(JoinLayers(std::move(parts.layers)), std::move(parent), std::move(info));
}

Result<Descriptor> ReadEmbedded(const ByteSource& source, const Header& header) {
  VMFERRY_RETURN_IF_ERROR(CheckEmbeddedDescriptor(header));
  const auto end = CheckedAdd(header.descriptor_offset_sectors, header.descriptor_sectors);
  if (!end || *end > source.SizeBytes() / kSectorBytes) {
    return Damage(
        "vmdk.header.descriptor",
        fmt::format("the VMDK's descriptor at sector {} with {} sectors is not inside the "
                    "file of {} bytes",
                    header.descriptor_offset_sectors, header.descriptor_sectors,
                    source.SizeBytes()));
  }
  std::vector<std::byte> bytes(header.descriptor_sectors * kSectorBytes);
  VMFERRY_RETURN_IF_ERROR(
      source.ReadAt(header.descriptor_offset_sectors * kSectorBytes, std::span(bytes)));
  // QEMU keeps room for a descriptor in every extent of a split disk.
  if (bytes.front() == std::byte{0}) return ExtentAlone("its descriptor is empty");
  VMFERRY_ASSIGN_OR_RETURN(Descriptor descriptor, ParseDescriptor(AsText(bytes)));
  VMFERRY_RETURN_IF_ERROR(CheckEmbedded(descriptor, header.capacity_sectors, header.grain_sectors));
  return descriptor;
}

/// A disk of one file: monolithicSparse or streamOptimized.
Result<std::unique_ptr<DiskImage>> OpenHostedDisk(std::shared_ptr<const ByteSource> source,
                                                  Companions& companions) {
  VMFERRY_ASSIGN_OR_RETURN(const Header header, ReadHeader(*source, 0));
  VMFERRY_ASSIGN_OR_RETURN(Descriptor descriptor, ReadEmbedded(*source, header));
  VMFERRY_ASSIGN_OR_RETURN(const bool has_parent, HasParent(descriptor));
  MapResources resources;
  Parts parts;
  parts.stored_bytes = source->SizeBytes();
  VMFERRY_ASSIGN_OR_RETURN(SparseExtent extent,
                           OpenHostedExtent(source, header, header.capacity_sectors, resources));
  parts.Add(std::move(extent));
  // The layout is what counts; which of the two names the descriptor gives it is a word.
  const std::string layout = header.compressed() ? "streamOptimized" : "monolithicSparse";
  if (descriptor.create_type != layout) {
    parts.defects.push_back(
        fmt::format("its descriptor says createType '{}', its header {}: the "
                    "header counts",
                    descriptor.create_type, layout));
  }
  const std::uint64_t described_sectors = descriptor.extents.front().sectors;
  if (described_sectors != header.capacity_sectors) {
    parts.defects.push_back(
        fmt::format("its descriptor says {} sectors, its header {}: the header counts",
                    described_sectors, header.capacity_sectors));
  }
  // EC2 takes a stream-optimised file as it is, and nothing else.
  const bool sendable = header.compressed() && descriptor.create_type == layout && !has_parent;
  descriptor.create_type = layout;
  VMFERRY_ASSIGN_OR_RETURN(DiskImageInfo info, Describe(descriptor, parts));
  if (sendable) info.wire_format = "VMDK";
  VMFERRY_ASSIGN_OR_RETURN(auto parent, OpenParent(descriptor, has_parent, companions));
  return MakeLayeredImage(JoinLayers(std::move(parts.layers)), std::move(parent), std::move(info));
}

}  // namespace

Result<std::unique_ptr<DiskImage>> Open(std::unique_ptr<ByteSource> source,
                                        Companions& companions) {
  VMFERRY_ASSIGN_OR_RETURN(const ExtentLayout layout, LayoutOf(*source));
  switch (layout) {
    case ExtentLayout::kUnknown:
      return OpenDescriptorFile(*source, companions);
    case ExtentLayout::kHosted:
      return OpenHostedDisk(std::move(source), companions);
    case ExtentLayout::kCow:
    case ExtentLayout::kSeSparse:
      // Without what the descriptor says of a parent, it would be a disk with pieces missing.
      return ExtentAlone("a COWD or seSparse extent has its descriptor in another file");
  }
  return OpenDescriptorFile(*source, companions);
}

}  // namespace vmferry::image::vmdk
