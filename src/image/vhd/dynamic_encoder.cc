// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <utility>
#include <vector>

#include "base/units.h"
#include "codec/zero.h"
#include "image/vhd/big_endian.h"
#include "image/vhd/block_table.h"
#include "image/vhd/content_id.h"
#include "image/vhd/dynamic_header.h"
#include "image/vhd/encoder.h"
#include "image/vhd/encoder_base.h"

namespace vmferry::image::vhd {
namespace {

constexpr std::uint64_t kBlockBytes = kDefaultBlockBytes;
constexpr std::uint64_t kBitmapBytes = kBlockBytes / kSectorBytes / 8;
static_assert(kBitmapBytes == kSectorBytes);
constexpr std::uint64_t kStoredBytes = kBitmapBytes + kBlockBytes;
constexpr std::uint64_t kTableOffsetBytes = kFooterBytes + kDynamicHeaderBytes;

/// The piece of `part` from `offset_bytes` on.
GuestPart Cut(const GuestPart& part, std::uint64_t offset_bytes, std::uint64_t length_bytes) {
  GuestPart cut = {.offset_bytes = offset_bytes, .length_bytes = length_bytes, .extents = {}};
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  for (const Extent& extent : part.extents) {
    const std::uint64_t begin = std::max(extent.offset_bytes, offset_bytes);
    const std::uint64_t end = std::min(extent.offset_bytes + extent.length_bytes, end_bytes);
    if (begin < end) cut.extents.push_back({begin, end - begin, extent.kind});
  }
  return cut;
}

/// Lays blocks out as they go into the file, one behind the other: bitmap, bytes.
class DynamicWorker final : public EncoderWorker {
 public:
  explicit DynamicWorker(const DiskImage& disk) : disk_(disk) {}

  Result<EncodedPart> Encode(const GuestPart& part, io::Buffer reuse) override {
    const std::uint64_t blocks = DivCeil(part.length_bytes, kBlockBytes);
    const std::size_t room = blocks * kStoredBytes + ChecksumRoom(blocks);
    EncodedPart encoded = {.offset_bytes = part.offset_bytes,
                           .length_bytes = part.length_bytes,
                           .bytes = reuse.capacity() >= room ? std::move(reuse) : io::Buffer(room),
                           .units = {}};
    encoded.bytes.Resize(0);
    std::size_t next = 0;
    for (std::uint64_t at = 0; at < part.length_bytes; at += kBlockBytes) {
      const std::uint64_t length = std::min(kBlockBytes, part.length_bytes - at);
      if (!HoldsData(part, next, part.offset_bytes + at, length)) continue;
      VMFERRY_RETURN_IF_ERROR(EncodeBlock(Cut(part, part.offset_bytes + at, length), encoded));
    }
    AppendChecksums(encoded);
    return encoded;
  }

 private:
  Result<void> EncodeBlock(const GuestPart& block, EncodedPart& encoded) const {
    const std::size_t begin = encoded.bytes.size();
    const std::span<std::byte> stored = encoded.bytes.Extend(kStoredBytes);
    const std::span<std::byte> data = stored.subspan(kBitmapBytes, block.length_bytes);
    VMFERRY_RETURN_IF_ERROR(ReadPart(disk_, block, data));
    if (codec::IsZero(data)) {
      encoded.bytes.Resize(begin);
      return {};
    }
    // All sectors are there. The last block is as long as the others.
    std::memset(stored.data(), 0xff, kBitmapBytes);
    std::memset(data.data() + data.size(), 0, kBlockBytes - data.size());
    encoded.units.push_back({.guest_offset_bytes = block.offset_bytes,
                             .offset_bytes = static_cast<std::uint32_t>(begin),
                             .length_bytes = static_cast<std::uint32_t>(kStoredBytes)});
    return {};
  }

  const DiskImage& disk_;
};

class DynamicEncoder final : public Encoder {
 public:
  DynamicEncoder(EncoderInfo info, const EncoderOptions& options)
      : info_(std::move(info)),
        options_(options),
        content_(info_.id, info_.virtual_size_bytes),
        entries_(DivCeil(info_.virtual_size_bytes, kBlockBytes), BlockTable::kAbsent) {}

  const EncoderInfo& Info() const override { return info_; }

  std::unique_ptr<EncoderWorker> MakeWorker(const DiskImage& disk) const override {
    return std::make_unique<DynamicWorker>(disk);
  }

  // Room for the front: Finish fills it.
  Result<void> Begin(EncoderOutput& out) override { return out.Skip(FrontBytes()); }

  Result<void> Place(EncodedPart& part, EncoderOutput& out) override {
    content_.Add(part);
    for (const EncodedUnit& unit : part.units) {
      const std::uint64_t sector = (out.OffsetBytes() + unit.offset_bytes) / kSectorBytes;
      entries_[unit.guest_offset_bytes / kBlockBytes] = static_cast<std::uint32_t>(sector);
    }
    if (part.units.empty()) return {};
    return out.Append(std::move(part.bytes));
  }

  Result<void> Finish(EncoderOutput& out) override {
    const auto footer = StoreFooter(MakeFooter(info_, DiskType::kDynamic, content_.Id(), options_));
    const auto header =
        StoreDynamicHeader({.table_offset_bytes = kTableOffsetBytes,
                            .table_entries = static_cast<std::uint32_t>(entries_.size()),
                            .block_bytes = kDefaultBlockBytes,
                            .parent_id = {},
                            .parent_name = {},
                            .locators = {}});
    VMFERRY_RETURN_IF_ERROR(out.Append(footer));
    std::vector<std::byte> front(FrontBytes(), std::byte{0xff});
    BigEndianWriter writer(front);
    writer.Bytes(footer);
    writer.Bytes(header);
    for (const std::uint32_t entry : entries_) writer.U32(entry);
    return out.Overwrite(0, front);
  }

  Result<void> Restore(const EncoderCursor&) override {
    return Error(ErrorCode::kUnimplemented, "encoder.no_restart",
                 "writing a dynamic VHD cannot be gone on with: its front is written at the end");
  }

 private:
  std::uint64_t FrontBytes() const {
    return DivCeil(kTableOffsetBytes + entries_.size() * sizeof(std::uint32_t), kSectorBytes) *
           kSectorBytes;
  }

  const EncoderInfo info_;
  const EncoderOptions options_;
  ContentId content_;
  std::vector<std::uint32_t> entries_;
};

}  // namespace

Result<std::unique_ptr<Encoder>> MakeDynamicEncoder(std::uint64_t size_bytes,
                                                    const EncoderOptions& options) {
  VMFERRY_ASSIGN_OR_RETURN(EncoderInfo info, DescribeEncoder(size_bytes, DiskType::kDynamic));
  info.id = "vhd-dynamic/1";
  info.unit_bytes = kBlockBytes;
  info.rewrites = true;
  return std::unique_ptr<Encoder>(std::make_unique<DynamicEncoder>(std::move(info), options));
}

}  // namespace vmferry::image::vhd
