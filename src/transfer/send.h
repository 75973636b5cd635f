// SPDX-License-Identifier: Apache-2.0
//
// SendPieces: carries the pieces of a stored file to a Target, in parallel, and has each one
// recorded once the target has accepted it.
//
// A piece is read, summed and sent by one worker; its acceptance goes to a single recorder, which
// commits whatever has gathered meanwhile in one go. So a crash loses at most the pieces in flight.

#pragma once

#include <functional>

#include "store/store.h"
#include "sys/clock.h"
#include "sys/file.h"
#include "transfer/target.h"

namespace vmferry::transfer {

struct SendOptions {
  /// Pieces in flight. More hide a slow line's latency; each costs one piece of memory.
  std::uint32_t parallel = 8;
  /// Bytes of pieces in memory at once; lowers `parallel` when pieces are large. At least one piece
  /// is always in flight.
  std::uint64_t memory_bytes = std::uint64_t{256} << 20;
};

struct SendProgress {
  std::uint64_t done_bytes = 0;  ///< recorded, now or in an earlier run
  std::uint64_t total_bytes = 0;
  std::uint64_t done_pieces = 0;
  std::uint64_t total_pieces = 0;
};

struct SendOutcome {
  std::uint64_t sent_pieces = 0;  ///< in this run
  std::uint64_t sent_bytes = 0;
  std::uint64_t found_pieces = 0;  ///< found at the target with the right checksum, not sent again
  std::uint64_t skipped_pieces = 0;  ///< recorded by an earlier run
};

/// Records pieces durably. Called from one thread.
using RecordPieces = std::function<Result<void>(std::span<const store::PieceRow>)>;

/// Sends every piece of `plan` that is not in `recorded`.
///
/// With `resuming`, the target is asked first what it holds: a recorded piece that it lost is sent
/// again, an unrecorded one that it holds with the right checksum is recorded without being sent.
///
/// Errors: those of reading, of the target and of `record`; the first one ends the run, and what
/// was accepted until then is recorded.
Result<SendOutcome> SendPieces(const sys::File& source, const PiecePlan& plan,
                               std::vector<store::PieceRow> recorded, bool resuming, Target& target,
                               const RecordPieces& record,
                               const std::function<void(const SendProgress&)>& on_progress,
                               sys::Clock& clock, const SendOptions& options,
                               const OpContext& context);

}  // namespace vmferry::transfer
