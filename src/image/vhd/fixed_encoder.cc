// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/units.h"
#include "codec/zero.h"
#include "image/vhd/content_id.h"
#include "image/vhd/encoder.h"
#include "image/vhd/encoder_base.h"

namespace vmferry::image::vhd {
namespace {

/// What is skipped as zeros is a whole number of these.
constexpr std::uint64_t kUnitBytes = 64 * kKiB;
/// Zeros are skipped in steps, so that a piece can end inside a long run of them.
constexpr std::uint64_t kSkipBytes = kMiB;

class FixedWorker final : public EncoderWorker {
 public:
  explicit FixedWorker(const DiskImage& disk) : disk_(disk) {}

  Result<EncodedPart> Encode(const GuestPart& part, io::Buffer reuse) override {
    const std::size_t room =
        part.length_bytes + ChecksumRoom(DivCeil(part.length_bytes, kUnitBytes));
    EncodedPart encoded = {.offset_bytes = part.offset_bytes,
                           .length_bytes = part.length_bytes,
                           .bytes = reuse.capacity() >= room ? std::move(reuse) : io::Buffer(room),
                           .units = {}};
    encoded.bytes.Resize(part.length_bytes);
    VMFERRY_RETURN_IF_ERROR(ReadPart(disk_, part, encoded.bytes.bytes()));
    std::size_t next = 0;
    for (std::uint64_t at = 0; at < part.length_bytes; at += kUnitBytes) {
      const std::uint64_t length = std::min(kUnitBytes, part.length_bytes - at);
      if (!HoldsData(part, next, part.offset_bytes + at, length)) continue;
      if (codec::IsZero(encoded.bytes.bytes().subspan(at, length))) continue;
      encoded.units.push_back({.guest_offset_bytes = part.offset_bytes + at,
                               .offset_bytes = static_cast<std::uint32_t>(at),
                               .length_bytes = static_cast<std::uint32_t>(length)});
    }
    AppendChecksums(encoded);
    return encoded;
  }

 private:
  const DiskImage& disk_;
};

class FixedEncoder final : public Encoder {
 public:
  FixedEncoder(EncoderInfo info, const EncoderOptions& options)
      : info_(std::move(info)), options_(options), content_(info_.id, info_.virtual_size_bytes) {}

  const EncoderInfo& Info() const override { return info_; }

  std::unique_ptr<EncoderWorker> MakeWorker(const DiskImage& disk) const override {
    return std::make_unique<FixedWorker>(disk);
  }

  Result<void> Begin(EncoderOutput&) override { return {}; }

  Result<void> Place(EncodedPart& part, EncoderOutput& out) override {
    VMFERRY_RETURN_IF_ERROR(SkipTo(part.offset_bytes, out));
    content_.Add(part);
    for (std::size_t first = 0, end = 0; first < part.units.size(); first = end) {
      end = EndOfRun(part.units, first);
      const EncodedUnit& last = part.units[end - 1];
      const std::uint64_t begin_bytes = part.units[first].offset_bytes;
      const std::uint64_t length_bytes = last.offset_bytes + last.length_bytes - begin_bytes;
      // Inside a part no piece ends: its content is all in the id already.
      VMFERRY_RETURN_IF_ERROR(out.Skip(part.units[first].guest_offset_bytes - out.OffsetBytes()));
      if (length_bytes == part.bytes.size()) {
        VMFERRY_RETURN_IF_ERROR(out.Append(std::move(part.bytes)));
        break;
      }
      VMFERRY_RETURN_IF_ERROR(out.Append(part.bytes.bytes().subspan(begin_bytes, length_bytes)));
    }
    return EndPieceIfFull(out);
  }

  Result<void> Finish(EncoderOutput& out) override {
    VMFERRY_RETURN_IF_ERROR(SkipTo(info_.virtual_size_bytes, out));
    return out.Append(StoreFooter(MakeFooter(info_, DiskType::kFixed, content_.Id(), options_)));
  }

  Result<void> Restore(const EncoderCursor& cursor) override {
    return content_.Restore(cursor.state);
  }

 private:
  /// Behind the last of the units that lie one after the other from `first` on.
  static std::size_t EndOfRun(const std::vector<EncodedUnit>& units, std::size_t first) {
    std::size_t end = first + 1;
    while (end < units.size() &&
           units[end].offset_bytes == units[end - 1].offset_bytes + units[end - 1].length_bytes) {
      ++end;
    }
    return end;
  }

  Result<void> SkipTo(std::uint64_t offset_bytes, EncoderOutput& out) const {
    while (out.OffsetBytes() < offset_bytes) {
      VMFERRY_RETURN_IF_ERROR(out.Skip(std::min(kSkipBytes, offset_bytes - out.OffsetBytes())));
      VMFERRY_RETURN_IF_ERROR(EndPieceIfFull(out));
    }
    return {};
  }

  /// Only between units: at the end of a disk the footer goes into the same piece.
  Result<void> EndPieceIfFull(EncoderOutput& out) const {
    const std::uint64_t offset_bytes = out.OffsetBytes();
    if (!out.PieceIsFull() || offset_bytes % kUnitBytes != 0) return {};
    const auto state = content_.state();
    return out.EndPiece({.guest_offset_bytes = offset_bytes,
                         .output_offset_bytes = offset_bytes,
                         .state = {state.begin(), state.end()}});
  }

  const EncoderInfo info_;
  const EncoderOptions options_;
  ContentId content_;
};

}  // namespace

Result<std::unique_ptr<Encoder>> MakeFixedEncoder(std::uint64_t size_bytes,
                                                  const EncoderOptions& options) {
  VMFERRY_ASSIGN_OR_RETURN(EncoderInfo info, DescribeEncoder(size_bytes, DiskType::kFixed));
  info.id = "vhd-fixed/1";
  info.unit_bytes = kUnitBytes;
  info.restarts = true;
  info.output_size_bytes = info.virtual_size_bytes + kFooterBytes;
  if (info.virtual_size_bytes % kMiB != 0) {
    info.remarks.push_back(
        fmt::format("the disk's size of {} bytes is not a whole number of MiB, which Azure wants",
                    info.virtual_size_bytes));
  }
  return std::unique_ptr<Encoder>(std::make_unique<FixedEncoder>(std::move(info), options));
}

}  // namespace vmferry::image::vhd
