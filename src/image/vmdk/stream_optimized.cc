// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/stream_optimized.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/deflate.h"
#include "image/extent_list.h"
#include "image/vmdk/damage.h"
#include "image/vmdk/descriptor.h"
#include "image/vmdk/grain_directory.h"
#include "image/vmdk/header.h"
#include "image/vmdk/marker.h"

namespace vmferry::image::vmdk {
namespace {

/// Neighbouring grains are read from the file together up to this span.
constexpr std::uint64_t kMaxBatchBytes = 2 * kMiB;

/// Bytes a grain may take in the file, its marker included. Deflate grows incompressible data by
/// well under a sixteenth; twice the grain is what QEMU's reader allows (block/vmdk.c).
std::uint64_t MaxStoredGrainBytes(const Header& header) {
  return kGrainMarkerBytes + 2 * header.grain_bytes();
}

/// The guest bytes of one grain that the disk really has.
struct GrainSpan {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
};

/// A run of grains in one table that are read, or filled with zeros, together.
struct GrainRun {
  bool data = false;
  std::size_t count = 0;
  std::uint64_t file_offset_bytes = 0;
  std::uint64_t file_length_bytes = 0;
};

/// What one Read needs besides the disk; not shared between threads.
class Scratch {
 public:
  std::span<std::byte> Compressed(std::uint64_t length_bytes) {
    if (compressed_capacity_ < length_bytes) {
      compressed_ = std::make_unique_for_overwrite<std::byte[]>(length_bytes);
      compressed_capacity_ = length_bytes;
    }
    return {compressed_.get(), length_bytes};
  }
  std::span<std::byte> Grain(std::uint64_t length_bytes) {
    if (!grain_) grain_ = std::make_unique_for_overwrite<std::byte[]>(length_bytes);
    return {grain_.get(), length_bytes};
  }
  codec::ZlibInflater& Inflater() {
    if (!inflater_) inflater_.emplace();
    return *inflater_;
  }

 private:
  std::unique_ptr<std::byte[]> compressed_;
  std::uint64_t compressed_capacity_ = 0;
  std::unique_ptr<std::byte[]> grain_;
  std::optional<codec::ZlibInflater> inflater_;  // some 10 KiB: not made for holes
};

class StreamOptimizedImage final : public DiskImage {
 public:
  StreamOptimizedImage(std::unique_ptr<ByteSource> source, const Header& header,
                       const FileLayout& layout, std::unique_ptr<GrainTables> tables,
                       DiskImageInfo info)
      : source_(std::move(source)),
        header_(header),
        layout_(layout),
        tables_(std::move(tables)),
        info_(std::move(info)) {}

  std::uint64_t SizeBytes() const override { return header_.capacity_bytes(); }
  const DiskImageInfo& Info() const override { return info_; }
  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override;
  Result<std::vector<Extent>> Extents(std::uint64_t offset_bytes,
                                      std::uint64_t length_bytes) const override;

  /// Walks all tables and the last grain; fills in what Info tells about them.
  Result<void> Survey();

 private:
  GrainSpan SpanOf(std::uint64_t grain_index) const;
  GrainRun PlanRun(const GrainTable& table, std::size_t first, std::size_t wanted) const;
  Result<void> ReadRun(const GrainTable& table, std::uint64_t first_grain, const GrainRun& run,
                       std::uint64_t offset_bytes, std::span<std::byte> out,
                       Scratch& scratch) const;
  Result<GrainMarker> CheckMarker(std::uint64_t grain_index, std::uint64_t file_offset_bytes,
                                  std::span<const std::byte> stored) const;
  Result<void> InflateGrain(std::uint64_t grain_index, std::span<const std::byte> compressed,
                            std::uint64_t offset_bytes, std::span<std::byte> out,
                            Scratch& scratch) const;
  ExtentKind KindOf(std::uint32_t entry) const {
    if (entry == 0) return ExtentKind::kHole;
    return entry == 1 ? ExtentKind::kZero : ExtentKind::kData;  // tables hold 1 only as zero
  }

  const std::unique_ptr<ByteSource> source_;
  const Header header_;
  const FileLayout layout_;
  const std::unique_ptr<GrainTables> tables_;  // refers to *source_
  DiskImageInfo info_;
};

Error GrainDamage(std::string_view reason, std::uint64_t grain_index,
                  std::uint64_t file_offset_bytes, std::string_view what) {
  return Damage(reason, fmt::format("grain {} of the VMDK, at byte {} of the file, {}", grain_index,
                                    file_offset_bytes, what))
      .With("offset_bytes", file_offset_bytes)
      .With("grain", grain_index);
}

GrainSpan StreamOptimizedImage::SpanOf(std::uint64_t grain_index) const {
  const std::uint64_t offset_bytes = grain_index * header_.grain_bytes();
  return {offset_bytes, std::min(header_.grain_bytes(), SizeBytes() - offset_bytes)};
}

GrainRun StreamOptimizedImage::PlanRun(const GrainTable& table, std::size_t first,
                                       std::size_t wanted) const {
  const auto is_data = [&](std::size_t i) { return KindOf(table[i]) == ExtentKind::kData; };
  GrainRun run = {.data = is_data(first), .count = 1};
  if (!run.data) {
    while (run.count < wanted && !is_data(first + run.count)) ++run.count;
    return run;
  }
  const std::uint64_t max_stored_bytes = MaxStoredGrainBytes(header_);
  const auto offset_of = [&](std::size_t i) { return std::uint64_t{table[i]} * kSectorBytes; };
  // Writers put grains down one after the other, so the next grain's place tells where one ends.
  const auto follows = [&](std::size_t i) {
    return i < table.size() && is_data(i) && table[i] > table[i - 1] &&
           offset_of(i) - offset_of(i - 1) <= max_stored_bytes;
  };
  run.file_offset_bytes = offset_of(first);
  while (run.count < wanted && follows(first + run.count) &&
         offset_of(first + run.count) - run.file_offset_bytes <= kMaxBatchBytes) {
    ++run.count;
  }
  const std::size_t last = first + run.count - 1;
  const std::uint64_t end_bytes =
      follows(last + 1) ? offset_of(last + 1)
                        : std::min(offset_of(last) + kGrainMarkerBytes + header_.grain_bytes(),
                                   layout_.end_sector * kSectorBytes);
  run.file_length_bytes = end_bytes - run.file_offset_bytes;
  return run;
}

Result<GrainMarker> StreamOptimizedImage::CheckMarker(std::uint64_t grain_index,
                                                      std::uint64_t file_offset_bytes,
                                                      std::span<const std::byte> stored) const {
  const GrainMarker marker = ParseGrainMarker(stored);
  // VMDK 5.0, "Stream-Optimized Compressed Sparse Extents": a grain marker gives the guest sector
  // of its grain and the length of the compressed data, which is not 0.
  if (marker.guest_sector != grain_index * header_.grain_sectors) {
    return GrainDamage("vmdk.grain.marker", grain_index, file_offset_bytes,
                       fmt::format("is marked as guest sector {}, not {}", marker.guest_sector,
                                   grain_index * header_.grain_sectors));
  }
  const std::uint64_t stored_bytes = kGrainMarkerBytes + std::uint64_t{marker.compressed_bytes};
  if (marker.compressed_bytes == 0 || stored_bytes > MaxStoredGrainBytes(header_)) {
    return GrainDamage("vmdk.grain.size", grain_index, file_offset_bytes,
                       fmt::format("is marked as {} compressed bytes", marker.compressed_bytes));
  }
  if (stored_bytes > layout_.end_sector * kSectorBytes - file_offset_bytes) {
    return GrainDamage("vmdk.grain.truncated", grain_index, file_offset_bytes,
                       fmt::format("has {} compressed bytes, more than the file holds there",
                                   marker.compressed_bytes));
  }
  return marker;
}

Result<void> StreamOptimizedImage::InflateGrain(std::uint64_t grain_index,
                                                std::span<const std::byte> compressed,
                                                std::uint64_t offset_bytes,
                                                std::span<std::byte> out, Scratch& scratch) const {
  const GrainSpan span = SpanOf(grain_index);
  const std::uint64_t begin = std::max(span.offset_bytes, offset_bytes);
  const std::uint64_t end =
      std::min(span.offset_bytes + span.length_bytes, offset_bytes + out.size());
  const std::span<std::byte> wanted = out.subspan(begin - offset_bytes, end - begin);
  const bool whole = wanted.size() == header_.grain_bytes();
  const std::span<std::byte> target = whole ? wanted : scratch.Grain(header_.grain_bytes());
  auto inflated = scratch.Inflater().Inflate(compressed, target);
  if (!inflated) {
    return Damage("vmdk.grain.inflate",
                  fmt::format("the compressed data of grain {} of the VMDK is broken", grain_index))
        .With("grain", grain_index)
        .CausedBy(std::move(inflated).error());
  }
  // A grain inflates to its full size; only the last one may stop where the disk does.
  if (*inflated != header_.grain_bytes() && *inflated != span.length_bytes) {
    return Damage("vmdk.grain.length",
                  fmt::format("grain {} of the VMDK inflates to {} bytes, not {}", grain_index,
                              *inflated, header_.grain_bytes()))
        .With("grain", grain_index);
  }
  if (!whole) {
    std::memcpy(wanted.data(), target.data() + (begin - span.offset_bytes), wanted.size());
  }
  return {};
}

Result<void> StreamOptimizedImage::ReadRun(const GrainTable& table, std::uint64_t first_grain,
                                           const GrainRun& run, std::uint64_t offset_bytes,
                                           std::span<std::byte> out, Scratch& scratch) const {
  std::span<std::byte> batch = scratch.Compressed(run.file_length_bytes);
  VMFERRY_RETURN_IF_ERROR(source_->ReadAt(run.file_offset_bytes, batch));
  std::vector<std::byte> oversize;
  for (std::size_t i = 0; i < run.count; ++i) {
    const std::uint64_t grain_index = first_grain + i;
    const std::uint64_t file_offset_bytes =
        std::uint64_t{table[grain_index % kEntriesPerTable]} * kSectorBytes;
    const auto stored = batch.subspan(file_offset_bytes - run.file_offset_bytes);
    VMFERRY_ASSIGN_OR_RETURN(const GrainMarker marker,
                             CheckMarker(grain_index, file_offset_bytes, stored));
    std::span<const std::byte> compressed = stored.subspan(kGrainMarkerBytes);
    if (compressed.size() < marker.compressed_bytes) {
      // Larger than a grain, or reaching past where the next one begins: read it by itself.
      oversize.resize(marker.compressed_bytes);
      VMFERRY_RETURN_IF_ERROR(source_->ReadAt(file_offset_bytes + kGrainMarkerBytes, oversize));
      compressed = oversize;
    }
    VMFERRY_RETURN_IF_ERROR(InflateGrain(grain_index, compressed.first(marker.compressed_bytes),
                                         offset_bytes, out, scratch));
  }
  return {};
}

Result<void> StreamOptimizedImage::Read(std::uint64_t offset_bytes,
                                        std::span<std::byte> out) const {
  VMFERRY_RETURN_IF_ERROR(CheckRange(SizeBytes(), offset_bytes, out.size()));
  Scratch scratch;
  const std::uint64_t end_bytes = offset_bytes + out.size();
  std::uint64_t done_bytes = offset_bytes;
  while (done_bytes < end_bytes) {
    const std::uint64_t grain_index = done_bytes / header_.grain_bytes();
    const std::uint64_t table_index = grain_index / kEntriesPerTable;
    const auto first = static_cast<std::size_t>(grain_index % kEntriesPerTable);
    const auto wanted =
        static_cast<std::size_t>(std::min(DivCeil(end_bytes, header_.grain_bytes()) - grain_index,
                                          std::uint64_t{kEntriesPerTable} - first));
    GrainRun run = {.count = wanted};
    std::shared_ptr<const GrainTable> table;
    if (!tables_->IsHole(table_index)) {
      VMFERRY_ASSIGN_OR_RETURN(table, tables_->Table(table_index));
      run = PlanRun(*table, first, wanted);
    }
    const std::uint64_t run_end_bytes =
        std::min((grain_index + run.count) * header_.grain_bytes(), end_bytes);
    const auto part = out.subspan(done_bytes - offset_bytes, run_end_bytes - done_bytes);
    if (run.data) {
      VMFERRY_RETURN_IF_ERROR(ReadRun(*table, grain_index, run, done_bytes, part, scratch));
    } else {
      std::memset(part.data(), 0, part.size());
    }
    done_bytes = run_end_bytes;
  }
  return {};
}

Result<std::vector<Extent>> StreamOptimizedImage::Extents(std::uint64_t offset_bytes,
                                                          std::uint64_t length_bytes) const {
  VMFERRY_RETURN_IF_ERROR(CheckRange(SizeBytes(), offset_bytes, length_bytes));
  std::vector<Extent> extents;
  const std::uint64_t table_span_bytes = header_.grain_bytes() * kEntriesPerTable;
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  while (offset_bytes < end_bytes) {
    const std::uint64_t table_index = offset_bytes / table_span_bytes;
    std::shared_ptr<const GrainTable> table;
    std::uint64_t step_end_bytes = std::min((table_index + 1) * table_span_bytes, end_bytes);
    ExtentKind kind = ExtentKind::kHole;
    if (!tables_->IsHole(table_index)) {
      VMFERRY_ASSIGN_OR_RETURN(table, tables_->Table(table_index));
      const std::uint64_t grain_index = offset_bytes / header_.grain_bytes();
      kind = KindOf((*table)[grain_index % kEntriesPerTable]);
      step_end_bytes = std::min((grain_index + 1) * header_.grain_bytes(), end_bytes);
    }
    AppendExtent(extents, {.offset_bytes = offset_bytes,
                           .length_bytes = step_end_bytes - offset_bytes,
                           .kind = kind});
    offset_bytes = step_end_bytes;
  }
  return extents;
}

Result<void> StreamOptimizedImage::Survey() {
  std::uint64_t data_bytes = 0;
  std::uint32_t last_sector = 0;
  std::uint64_t last_grain = 0;
  for (std::uint64_t index = 0; index < tables_->table_count(); ++index) {
    if (tables_->IsHole(index)) continue;
    VMFERRY_ASSIGN_OR_RETURN(const auto table, tables_->Table(index));
    const std::uint64_t first_grain = index * kEntriesPerTable;
    const std::uint64_t count =
        std::min(std::uint64_t{kEntriesPerTable}, header_.grain_count() - first_grain);
    for (std::uint64_t i = 0; i < count; ++i) {
      const std::uint32_t entry = (*table)[i];
      if (KindOf(entry) != ExtentKind::kData) continue;
      data_bytes += SpanOf(first_grain + i).length_bytes;
      if (entry <= last_sector) continue;
      last_sector = entry;
      last_grain = first_grain + i;
    }
  }
  info_.allocated_size_bytes = data_bytes;
  if (last_sector == 0) return {};
  std::array<std::byte, kGrainMarkerBytes> marker;
  const std::uint64_t file_offset_bytes = std::uint64_t{last_sector} * kSectorBytes;
  VMFERRY_RETURN_IF_ERROR(source_->ReadAt(file_offset_bytes, marker));
  // A file that was cut off misses its last grain: better said now than after hours of upload.
  const auto checked = CheckMarker(last_grain, file_offset_bytes, marker);
  if (!checked) return checked.error();
  return {};
}

Result<Header> ReadHeader(const ByteSource& source, std::uint64_t offset_bytes) {
  std::array<std::byte, kHeaderBytes> bytes;
  const std::uint64_t rest_bytes = source.SizeBytes() - offset_bytes;
  const auto part = std::span(bytes).first(std::min<std::uint64_t>(rest_bytes, bytes.size()));
  VMFERRY_RETURN_IF_ERROR(source.ReadAt(offset_bytes, part));
  return ParseHeader(part);
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
Result<FileLayout> PlanLayout(const Header& header, std::uint64_t file_size_bytes,
                              bool has_footer) {
  // VMDK 5.0, "Hosted Sparse Extents": all structures are counted in sectors.
  if (file_size_bytes % kSectorBytes != 0) {
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
  if (header.overhead_sectors > file_sectors) {
    return Damage("vmdk.header.overhead",
                  fmt::format("the VMDK's structures take {} sectors, the file has {}",
                              header.overhead_sectors, file_sectors));
  }
  return FileLayout{.first_data_sector = *descriptor_end,
                    .end_sector = file_sectors - (has_footer ? 3 : 0)};
}

Result<Descriptor> ReadDescriptor(const ByteSource& source, const Header& header) {
  std::vector<std::byte> bytes(header.descriptor_sectors * kSectorBytes);
  VMFERRY_RETURN_IF_ERROR(
      source.ReadAt(header.descriptor_offset_sectors * kSectorBytes, std::span(bytes)));
  VMFERRY_ASSIGN_OR_RETURN(Descriptor descriptor, ParseDescriptor(AsText(bytes)));
  VMFERRY_RETURN_IF_ERROR(
      CheckStreamOptimized(descriptor, header.capacity_sectors, header.grain_sectors));
  return descriptor;
}

DiskImageInfo Describe(const Header& header, const Descriptor& descriptor, bool has_footer,
                       std::uint64_t stored_size_bytes) {
  DiskImageInfo info = {.format = "vmdk",
                        .subformat = "streamOptimized",
                        .wire_format = "VMDK",
                        .virtual_size_bytes = header.capacity_bytes(),
                        .stored_size_bytes = stored_size_bytes};
  const auto add = [&](std::string_view name, std::string_view value) {
    if (!value.empty()) info.details.emplace_back(name, value);
  };
  add("header version", fmt::format("{}", header.version));
  add("grain size", FormatSize(header.grain_bytes()));
  add("grain directory", has_footer ? "at the end" : "at the front");
  add("adapter type", descriptor.Entry("ddb.adapterType"));
  add("virtual hardware", descriptor.Entry("ddb.virtualHWVersion"));
  const std::uint64_t described_sectors = descriptor.extents.front().sectors;
  if (described_sectors != header.capacity_sectors) {
    info.defects.push_back(
        fmt::format("its descriptor says {} sectors, its header {}: the header counts",
                    described_sectors, header.capacity_sectors));
  }
  if (header.unclean_shutdown) {
    info.defects.push_back("its header says that it was not closed properly");
  }
  return info;
}

}  // namespace

Result<std::unique_ptr<DiskImage>> OpenStreamOptimized(std::unique_ptr<ByteSource> source) {
  VMFERRY_ASSIGN_OR_RETURN(Header header, ReadHeader(*source, 0));
  const bool has_footer = header.directory_offset_sectors == kDirectoryAtEnd;
  VMFERRY_ASSIGN_OR_RETURN(const FileLayout layout,
                           PlanLayout(header, source->SizeBytes(), has_footer));
  VMFERRY_ASSIGN_OR_RETURN(const Descriptor descriptor, ReadDescriptor(*source, header));
  if (has_footer) {
    VMFERRY_ASSIGN_OR_RETURN(const Header footer, ReadFooter(*source, header));
    header.directory_offset_sectors = footer.directory_offset_sectors;
  }
  VMFERRY_ASSIGN_OR_RETURN(auto tables, GrainTables::Open(*source, header, layout));
  DiskImageInfo info = Describe(header, descriptor, has_footer, source->SizeBytes());
  auto image = std::make_unique<StreamOptimizedImage>(std::move(source), header, layout,
                                                      std::move(tables), std::move(info));
  VMFERRY_RETURN_IF_ERROR(image->Survey());
  return std::unique_ptr<DiskImage>(std::move(image));
}

}  // namespace vmferry::image::vmdk
