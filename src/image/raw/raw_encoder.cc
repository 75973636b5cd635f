// SPDX-License-Identifier: Apache-2.0
#include "image/raw/raw_encoder.h"

#include <algorithm>
#include <utility>

#include "base/units.h"
#include "codec/zero.h"

namespace vmferry::image::raw {
namespace {

/// What is left out as a hole is a whole number of these; so are the parts.
constexpr std::uint64_t kUnitBytes = 64 * kKiB;

class RawWorker final : public EncoderWorker {
 public:
  RawWorker(const DiskImage& disk, bool find_zeros) : disk_(disk), find_zeros_(find_zeros) {}

  Result<EncodedPart> Encode(const GuestPart& part, io::Buffer reuse) override {
    EncodedPart encoded = {.offset_bytes = part.offset_bytes, .length_bytes = part.length_bytes};
    encoded.bytes =
        reuse.capacity() >= part.length_bytes ? std::move(reuse) : io::Buffer(part.length_bytes);
    encoded.bytes.Resize(part.length_bytes);
    VMFERRY_RETURN_IF_ERROR(ReadPart(disk_, part, encoded.bytes.bytes()));
    std::size_t next = 0;
    for (std::uint64_t at = 0; at < part.length_bytes; at += kUnitBytes) {
      const std::uint64_t length = std::min(kUnitBytes, part.length_bytes - at);
      if (!HoldsData(part, next, part.offset_bytes + at, length)) continue;
      if (find_zeros_ && codec::IsZero(encoded.bytes.bytes().subspan(at, length))) continue;
      AppendRun(encoded, at, length);
    }
    return encoded;
  }

 private:
  /// Neighbouring units become one.
  static void AppendRun(EncodedPart& encoded, std::uint64_t at, std::uint64_t length) {
    if (!encoded.units.empty()) {
      EncodedUnit& last = encoded.units.back();
      if (last.offset_bytes + last.length_bytes == at) {
        last.length_bytes += static_cast<std::uint32_t>(length);
        return;
      }
    }
    encoded.units.push_back({.guest_offset_bytes = encoded.offset_bytes + at,
                             .offset_bytes = static_cast<std::uint32_t>(at),
                             .length_bytes = static_cast<std::uint32_t>(length)});
  }

  const DiskImage& disk_;
  const bool find_zeros_;
};

class RawEncoder final : public Encoder {
 public:
  RawEncoder(std::uint64_t size_bytes, const RawEncoderOptions& options)
      : info_{.id = options.find_zeros ? "raw/1" : "raw/1-all",
              .format = "raw",
              .wire_format = "RAW",
              .unit_bytes = kUnitBytes,
              .virtual_size_bytes = size_bytes,
              .output_size_bytes = size_bytes},
        options_(options) {}

  const EncoderInfo& Info() const override { return info_; }

  std::unique_ptr<EncoderWorker> MakeWorker(const DiskImage& disk) const override {
    return std::make_unique<RawWorker>(disk, options_.find_zeros);
  }

  Result<void> Begin(EncoderOutput&) override { return {}; }

  Result<void> Place(EncodedPart& part, EncoderOutput& out) override {
    for (const EncodedUnit& unit : part.units) {
      VMFERRY_RETURN_IF_ERROR(SkipTo(unit.guest_offset_bytes, out));
      if (unit.length_bytes == part.length_bytes) {
        VMFERRY_RETURN_IF_ERROR(out.Append(std::move(part.bytes)));
        break;
      }
      VMFERRY_RETURN_IF_ERROR(
          out.Append(part.bytes.bytes().subspan(unit.offset_bytes, unit.length_bytes)));
    }
    return {};
  }

  Result<void> Finish(EncoderOutput& out) override { return SkipTo(info_.virtual_size_bytes, out); }

  Result<void> Restore(const EncoderCursor&) override {
    return Error(ErrorCode::kUnimplemented, "encoder.no_restart",
                 "a raw disk under way is not gone on with, but begun again");
  }

 private:
  static Result<void> SkipTo(std::uint64_t offset_bytes, EncoderOutput& out) {
    if (out.OffsetBytes() == offset_bytes) return {};
    return out.Skip(offset_bytes - out.OffsetBytes());
  }

  const EncoderInfo info_;
  const RawEncoderOptions options_;
};

}  // namespace

std::unique_ptr<Encoder> MakeEncoder(std::uint64_t size_bytes, const RawEncoderOptions& options) {
  return std::make_unique<RawEncoder>(size_bytes, options);
}

}  // namespace vmferry::image::raw
