// SPDX-License-Identifier: Apache-2.0
//
// EncodeDisk: the pipeline that reads a disk, encodes it with several threads and hands over the
// pieces of the output, in parallel. `image convert` and the transfer of disks that the service
// does not take as they are stored both are this pipeline, with another taker.
//
// Each worker takes the next part of the guest, encodes it, waits for its turn, places it, and
// hands over the pieces that are complete. Only placing is in order; it copies a few bytes.

#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "base/deadline.h"
#include "image/encoder.h"
#include "transfer/target.h"

namespace vmferry::transfer {

/// A piece of the output, and where the encoder stood in front of it and behind it.
struct EncodedPiece {
  Piece piece;
  io::Buffer bytes;  ///< piece.length_bytes long
  image::EncoderCursor begin;
  image::EncoderCursor end;  ///< of the last piece: the end of the output
};

struct EncodeOptions {
  /// Affects performance: each takes a part's memory, encoded and not. More than cores where taking
  /// a piece waits for a network.
  std::uint32_t threads = 4;
  /// Guest bytes that a worker takes at a time, rounded up to whole units of the encoder.
  std::uint64_t part_bytes = std::uint64_t{1} << 20;
  /// A piece ends at the first boundary between units at or past this size.
  std::uint64_t piece_bytes = std::uint64_t{4} << 20;
  /// Where to go on: all cursors that were recorded, from the first piece on. Empty: from the
  /// start.
  std::vector<image::EncoderCursor> cursors;
};

struct EncodeProgress {
  std::uint64_t guest_bytes = 0;  ///< everything in front of it was encoded and taken
  std::uint64_t total_bytes = 0;  ///< the disk's size
};

struct EncodeOutcome {
  std::uint64_t output_bytes = 0;  ///< the whole output, holes included
  std::uint64_t pieces = 0;        ///< the number that the next piece would have
};

/// Takes a piece: may wait, may be called from several threads at once, in any order. A piece that
/// replaces earlier bytes comes after everything else, with the number of the first piece.
using TakePiece = std::function<Result<void>(EncodedPiece& piece, const OpContext& context)>;

/// Errors: those of the disk, the encoder and `take`; kCancelled transfer.stopped. The first one
/// ends the run.
Result<EncodeOutcome> EncodeDisk(const image::DiskImage& disk, image::Encoder& encoder,
                                 const EncodeOptions& options, const TakePiece& take,
                                 const std::function<void(const EncodeProgress&)>& on_progress,
                                 const OpContext& context);

}  // namespace vmferry::transfer
