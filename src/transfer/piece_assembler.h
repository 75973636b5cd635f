// SPDX-License-Identifier: Apache-2.0
//
// PieceAssembler: the EncoderOutput that makes pieces.
//
// Bytes gather in a buffer until the encoder ends the piece. A skip ends it as well, since a piece
// has no holes.
//
// Thread safety: none; the pipeline holds a lock over it.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "image/encoder.h"
#include "transfer/encode.h"

namespace vmferry::transfer {

class PieceAssembler final : public image::EncoderOutput {
 public:
  /// Begins behind `begin`, with piece number `first_number`.
  PieceAssembler(std::uint64_t piece_bytes, image::EncoderCursor begin, std::uint64_t first_number);

  std::uint64_t OffsetBytes() const override { return offset_bytes_; }
  Result<void> Append(std::span<const std::byte> bytes) override;
  Result<void> Append(io::Buffer bytes) override;
  Result<void> Skip(std::uint64_t length_bytes) override;
  Result<void> Overwrite(std::uint64_t offset_bytes, std::span<const std::byte> bytes) override;
  bool PieceIsFull() const override { return current_.size() >= piece_bytes_; }
  Result<void> EndPiece(image::EncoderCursor cursor) override;
  bool PieceIsEmpty() const { return current_.empty(); }
  /// Takes the memory of a piece that nobody needs any more: fresh memory costs as much as copying.
  void Recycle(io::Buffer buffer);

  /// The output is complete: what has gathered is the last piece.
  void End();

  std::vector<EncodedPiece> TakeComplete() { return std::exchange(complete_, {}); }
  /// Bytes that replace some of pieces that were taken; after End.
  std::vector<EncodedPiece> TakeRewrites() { return std::exchange(rewrites_, {}); }
  std::uint64_t next_number() const { return next_number_; }

 private:
  void Complete(image::EncoderCursor cursor);
  io::Buffer BufferOf(std::size_t capacity);

  const std::uint64_t piece_bytes_;
  std::uint64_t offset_bytes_;
  std::uint64_t next_number_;
  image::EncoderCursor begin_;  ///< in front of the piece under way
  io::Buffer current_;
  std::vector<io::Buffer> recycled_;
  std::vector<EncodedPiece> complete_;
  std::vector<EncodedPiece> rewrites_;
};

}  // namespace vmferry::transfer
