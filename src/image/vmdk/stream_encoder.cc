// SPDX-License-Identifier: Apache-2.0
#include "image/vmdk/stream_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "base/byte_reader.h"
#include "base/byte_writer.h"
#include "base/units.h"
#include "codec/deflate.h"
#include "codec/digest.h"
#include "codec/zero.h"
#include "image/vmdk/header.h"
#include "image/vmdk/marker.h"

namespace vmferry::image::vmdk {
namespace {

constexpr std::uint64_t kGrainBytes = 64 * kKiB;
constexpr std::uint64_t kGrainSectors = kGrainBytes / kSectorBytes;
constexpr std::uint64_t kTableGuestBytes = kGrainBytes * kEntriesPerTable;
constexpr std::uint64_t kDescriptorOffsetSectors = 1;
constexpr std::uint64_t kDescriptorSectors = 20;
/// VMware's exports begin their grains at 64 KiB.
constexpr std::uint64_t kOverheadSectors = 128;
/// CID=........ is overwritten here when it comes from the content.
constexpr std::string_view kContentIdKey = "CID=";
constexpr std::uint32_t kStateVersion = 1;

using Table = std::array<std::uint32_t, kEntriesPerTable>;

constexpr std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) {
  return DivCeil(value, unit) * unit;
}

// VMDK 5.0, "Grain Marker": guest sector, compressed size, data; padded to a sector.
class StreamWorker final : public EncoderWorker {
 public:
  explicit StreamWorker(const DiskImage& disk) : disk_(disk) {}

  Result<EncodedPart> Encode(const GuestPart& part, io::Buffer reuse) override {
    if (guest_.capacity() < part.length_bytes) guest_ = io::Buffer(part.length_bytes);
    guest_.Resize(part.length_bytes);
    VMFERRY_RETURN_IF_ERROR(ReadPart(disk_, part, guest_.bytes()));
    EncodedPart encoded = {.offset_bytes = part.offset_bytes, .length_bytes = part.length_bytes};
    const std::size_t room = DivCeil(part.length_bytes, kGrainBytes) * kStoredGrainBound;
    encoded.bytes = reuse.capacity() >= room ? std::move(reuse) : io::Buffer(room);
    encoded.bytes.Resize(0);
    std::size_t next = 0;
    for (std::uint64_t at = 0; at < part.length_bytes; at += kGrainBytes) {
      const std::uint64_t length = std::min(kGrainBytes, part.length_bytes - at);
      if (!HoldsData(part, next, part.offset_bytes + at, length)) continue;
      const std::span<const std::byte> bytes = guest_.bytes().subspan(at, length);
      if (!codec::IsZero(bytes)) AppendGrain(encoded, part.offset_bytes + at, bytes);
    }
    return encoded;
  }

 private:
  static constexpr std::size_t kStoredGrainBound = kGrainBytes + 2 * kSectorBytes;

  void AppendGrain(EncodedPart& encoded, std::uint64_t guest_offset_bytes,
                   std::span<const std::byte> bytes) {
    if (bytes.size() < kGrainBytes) {
      // The last grain is written whole: not every reader takes a short one.
      std::memcpy(last_grain_.data(), bytes.data(), bytes.size());
      std::memset(last_grain_.data() + bytes.size(), 0, kGrainBytes - bytes.size());
      bytes = last_grain_;
    }
    const std::size_t begin = encoded.bytes.size();
    const std::span<std::byte> room = encoded.bytes.room().subspan(begin, kStoredGrainBound);
    const auto size = deflater_.Deflate(bytes, room.subspan(kGrainMarkerBytes));
    VMFERRY_CHECK(size.has_value());  // stored blocks always fit
    ByteWriter marker(room.first(kGrainMarkerBytes));
    marker.U64Le(guest_offset_bytes / kSectorBytes);
    marker.U32Le(static_cast<std::uint32_t>(*size));
    const std::size_t used = kGrainMarkerBytes + *size;
    const std::size_t stored = RoundUp(used, kSectorBytes);
    std::memset(room.data() + used, 0, stored - used);
    encoded.bytes.Extend(stored);
    encoded.units.push_back({.guest_offset_bytes = guest_offset_bytes,
                             .offset_bytes = static_cast<std::uint32_t>(begin),
                             .length_bytes = static_cast<std::uint32_t>(stored),
                             .compressed = true});
  }

  const DiskImage& disk_;
  codec::Deflater deflater_{codec::Deflater::Wrapper::kZlib};
  io::Buffer guest_;
  std::vector<std::byte> last_grain_ = std::vector<std::byte>(kGrainBytes);
};

class StreamEncoder final : public Encoder {
 public:
  StreamEncoder(std::uint64_t size_bytes, const StreamEncoderOptions& options)
      : options_(options),
        capacity_sectors_(DivCeil(size_bytes, kSectorBytes)),
        directory_(DivCeil(DivCeil(capacity_sectors_, kGrainSectors), kEntriesPerTable)) {
    info_ = {.id = fmt::format("vmdk-stream/1 {}{}", codec::Deflater::Method(),
                               options.content_id_from_content ? " cid" : ""),
             .format = "vmdk",
             .subformat = "streamOptimized",
             .wire_format = "VMDK",
             .unit_bytes = kGrainBytes,
             .rewrites = options.content_id_from_content,
             .restarts = !options.content_id_from_content,
             .virtual_size_bytes = capacity_sectors_ * kSectorBytes};
    if (info_.virtual_size_bytes != size_bytes) {
      info_.remarks.push_back(
          fmt::format("VMDK counts in sectors: the disk grows from {} to {} bytes, with zeros",
                      size_bytes, info_.virtual_size_bytes));
    }
  }

  const EncoderInfo& Info() const override { return info_; }

  std::unique_ptr<EncoderWorker> MakeWorker(const DiskImage& disk) const override {
    return std::make_unique<StreamWorker>(disk);
  }

  Result<void> Begin(EncoderOutput& out) override {
    std::vector<std::byte> front(kOverheadSectors * kSectorBytes);
    WriteHeader(std::span(front).first(kHeaderBytes), kDirectoryAtEnd);
    const std::string text = DescriptorText(SizeContentId());
    VMFERRY_CHECK(text.size() <= kDescriptorSectors * kSectorBytes);
    std::memcpy(front.data() + kDescriptorOffsetSectors * kSectorBytes, text.data(), text.size());
    return out.Append(std::span<const std::byte>(front));
  }

  Result<void> Place(EncodedPart& part, EncoderOutput& out) override {
    for (const EncodedUnit& unit : part.units) {
      VMFERRY_RETURN_IF_ERROR(TurnToTable(unit.guest_offset_bytes / kTableGuestBytes, out));
      VMFERRY_ASSIGN_OR_RETURN(const std::uint32_t sector, Sector(out));
      table_[unit.guest_offset_bytes / kGrainBytes % kEntriesPerTable] = sector;
      const auto stored = part.bytes.bytes().subspan(unit.offset_bytes, unit.length_bytes);
      if (options_.content_id_from_content) content_crc_ = codec::Crc32c(stored, content_crc_);
      VMFERRY_RETURN_IF_ERROR(out.Append(std::span<const std::byte>(stored)));
      if (out.PieceIsFull()) {
        VMFERRY_RETURN_IF_ERROR(out.EndPiece(TakeCursor(
            std::min(unit.guest_offset_bytes + kGrainBytes, info_.virtual_size_bytes), out)));
      }
    }
    return {};
  }

  Result<void> Finish(EncoderOutput& out) override {
    VMFERRY_RETURN_IF_ERROR(FlushTable(out));
    std::vector<std::byte> bytes(RoundUp(directory_.size() * 4, kSectorBytes));
    ByteWriter writer(bytes);
    for (const std::uint32_t entry : directory_) writer.U32Le(entry);
    VMFERRY_RETURN_IF_ERROR(
        AppendMarker(out, bytes.size() / kSectorBytes, MetadataKind::kGrainDirectory));
    VMFERRY_ASSIGN_OR_RETURN(const std::uint32_t directory_sector, Sector(out));
    VMFERRY_RETURN_IF_ERROR(out.Append(std::span<const std::byte>(bytes)));
    VMFERRY_RETURN_IF_ERROR(AppendMarker(out, 1, MetadataKind::kFooter));
    std::array<std::byte, kHeaderBytes> footer = {};
    WriteHeader(footer, directory_sector);
    VMFERRY_RETURN_IF_ERROR(out.Append(std::span<const std::byte>(footer)));
    VMFERRY_RETURN_IF_ERROR(AppendMarker(out, 0, MetadataKind::kEndOfStream));
    if (!options_.content_id_from_content) return {};
    const std::string text = DescriptorText(content_crc_);
    return out.Overwrite(kDescriptorOffsetSectors * kSectorBytes, AsBytes(text));
  }

  Result<void> Restore(const EncoderCursor& cursor) override {
    if (!info_.restarts) {
      return Error(ErrorCode::kUnimplemented, "encoder.no_restart",
                   "a VMDK whose content id comes from its content cannot be gone on with");
    }
    ByteReader reader(cursor.state);
    const std::uint32_t version = reader.U32Le();
    const std::uint64_t finished = reader.U32Le();
    for (std::uint64_t i = 0; i < finished && !reader.failed(); ++i) {
      const std::uint64_t index = reader.U32Le();
      const std::uint32_t sector = reader.U32Le();
      if (index >= directory_.size()) return BadState();
      directory_[index] = sector;
    }
    table_index_ = reader.U32Le();
    for (std::uint32_t& entry : table_) entry = reader.U32Le();
    if (version != kStateVersion || reader.failed() || reader.remaining() != 0 ||
        table_index_ >= directory_.size()) {
      return BadState();
    }
    return {};
  }

 private:
  static Error BadState() {
    return Error(ErrorCode::kDataLoss, "encoder.bad_state",
                 "what the journal knows of the half-written VMDK cannot be right");
  }

  /// The next sector to write, as table entries have it.
  static Result<std::uint32_t> Sector(const EncoderOutput& out) {
    const std::uint64_t sector = out.OffsetBytes() / kSectorBytes;
    if (sector <= 0xffffffffU) return static_cast<std::uint32_t>(sector);
    // VMDK 5.0, "Grain Table": entries are 32-bit sector numbers.
    return Error(ErrorCode::kOutOfRange, "vmdk.encoder.too_large",
                 "the stream-optimised VMDK would be larger than 2 TiB, the limit of the format")
        .WithRemedy("choose another format");
  }

  void WriteHeader(std::span<std::byte> out, std::uint64_t directory_sector) const {
    ByteWriter writer(out);
    writer.U32Le(kMagic);
    writer.U32Le(3);  // version
    writer.U32Le(kFlagNewlineTest | kFlagCompressed | kFlagMarkers);
    writer.U64Le(capacity_sectors_);
    writer.U64Le(kGrainSectors);
    writer.U64Le(kDescriptorOffsetSectors);
    writer.U64Le(kDescriptorSectors);
    writer.U32Le(kEntriesPerTable);
    writer.U64Le(0);  // no redundant directory
    writer.U64Le(directory_sector);
    writer.U64Le(kOverheadSectors);
    writer.U8(0);  // closed properly
    for (const char c : {'\n', ' ', '\r', '\n'}) writer.U8(static_cast<std::uint8_t>(c));
    writer.U16Le(1);  // deflate
  }

  /// Content ids of this many bits; ffffffff and fffffffe are taken by the format.
  static std::uint32_t UsableContentId(std::uint32_t id) {
    return id >= 0xfffffffeU || id == 0 ? 0x766d6672U : id;
  }
  std::uint32_t SizeContentId() const {
    const std::string text = fmt::format("vmferry {}", capacity_sectors_);
    return codec::Crc32c(AsBytes(text));
  }

  std::string DescriptorText(std::uint32_t content_id) const {
    const std::uint64_t cylinders = std::min<std::uint64_t>(capacity_sectors_ / (255 * 63), 65535);
    return fmt::format(
        "# Disk DescriptorFile\nversion=1\n{}{:08x}\nparentCID=ffffffff\n"
        "createType=\"streamOptimized\"\n\n# Extent description\nRW {} SPARSE \"{}\"\n\n"
        "# The Disk Data Base\n#DDB\n\nddb.adapterType = \"lsilogic\"\n"
        "ddb.geometry.cylinders = \"{}\"\nddb.geometry.heads = \"255\"\n"
        "ddb.geometry.sectors = \"63\"\nddb.virtualHWVersion = \"7\"\n",
        kContentIdKey, UsableContentId(content_id), capacity_sectors_, options_.file_name,
        cylinders);
  }

  static Result<void> AppendMarker(EncoderOutput& out, std::uint64_t sectors, MetadataKind kind) {
    std::array<std::byte, kMetadataMarkerBytes> bytes = {};
    ByteWriter writer(bytes);
    writer.U64Le(sectors);
    writer.U32Le(0);
    writer.U32Le(static_cast<std::uint32_t>(kind));
    return out.Append(std::span<const std::byte>(bytes));
  }

  Result<void> TurnToTable(std::uint64_t table_index, EncoderOutput& out) {
    if (table_index == table_index_) return {};
    VMFERRY_RETURN_IF_ERROR(FlushTable(out));
    table_index_ = table_index;
    return {};
  }

  /// Tables without a grain are not written: their directory entry stays 0.
  Result<void> FlushTable(EncoderOutput& out) {
    const bool empty =
        std::all_of(table_.begin(), table_.end(), [](std::uint32_t entry) { return entry == 0; });
    if (empty) return {};
    VMFERRY_RETURN_IF_ERROR(
        AppendMarker(out, sizeof(Table) / kSectorBytes, MetadataKind::kGrainTable));
    VMFERRY_ASSIGN_OR_RETURN(directory_[table_index_], Sector(out));
    finished_.push_back(table_index_);
    std::array<std::byte, sizeof(Table)> bytes;
    ByteWriter writer(bytes);
    for (const std::uint32_t entry : table_) writer.U32Le(entry);
    table_ = {};
    return out.Append(std::span<const std::byte>(bytes));
  }

  /// State: version, directory entries made since the last cursor, the table under way.
  EncoderCursor TakeCursor(std::uint64_t guest_offset_bytes, const EncoderOutput& out) {
    EncoderCursor cursor = {.guest_offset_bytes = guest_offset_bytes,
                            .output_offset_bytes = out.OffsetBytes(),
                            .state = {}};
    if (!info_.restarts) return cursor;
    cursor.state.resize(4 * (3 + 2 * finished_.size() + kEntriesPerTable));
    ByteWriter writer(cursor.state);
    writer.U32Le(kStateVersion);
    writer.U32Le(static_cast<std::uint32_t>(finished_.size()));
    for (const std::uint64_t index : finished_) {
      writer.U32Le(static_cast<std::uint32_t>(index));
      writer.U32Le(directory_[index]);
    }
    finished_.clear();
    writer.U32Le(static_cast<std::uint32_t>(table_index_));
    for (const std::uint32_t entry : table_) writer.U32Le(entry);
    return cursor;
  }

  const StreamEncoderOptions options_;
  const std::uint64_t capacity_sectors_;
  EncoderInfo info_;
  std::vector<std::uint32_t> directory_;
  std::uint64_t table_index_ = 0;
  Table table_ = {};
  std::vector<std::uint64_t> finished_;  ///< tables written since the last cursor
  std::uint32_t content_crc_ = 0;
};

}  // namespace

Result<std::unique_ptr<Encoder>> MakeStreamEncoder(std::uint64_t size_bytes,
                                                   const StreamEncoderOptions& options) {
  if (size_bytes > kMaxCapacitySectors * kSectorBytes) {
    return Error(ErrorCode::kOutOfRange, "vmdk.encoder.too_large",
                 fmt::format("a disk of {} is more than a VMDK of 64 TiB can hold",
                             FormatSize(size_bytes)))
        .WithRemedy("choose another format");
  }
  return std::unique_ptr<Encoder>(std::make_unique<StreamEncoder>(size_bytes, options));
}

}  // namespace vmferry::image::vmdk
