// SPDX-License-Identifier: Apache-2.0
//
// MemoryOutput: an encoder's output that a test can look at, and EncodeAll, which runs an encoder
// over a whole disk in one thread, as the pipeline of transfer/encode.h does with many.
//
// Sparse: zeros that were skipped take no memory, so outputs of terabytes can be tested.

#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <vector>

#include "base/result.h"
#include "image/disk_image.h"
#include "image/encoder.h"
#include "io/buffer.h"

namespace vmferry::testing {

class MemoryOutput final : public image::EncoderOutput {
 public:
  /// `piece_bytes`: nominal size of a piece; 0: the output is never cut.
  /// `begin_bytes`: where the first byte goes, for an encoder that was restored.
  explicit MemoryOutput(std::uint64_t piece_bytes = 0, std::uint64_t begin_bytes = 0)
      : piece_bytes_(piece_bytes),
        begin_bytes_(begin_bytes),
        end_bytes_(begin_bytes),
        piece_begin_bytes_(begin_bytes) {}

  std::uint64_t OffsetBytes() const override { return end_bytes_; }
  Result<void> Append(std::span<const std::byte> bytes) override;
  Result<void> Append(io::Buffer bytes) override { return Append(bytes.bytes()); }
  Result<void> Skip(std::uint64_t length_bytes) override;
  Result<void> Overwrite(std::uint64_t offset_bytes, std::span<const std::byte> bytes) override;
  bool PieceIsFull() const override {
    return piece_bytes_ > 0 && end_bytes_ - piece_begin_bytes_ >= piece_bytes_;
  }
  Result<void> EndPiece(image::EncoderCursor cursor) override;

  /// The cursors of the pieces that were ended, in order.
  const std::vector<image::EncoderCursor>& cursors() const { return cursors_; }
  /// How often Overwrite was called.
  std::size_t overwrites() const { return overwrites_; }

  /// Everything from `begin_bytes` on. Only for outputs that fit into memory.
  std::vector<std::byte> Bytes() const;
  /// A part of it. Pre: the range was written.
  std::vector<std::byte> Bytes(std::uint64_t offset_bytes, std::size_t length_bytes) const;
  /// Writes a file, zeros as holes (also those in front of `begin_bytes`).
  void Save(const std::filesystem::path& path) const;

 private:
  void Put(std::uint64_t offset_bytes, std::span<const std::byte> bytes);

  const std::uint64_t piece_bytes_;
  const std::uint64_t begin_bytes_;
  std::uint64_t end_bytes_;
  std::uint64_t piece_begin_bytes_;
  std::size_t overwrites_ = 0;
  std::vector<image::EncoderCursor> cursors_;
  /// Chunks of kChunkBytes that are not all hole, by index.
  std::map<std::uint64_t, std::vector<std::byte>> chunks_;
};

/// The parts a disk is encoded in: windows of about `part_bytes` (whole units), those that hold
/// only holes left out; from `from_bytes` on, which is a whole unit.
Result<std::vector<image::GuestPart>> CutParts(const image::DiskImage& disk,
                                               std::uint64_t unit_bytes, std::uint64_t part_bytes,
                                               std::uint64_t from_bytes = 0);

/// Encodes and places everything from `from_bytes` on and finishes; the encoder was begun or
/// restored. Errors: the encoder's and the disk's.
Result<void> EncodeRest(image::Encoder& encoder, const image::DiskImage& disk,
                        std::uint64_t part_bytes, std::uint64_t from_bytes, MemoryOutput& out);

/// Runs an encoder from Begin to Finish. `piece_bytes` as in MemoryOutput.
Result<MemoryOutput> EncodeAll(image::Encoder& encoder, const image::DiskImage& disk,
                               std::uint64_t part_bytes, std::uint64_t piece_bytes = 0);

}  // namespace vmferry::testing
