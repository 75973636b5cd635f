// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/extent_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/byte_reader.h"
#include "base/units.h"
#include "image/vmdk/cow_header.h"
#include "image/vmdk/damage.h"
#include "image/vmdk/extent_layer.h"
#include "image/vmdk/marker.h"
#include "image/vmdk/se_sparse_header.h"

namespace vmferry::image::vmdk {
namespace {

/// Tables that opening looks at where it need not look at all of them: those of 8 TiB in grains of
/// 64 KiB, read in a fraction of a second.
constexpr std::uint64_t kSurveyBytes = 256 * kMiB;
/// As much for the comparison with the redundant copy.
constexpr std::uint64_t kCompareBytes = 32 * kMiB;

/// The first bytes of a file, as many as it has.
template <std::size_t N>
Result<std::span<const std::byte>> ReadPart(const ByteSource& source, std::uint64_t offset_bytes,
                                            std::array<std::byte, N>& buffer) {
  const std::uint64_t rest_bytes = source.SizeBytes() - std::min(source.SizeBytes(), offset_bytes);
  const auto part = std::span(buffer).first(std::min<std::uint64_t>(rest_bytes, N));
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(offset_bytes, part));
  return std::span<const std::byte>(part);
}

/// Reads the footer of a disk whose header says GD_AT_END.
///
/// Errors: kDataLoss vmdk.footer.missing, vmdk.footer.mismatch, vmdk.header.*.
Result<Header> ReadFooter(const ByteSource& source, const Header& header) {
  // VMDK 5.0, "Stream-Optimized Compressed Sparse Extents": the file ends with the footer marker,
  // the footer (a copy of the header with the real gdOffset) and the end-of-stream marker.
  const Error missing = Damage("vmdk.footer.missing",
                               "the VMDK says that its grain directory is at the end, but the file "
                               "does not end with a footer");
  constexpr std::uint64_t kTailBytes = 3 * kSectorBytes;
  if (source.SizeBytes() < kHeaderBytes + kTailBytes) return missing;
  const std::uint64_t tail_offset_bytes = source.SizeBytes() - kTailBytes;
  std::array<std::byte, kTailBytes> tail;
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(tail_offset_bytes, tail));
  const MetadataMarker marker = ParseMetadataMarker(tail);
  const MetadataMarker end =
      ParseMetadataMarker(std::span(tail).subspan(2 * kSectorBytes, kSectorBytes));
  if (marker.sectors != 1 || marker.size != 0 ||
      marker.kind != static_cast<std::uint32_t>(MetadataKind::kFooter) || end.sectors != 0 ||
      end.size != 0 || end.kind != static_cast<std::uint32_t>(MetadataKind::kEndOfStream)) {
    return missing;
  }
  VMFERRY_ASSIGN_OR_RETURN(const Header footer,
                           ReadHeader(source, tail_offset_bytes + kSectorBytes));
  if (footer.version != header.version || footer.flags != header.flags ||
      footer.capacity_sectors != header.capacity_sectors ||
      footer.grain_sectors != header.grain_sectors ||
      footer.directory_offset_sectors == kDirectoryAtEnd) {
    return Damage("vmdk.footer.mismatch", "the footer of the VMDK contradicts its header");
  }
  return footer;
}

/// Where grains and tables may be. Errors: kDataLoss vmdk.header.file_size, .descriptor, .overhead.
Result<MapPlan> PlanHosted(const Header& header, std::uint64_t file_size_bytes, bool has_footer) {
  // VMDK 5.0, "Stream-Optimized Compressed Sparse Extents": everything is padded to sectors.
  if (header.compressed() && file_size_bytes % kSectorBytes != 0) {
    return Damage("vmdk.header.file_size",
                  fmt::format("the VMDK file has {} bytes, which is not a whole number of sectors",
                              file_size_bytes));
  }
  const std::uint64_t file_sectors = file_size_bytes / kSectorBytes;
  const auto descriptor_end =
      CheckedAdd(header.descriptor_offset_sectors, header.descriptor_sectors);
  if (!descriptor_end || *descriptor_end > file_sectors) {
    return Damage(
        "vmdk.header.descriptor",
        fmt::format("the VMDK's descriptor at sector {} with {} sectors is not inside the "
                    "file of {} sectors",
                    header.descriptor_offset_sectors, header.descriptor_sectors, file_sectors));
  }
  // VMDK 5.0, "Hosted Sparse Extents": overHead counts the sectors in front of the first grain.
  // Only streams are refused for it: there it tells a file that was cut off in front of its grains.
  if (header.compressed() && header.overhead_sectors > file_sectors) {
    return Damage("vmdk.header.overhead",
                  fmt::format("the VMDK's structures take {} sectors, the file has {}",
                              header.overhead_sectors, file_sectors));
  }
  return MapPlan{
      .capacity_sectors = header.capacity_sectors,
      .grain_sectors = header.grain_sectors,
      .entries_per_table = kEntriesPerTable,
      .directory_offset_sectors = header.directory_offset_sectors,
      .first_data_sector = std::max<std::uint64_t>(*descriptor_end, 1),
      .end_bytes = file_size_bytes - (has_footer ? 3 * kSectorBytes : 0),
      .one_is_zero = (header.flags & kFlagZeroGrains) != 0,
      .compressed = header.compressed(),
  };
}

/// A header and a map that were checked, without grains to look at: the rest is the same for all.
Result<SparseExtent> FinishPlain(std::unique_ptr<GrainMap> map, std::uint64_t sectors,
                                 ExtentFacts facts) {
  VMFERRY_ASSIGN_OR_RETURN(const MapSurvey survey, map->Survey(kSurveyBytes));
  if (survey.complete) facts.allocated_bytes = survey.allocated_bytes;
  return SparseExtent{.layer = MakeSparseLayer(std::move(map), sectors * kSectorBytes),
                      .facts = std::move(facts)};
}

Result<SparseExtent> FinishCompressed(std::unique_ptr<GrainMap> map, std::uint64_t sectors,
                                      ExtentFacts facts) {
  VMFERRY_ASSIGN_OR_RETURN(const MapSurvey survey, map->Survey(~std::uint64_t{0}));
  facts.allocated_bytes = survey.allocated_bytes;
  // A file that was cut off misses its last grain: better said now than after hours of upload.
  if (survey.last_sector != 0) {
    VMFERRY_RETURN_IF_ERROR(
        CheckGrainAt(*map, survey.last_grain, survey.last_sector * kSectorBytes));
  }
  return SparseExtent{.layer = MakeCompressedLayer(std::move(map), sectors * kSectorBytes),
                      .facts = std::move(facts)};
}

Result<void> CheckDemand(const ExtentDemand& demand, std::uint64_t capacity_sectors,
                         std::uint64_t grain_sectors) {
  // VMDK 5.0, "Extent Description": the size of the extent. The file may round it up to a grain.
  if (demand.sectors <= capacity_sectors && capacity_sectors - demand.sectors < grain_sectors) {
    return {};
  }
  return Damage("vmdk.extent.capacity",
                fmt::format("the VMDK descriptor gives extent '{}' {} sectors, its own header {}",
                            demand.name, demand.sectors, capacity_sectors));
}

Result<CowHeader> ReadCowHeader(const ByteSource& source) {
  std::array<std::byte, kCowHeaderBytes> buffer;
  VMFERRY_ASSIGN_OR_RETURN(const auto bytes, ReadPart(source, 0, buffer));
  return ParseCowHeader(bytes);
}

Result<SparseExtent> OpenCow(std::shared_ptr<const ByteSource> source, const CowHeader& header,
                             std::uint64_t sectors, MapResources& resources) {
  const MapPlan plan = {
      .capacity_sectors = header.capacity_sectors,
      .grain_sectors = header.grain_sectors,
      .entries_per_table = kCowEntriesPerTable,
      .directory_offset_sectors = header.directory_offset_sectors,
      .first_data_sector = kCowHeaderSectors,
      .end_bytes = source->SizeBytes(),
  };
  ExtentFacts facts = {.capacity_sectors = header.capacity_sectors,
                       .grain_bytes = plan.grain_bytes()};
  if (header.free_sector > DivCeil(plan.end_bytes, kSectorBytes)) {
    facts.defects.push_back(
        fmt::format("its COWD header counts {} sectors in use, the file has {}: it may be cut off",
                    header.free_sector, DivCeil(plan.end_bytes, kSectorBytes)));
  }
  if (header.inconsistent || header.unclean_shutdown) {
    facts.defects.emplace_back("its COWD header says that it was not closed properly");
  }
  VMFERRY_ASSIGN_OR_RETURN(auto map, GrainMap::Open(std::move(source), plan, resources));
  return FinishPlain(std::move(map), sectors, std::move(facts));
}

Result<SparseExtent> OpenSeSparse(std::shared_ptr<const ByteSource> source,
                                  const ExtentDemand& demand, MapResources& resources) {
  std::array<std::byte, kSeHeaderBytes> buffer;
  VMFERRY_ASSIGN_OR_RETURN(const auto bytes, ReadPart(*source, 0, buffer));
  VMFERRY_ASSIGN_OR_RETURN(const SeSparseHeader header, ParseSeSparseHeader(bytes));
  VMFERRY_RETURN_IF_ERROR(CheckDemand(demand, header.capacity_sectors, kSeGrainSectors));
  const std::uint64_t file_sectors = source->SizeBytes() / kSectorBytes;
  if (header.volatile_header.offset_sectors >= file_sectors) {
    return Damage("vmdk.se_sparse.volatile_header",
                  fmt::format("the volatile header of the seSparse extent is said to be at sector "
                              "{}; the file has {}",
                              header.volatile_header.offset_sectors, file_sectors));
  }
  VMFERRY_ASSIGN_OR_RETURN(
      const auto volatile_bytes,
      ReadPart(*source, header.volatile_header.offset_sectors * kSectorBytes, buffer));
  VMFERRY_RETURN_IF_ERROR(CheckVolatileHeader(volatile_bytes));
  const MapPlan plan = {
      .capacity_sectors = header.capacity_sectors,
      .grain_sectors = kSeGrainSectors,
      .entries_per_table = kSeEntriesPerTable,
      .format = EntryFormat::kSeSparse,
      .directory_offset_sectors = header.directory.offset_sectors,
      .first_data_sector = 1,
      .end_bytes = source->SizeBytes(),
      .tables_sector = header.tables.offset_sectors,
      .grains_sector = header.grains.offset_sectors,
  };
  VMFERRY_ASSIGN_OR_RETURN(auto map, GrainMap::Open(std::move(source), plan, resources));
  return FinishPlain(
      std::move(map), demand.sectors,
      {.capacity_sectors = header.capacity_sectors, .grain_bytes = plan.grain_bytes()});
}

const char* NameOf(ExtentLayout layout) {
  switch (layout) {
    case ExtentLayout::kUnknown:
      return "something else";
    case ExtentLayout::kHosted:
      return "hosted sparse";
    case ExtentLayout::kCow:
      return "COWD";
    case ExtentLayout::kSeSparse:
      return "seSparse";
  }
  return "?";
}

}  // namespace

Result<ExtentLayout> LayoutOf(const ByteSource& source) {
  std::array<std::byte, 8> buffer;
  VMFERRY_ASSIGN_OR_RETURN(const auto bytes, ReadPart(source, 0, buffer));
  ByteReader reader(bytes);
  const std::uint64_t magic = bytes.size() < 8 ? reader.U32Le() : reader.U64Le();
  if (bytes.size() < 4) return ExtentLayout::kUnknown;
  if (magic == kSeMagic) return ExtentLayout::kSeSparse;
  if (static_cast<std::uint32_t>(magic) == kMagic) return ExtentLayout::kHosted;
  if (static_cast<std::uint32_t>(magic) == kCowMagic) return ExtentLayout::kCow;
  return ExtentLayout::kUnknown;
}

Result<Header> ReadHeader(const ByteSource& source, std::uint64_t offset_bytes) {
  std::array<std::byte, kHeaderBytes> buffer;
  VMFERRY_ASSIGN_OR_RETURN(const auto bytes, ReadPart(source, offset_bytes, buffer));
  return ParseHeader(bytes);
}

Result<SparseExtent> OpenHostedExtent(std::shared_ptr<const ByteSource> source, Header header,
                                      std::uint64_t sectors, MapResources& resources) {
  const bool has_footer = header.directory_offset_sectors == kDirectoryAtEnd;
  VMFERRY_ASSIGN_OR_RETURN(MapPlan plan, PlanHosted(header, source->SizeBytes(), has_footer));
  if (has_footer) {
    VMFERRY_ASSIGN_OR_RETURN(const Header footer, ReadFooter(*source, header));
    plan.directory_offset_sectors = footer.directory_offset_sectors;
  }
  VMFERRY_ASSIGN_OR_RETURN(auto map, GrainMap::Open(std::move(source), plan, resources));
  ExtentFacts facts = {.capacity_sectors = header.capacity_sectors,
                       .grain_bytes = plan.grain_bytes()};
  facts.details = {{"header version", fmt::format("{}", header.version)},
                   {"grain directory", has_footer ? "at the end" : "at the front"}};
  if (header.unclean_shutdown) {
    facts.defects.emplace_back("its header says that it was not closed properly");
  }
  if (header.compressed()) {
    return FinishCompressed(std::move(map), sectors, std::move(facts));
  }
  // VMDK 5.0, "Hosted Sparse Extents": rgdOffset is the redundant grain directory, whose tables are
  // copies too.
  if ((header.flags & kFlagRedundantDirectory) != 0 &&
      !map->SameAsCopy(header.redundant_directory_offset_sectors, kCompareBytes)) {
    facts.defects.emplace_back(
        "its redundant grain directory says otherwise than the first one: the first one counts");
  }
  return FinishPlain(std::move(map), sectors, std::move(facts));
}

Result<SparseExtent> OpenSparseExtent(std::shared_ptr<const ByteSource> source,
                                      const ExtentDemand& demand, MapResources& resources) {
  VMFERRY_ASSIGN_OR_RETURN(const ExtentLayout layout, LayoutOf(*source));
  if (layout != demand.layout) {
    return Damage("vmdk.extent.layout",
                  fmt::format("the VMDK descriptor's extent '{}' holds {}, not {}", demand.name,
                              NameOf(layout), NameOf(demand.layout)));
  }
  if (layout == ExtentLayout::kSeSparse) return OpenSeSparse(std::move(source), demand, resources);
  if (layout == ExtentLayout::kCow) {
    VMFERRY_ASSIGN_OR_RETURN(const CowHeader header, ReadCowHeader(*source));
    VMFERRY_RETURN_IF_ERROR(CheckDemand(demand, header.capacity_sectors, header.grain_sectors));
    return OpenCow(std::move(source), header, demand.sectors, resources);
  }
  VMFERRY_ASSIGN_OR_RETURN(const Header header, ReadHeader(*source, 0));
  VMFERRY_RETURN_IF_ERROR(CheckDemand(demand, header.capacity_sectors, header.grain_sectors));
  return OpenHostedExtent(std::move(source), header, demand.sectors, resources);
}

}  // namespace vmferry::image::vmdk
