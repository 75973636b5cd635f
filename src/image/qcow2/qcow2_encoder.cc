// SPDX-License-Identifier: Apache-2.0
#include "image/qcow2/qcow2_encoder.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <utility>
#include <vector>

#include "base/byte_writer.h"
#include "base/units.h"
#include "codec/deflate.h"
#include "codec/zero.h"
#include "image/qcow2/cluster.h"
#include "image/qcow2/header.h"
#include "image/qcow2/refcount_writer.h"

namespace vmferry::image::qcow2 {
namespace {

constexpr std::uint64_t kClusterBytes = kWrittenClusterBytes;
constexpr std::uint32_t kClusterBits = 16;
constexpr std::uint64_t kTableEntries = kClusterBytes / sizeof(std::uint64_t);
constexpr std::uint64_t kTableSpanBytes = kTableEntries * kClusterBytes;
constexpr std::uint64_t kMaxSizeBytes = kMaxL1Bytes / sizeof(std::uint64_t) * kTableSpanBytes;
/// QEMU inflates with a window of 4 KiB (qcow2.txt, "Compressed clusters").
constexpr unsigned kWindowBits = 12;
/// Of a compressed entry with clusters of 64 KiB: bits of the place, the sectors stand above.
constexpr unsigned kCompressedOffsetBits = 62 - (kClusterBits - 8);
/// Compressed clusters are held back until there are so many bytes of them, so that plain ones
/// between them, which begin at cluster boundaries, leave few gaps.
constexpr std::size_t kHeldBytes = 4 * kMiB;

constexpr std::uint64_t RoundUp(std::uint64_t value, std::uint64_t unit) {
  return DivCeil(value, unit) * unit;
}

class PlainWorker final : public EncoderWorker {
 public:
  explicit PlainWorker(const DiskImage& disk) : disk_(disk) {}

  Result<EncodedPart> Encode(const GuestPart& part, io::Buffer reuse) override {
    EncodedPart encoded = {.offset_bytes = part.offset_bytes, .length_bytes = part.length_bytes};
    const std::uint64_t room = RoundUp(part.length_bytes, kClusterBytes);
    encoded.bytes = reuse.capacity() >= room ? std::move(reuse) : io::Buffer(room);
    encoded.bytes.Resize(room);
    const std::span<std::byte> bytes = encoded.bytes.bytes();
    VMFERRY_RETURN_IF_ERROR(ReadPart(disk_, part, bytes.first(part.length_bytes)));
    std::fill(bytes.begin() + static_cast<std::ptrdiff_t>(part.length_bytes), bytes.end(),
              std::byte{0});
    std::size_t next = 0;
    for (std::uint64_t at = 0; at < room; at += kClusterBytes) {
      if (!HoldsData(part, next, part.offset_bytes + at, kClusterBytes) ||
          codec::IsZero(bytes.subspan(at, kClusterBytes))) {
        continue;
      }
      encoded.units.push_back({.guest_offset_bytes = part.offset_bytes + at,
                               .offset_bytes = static_cast<std::uint32_t>(at),
                               .length_bytes = static_cast<std::uint32_t>(kClusterBytes)});
    }
    return encoded;
  }

 private:
  const DiskImage& disk_;
};

class CompressedWorker final : public EncoderWorker {
 public:
  explicit CompressedWorker(const DiskImage& disk)
      : disk_(disk), deflater_(codec::Deflater::Wrapper::kRaw, kWindowBits) {}

  Result<EncodedPart> Encode(const GuestPart& part, io::Buffer reuse) override {
    EncodedPart encoded = {.offset_bytes = part.offset_bytes, .length_bytes = part.length_bytes};
    const std::uint64_t room = RoundUp(part.length_bytes, kClusterBytes);
    if (guest_.capacity() < room) guest_ = io::Buffer(room);
    guest_.Resize(room);
    const std::span<std::byte> guest = guest_.bytes();
    VMFERRY_RETURN_IF_ERROR(ReadPart(disk_, part, guest.first(part.length_bytes)));
    std::fill(guest.begin() + static_cast<std::ptrdiff_t>(part.length_bytes), guest.end(),
              std::byte{0});
    encoded.bytes = reuse.capacity() >= room ? std::move(reuse) : io::Buffer(room);
    encoded.bytes.Resize(0);
    std::size_t next = 0;
    for (std::uint64_t at = 0; at < room; at += kClusterBytes) {
      const std::span<const std::byte> cluster = guest.subspan(at, kClusterBytes);
      if (!HoldsData(part, next, part.offset_bytes + at, kClusterBytes) || codec::IsZero(cluster)) {
        continue;
      }
      AppendCluster(encoded, part.offset_bytes + at, cluster);
    }
    return encoded;
  }

 private:
  void AppendCluster(EncodedPart& encoded, std::uint64_t guest_offset_bytes,
                     std::span<const std::byte> cluster) {
    const std::size_t at = encoded.bytes.size();
    // What does not shrink is stored as it is.
    const std::span<std::byte> room = encoded.bytes.room().subspan(at, kClusterBytes - 1);
    const std::optional<std::size_t> length = deflater_.Deflate(cluster, room);
    if (length) {
      encoded.bytes.Extend(*length);
    } else {
      encoded.bytes.Append(cluster);
    }
    encoded.units.push_back(
        {.guest_offset_bytes = guest_offset_bytes,
         .offset_bytes = static_cast<std::uint32_t>(at),
         .length_bytes = static_cast<std::uint32_t>(length.value_or(kClusterBytes)),
         .compressed = length.has_value()});
  }

  const DiskImage& disk_;
  codec::Deflater deflater_;
  io::Buffer guest_;
};

class Qcow2Encoder final : public Encoder {
 public:
  Qcow2Encoder(std::uint64_t size_bytes, bool compressed)
      : compressed_(compressed),
        l1_(std::max<std::uint64_t>(1, DivCeil(size_bytes, kTableSpanBytes))),
        table_(kTableEntries) {
    info_ = {.id = compressed ? fmt::format("qcow2/1-{}", codec::Deflater::Method()) : "qcow2/1",
             .format = "qcow2",
             .unit_bytes = kClusterBytes,
             .rewrites = true,
             .virtual_size_bytes = RoundUp(size_bytes, kSectorBytes)};
    if (info_.virtual_size_bytes != size_bytes) {
      info_.remarks.push_back(
          fmt::format("the disk of {} bytes becomes one of {}: QCOW2 counts in sectors of {}",
                      size_bytes, info_.virtual_size_bytes, kSectorBytes));
    }
    if (compressed) held_ = io::Buffer(kHeldBytes);
  }

  const EncoderInfo& Info() const override { return info_; }
  std::unique_ptr<EncoderWorker> MakeWorker(const DiskImage& disk) const override {
    if (compressed_) return std::make_unique<CompressedWorker>(disk);
    return std::make_unique<PlainWorker>(disk);
  }
  Result<void> Begin(EncoderOutput& out) override {
    refcounts_.Add(0, kClusterBytes);
    return out.Skip(kClusterBytes);  // the header comes last
  }
  Result<void> Place(EncodedPart& part, EncoderOutput& out) override;
  Result<void> Finish(EncoderOutput& out) override;
  Result<void> Restore(const EncoderCursor&) override {
    return Error(ErrorCode::kUnimplemented, "encoder.no_restart",
                 "writing QCOW2 cannot be gone on with after an interruption");
  }

 private:
  /// A compressed cluster that waits in held_.
  struct HeldUnit {
    std::size_t slot = 0;  ///< in table_
    std::size_t offset_bytes = 0;
    std::size_t length_bytes = 0;
  };

  static std::size_t SlotOf(const EncodedUnit& unit) {
    return static_cast<std::size_t>(unit.guest_offset_bytes / kClusterBytes % kTableEntries);
  }
  std::size_t PlainRun(const EncodedPart& part, std::size_t first, std::uint64_t place) const;
  Result<std::size_t> PlacePlain(EncodedPart& part, std::size_t first, EncoderOutput& out);
  Result<void> Hold(const EncodedUnit& unit, std::span<const std::byte> bytes, EncoderOutput& out);
  Result<void> FlushHeld(EncoderOutput& out);
  Result<void> FlushTable(EncoderOutput& out);
  Result<void> FlushRefcounts(EncoderOutput& out);
  Result<void> AppendTable(std::span<const std::uint64_t> entries, EncoderOutput& out);
  Result<void> FinishRefcounts(EncoderOutput& out);
  Result<void> WriteHeader(EncoderOutput& out) const;
  static Result<void> Align(EncoderOutput& out) {
    const std::uint64_t offset_bytes = out.OffsetBytes();
    if (offset_bytes % kClusterBytes == 0) return {};
    return out.Skip(RoundUp(offset_bytes, kClusterBytes) - offset_bytes);
  }

  EncoderInfo info_;
  const bool compressed_;
  std::vector<std::uint64_t> l1_;
  std::uint64_t l1_place_bytes_ = 0;
  std::uint64_t table_index_ = 0;
  bool table_used_ = false;
  std::vector<std::uint64_t> table_;  ///< the L2 table under way
  io::Buffer held_;
  std::vector<HeldUnit> held_units_;
  RefcountWriter refcounts_;
  std::vector<std::uint64_t> refcount_table_;  ///< place of each block
  std::uint64_t refcount_place_bytes_ = 0;
};

/// How many units from `first` on can be put down at `place` in one go: plain ones side by side in
/// the part, in one L2 table, and counted by one refcount block.
std::size_t Qcow2Encoder::PlainRun(const EncodedPart& part, std::size_t first,
                                   std::uint64_t place) const {
  const EncodedUnit& begin = part.units[first];
  const std::uint64_t most = kCountsPerBlock - place / kClusterBytes % kCountsPerBlock;
  std::size_t count = 1;
  while (first + count < part.units.size() && count < most) {
    const EncodedUnit& unit = part.units[first + count];
    if (unit.compressed || unit.length_bytes == 0 ||
        unit.offset_bytes != begin.offset_bytes + count * kClusterBytes ||
        unit.guest_offset_bytes / kTableSpanBytes != table_index_) {
      break;
    }
    ++count;
  }
  return count;
}

Result<std::size_t> Qcow2Encoder::PlacePlain(EncodedPart& part, std::size_t first,
                                             EncoderOutput& out) {
  VMFERRY_RETURN_IF_ERROR(Align(out));
  const std::uint64_t place_bytes = out.OffsetBytes();
  const std::size_t count = PlainRun(part, first, place_bytes);
  for (std::size_t i = 0; i < count; ++i) {
    // qcow2.txt, "L2 table entry": bit 63 is set when the refcount is exactly one.
    table_[SlotOf(part.units[first + i])] = (place_bytes + i * kClusterBytes) | kCopiedFlag;
  }
  refcounts_.Add(place_bytes, count * kClusterBytes);
  if (count * kClusterBytes == part.bytes.size()) {
    VMFERRY_RETURN_IF_ERROR(out.Append(std::exchange(part.bytes, io::Buffer())));
  } else {
    VMFERRY_RETURN_IF_ERROR(out.Append(
        part.bytes.bytes().subspan(part.units[first].offset_bytes, count * kClusterBytes)));
  }
  VMFERRY_RETURN_IF_ERROR(FlushRefcounts(out));
  return count;
}

Result<void> Qcow2Encoder::Hold(const EncodedUnit& unit, std::span<const std::byte> bytes,
                                EncoderOutput& out) {
  if (held_.size() + bytes.size() > held_.capacity()) VMFERRY_RETURN_IF_ERROR(FlushHeld(out));
  held_units_.push_back(
      {.slot = SlotOf(unit), .offset_bytes = held_.size(), .length_bytes = bytes.size()});
  held_.Append(bytes);
  return {};
}

Result<void> Qcow2Encoder::FlushHeld(EncoderOutput& out) {
  if (held_units_.empty()) return {};
  const std::uint64_t base_bytes = out.OffsetBytes();
  for (const HeldUnit& unit : held_units_) {
    const std::uint64_t place_bytes = base_bytes + unit.offset_bytes;
    const std::uint64_t last_bytes = place_bytes + unit.length_bytes - 1;
    const std::uint64_t more_sectors = last_bytes / kSectorBytes - place_bytes / kSectorBytes;
    table_[unit.slot] = kCompressedFlag | more_sectors << kCompressedOffsetBits | place_bytes;
    refcounts_.Add(place_bytes, unit.length_bytes);
  }
  VMFERRY_RETURN_IF_ERROR(out.Append(std::as_const(held_).bytes()));
  held_.Resize(0);
  held_units_.clear();
  return FlushRefcounts(out);
}

Result<void> Qcow2Encoder::FlushRefcounts(EncoderOutput& out) {
  while (refcounts_.IsComplete(out.OffsetBytes())) {
    VMFERRY_RETURN_IF_ERROR(Align(out));
    refcount_table_.push_back(out.OffsetBytes());
    refcounts_.Add(out.OffsetBytes(), kClusterBytes);
    VMFERRY_RETURN_IF_ERROR(out.Append(refcounts_.TakeBlock()));
  }
  return {};
}

/// Appends entries, padded to whole clusters; the output is aligned.
Result<void> Qcow2Encoder::AppendTable(std::span<const std::uint64_t> entries, EncoderOutput& out) {
  std::vector<std::byte> bytes(RoundUp(entries.size_bytes(), kClusterBytes));
  ByteWriter writer(bytes);
  for (const std::uint64_t entry : entries) writer.U64Be(entry);
  return out.Append(bytes);
}

Result<void> Qcow2Encoder::FlushTable(EncoderOutput& out) {
  if (!table_used_) return {};
  VMFERRY_RETURN_IF_ERROR(FlushHeld(out));
  VMFERRY_RETURN_IF_ERROR(Align(out));
  l1_[table_index_] = out.OffsetBytes() | kCopiedFlag;
  refcounts_.Add(out.OffsetBytes(), kClusterBytes);
  VMFERRY_RETURN_IF_ERROR(AppendTable(table_, out));
  std::fill(table_.begin(), table_.end(), std::uint64_t{0});
  table_used_ = false;
  return FlushRefcounts(out);
}

Result<void> Qcow2Encoder::Place(EncodedPart& part, EncoderOutput& out) {
  for (std::size_t i = 0; i < part.units.size();) {
    const EncodedUnit& unit = part.units[i];
    if (unit.length_bytes == 0) {
      ++i;
      continue;
    }
    const std::uint64_t table = unit.guest_offset_bytes / kTableSpanBytes;
    if (table != table_index_) VMFERRY_RETURN_IF_ERROR(FlushTable(out));
    table_index_ = table;
    table_used_ = true;
    if (unit.compressed) {
      VMFERRY_RETURN_IF_ERROR(
          Hold(unit, part.bytes.bytes().subspan(unit.offset_bytes, unit.length_bytes), out));
      ++i;
      continue;
    }
    VMFERRY_ASSIGN_OR_RETURN(const std::size_t placed, PlacePlain(part, i, out));
    i += placed;
  }
  return {};
}

/// Appends the last refcount blocks and the refcount table, which count themselves.
Result<void> Qcow2Encoder::FinishRefcounts(EncoderOutput& out) {
  const std::uint64_t begin = out.OffsetBytes() / kClusterBytes;
  std::uint64_t blocks = 0;
  std::uint64_t table_clusters = 0;
  for (std::uint64_t end = begin + 1;;) {
    const std::uint64_t all_blocks = DivCeil(end, kCountsPerBlock);
    blocks = all_blocks - refcounts_.taken();
    table_clusters = DivCeil(all_blocks * sizeof(std::uint64_t), kClusterBytes);
    const std::uint64_t needed = begin + blocks + table_clusters;
    if (needed <= end) break;
    end = needed;
  }
  refcounts_.Add(begin * kClusterBytes, (blocks + table_clusters) * kClusterBytes);
  for (std::uint64_t i = 0; i < blocks; ++i) {
    refcount_table_.push_back(out.OffsetBytes());
    VMFERRY_RETURN_IF_ERROR(out.Append(refcounts_.TakeBlock()));
  }
  refcount_place_bytes_ = out.OffsetBytes();
  return AppendTable(refcount_table_, out);
}

Result<void> Qcow2Encoder::WriteHeader(EncoderOutput& out) const {
  // qcow2.txt, "Header"; eight more bytes that are zero end the header extensions.
  std::array<std::byte, kHeaderBytesFull + 8> bytes{};
  ByteWriter writer(bytes);
  writer.U32Be(kMagic);
  writer.U32Be(3);
  writer.Skip(12);  // no backing file
  writer.U32Be(kClusterBits);
  writer.U64Be(info_.virtual_size_bytes);
  writer.U32Be(0);  // not encrypted
  writer.U32Be(static_cast<std::uint32_t>(l1_.size()));
  writer.U64Be(l1_place_bytes_);
  writer.U64Be(refcount_place_bytes_);
  writer.U32Be(static_cast<std::uint32_t>(
      DivCeil(refcount_table_.size() * sizeof(std::uint64_t), kClusterBytes)));
  writer.Skip(12);  // no VM snapshots
  writer.Skip(24);  // no features
  writer.U32Be(4);  // refcounts of 2^4 bits
  writer.U32Be(kHeaderBytesFull);
  return out.Overwrite(0, bytes);
}

Result<void> Qcow2Encoder::Finish(EncoderOutput& out) {
  VMFERRY_RETURN_IF_ERROR(FlushTable(out));
  VMFERRY_RETURN_IF_ERROR(Align(out));
  l1_place_bytes_ = out.OffsetBytes();
  refcounts_.Add(l1_place_bytes_, l1_.size() * sizeof(std::uint64_t));
  VMFERRY_RETURN_IF_ERROR(AppendTable(l1_, out));
  VMFERRY_RETURN_IF_ERROR(FlushRefcounts(out));
  VMFERRY_RETURN_IF_ERROR(FinishRefcounts(out));
  return WriteHeader(out);
}

Result<std::unique_ptr<Encoder>> Make(std::uint64_t size_bytes, bool compressed) {
  if (size_bytes > kMaxSizeBytes) {
    return Error(ErrorCode::kOutOfRange, "qcow2.encoder.too_large",
                 fmt::format("a disk of {} bytes is too large for QCOW2 with clusters of {} bytes",
                             size_bytes, kClusterBytes))
        .WithRemedy("write it as a raw disk");
  }
  return std::unique_ptr<Encoder>(std::make_unique<Qcow2Encoder>(size_bytes, compressed));
}

}  // namespace

Result<std::unique_ptr<Encoder>> MakePlainEncoder(std::uint64_t size_bytes) {
  return Make(size_bytes, false);
}

Result<std::unique_ptr<Encoder>> MakeCompressedEncoder(std::uint64_t size_bytes) {
  return Make(size_bytes, true);
}

}  // namespace vmferry::image::qcow2
