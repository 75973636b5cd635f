// SPDX-License-Identifier: Apache-2.0
#include "transfer/send_encoded.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <utility>

#include "base/units.h"
#include "codec/digest.h"
#include "transfer/encode.h"

namespace vmferry::transfer {
namespace {

/// A piece grows past its nominal size by one unit and a table at most.
constexpr std::uint64_t kPieceSlackBytes = 256 * kKiB;
/// Guest bytes that a worker encodes at a time.
constexpr std::uint64_t kPartBytes = kMiB;

/// What earlier runs left, after the target was asked what it holds.
struct Past {
  std::vector<image::EncoderCursor> cursors;  ///< of the pieces that need not be made again
  std::map<std::uint64_t, store::PieceRow> confirmed;  ///< and still there, by number
  /// Lengths of the pieces that the target holds, confirmed or not, by number.
  std::map<std::uint64_t, std::uint64_t> held;
};

/// Was this cursor recorded for these bytes? Not when the piece was made anew, with other bytes, by
/// a run that was cut off before it was confirmed.
bool BelongsTo(const store::CursorRow& cursor, const store::PieceRow& piece) {
  return cursor.crc32c == piece.crc32c &&
         cursor.output_offset_bytes == piece.offset_bytes + piece.length_bytes;
}

Result<Past> FindPast(const PieceJournal& journal, bool resuming, Target& target,
                      const OpContext& context) {
  Past past;
  VMFERRY_ASSIGN_OR_RETURN(std::vector<store::PieceRow> pieces,
                           journal.store.Pieces(journal.migration_id, journal.disk));
  for (store::PieceRow& row : pieces) past.confirmed[row.number] = std::move(row);
  if (resuming) {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<HeldPiece> held, target.Held(context));
    for (const HeldPiece& piece : held) past.held[piece.number] = piece.length_bytes;
    std::erase_if(past.confirmed, [&](const auto& entry) {
      const auto found = past.held.find(entry.first);
      return found == past.held.end() || found->second != entry.second.length_bytes;
    });
  }
  VMFERRY_ASSIGN_OR_RETURN(std::vector<store::CursorRow> cursors,
                           journal.store.Cursors(journal.migration_id, journal.disk));
  for (store::CursorRow& row : cursors) {
    // Up to the first gap: the encoder has to have passed all of them.
    if (row.number != past.cursors.size()) break;
    const auto piece = past.confirmed.find(row.number);
    if (piece == past.confirmed.end() || !BelongsTo(row, piece->second)) break;
    // The last piece of an output has no state: it is made again.
    if (row.state.empty()) break;
    past.cursors.push_back({.guest_offset_bytes = row.guest_offset_bytes,
                            .output_offset_bytes = row.output_offset_bytes,
                            .state = std::move(row.state)});
  }
  // What is behind the gap is made again. Its cursors may be those of another layout of what is in
  // front of it, though each fits its own piece: only those that this run writes may be trusted.
  VMFERRY_RETURN_IF_ERROR(
      journal.store.DropCursors(journal.migration_id, journal.disk, past.cursors.size()));
  return past;
}

class Sender {
 public:
  Sender(const PieceJournal& journal, Target& target, sys::Clock& clock, Past past,
         std::uint64_t total_bytes, const std::function<void(const SendProgress&)>& on_progress)
      : journal_(journal),
        target_(target),
        clock_(clock),
        past_(std::move(past)),
        on_progress_(on_progress) {
    progress_.total_bytes = total_bytes;
  }

  /// From several threads at once.
  Result<void> Take(const EncodedPiece& made, const OpContext& context) {
    const Piece& piece = made.piece;
    const std::uint32_t crc32c = codec::Crc32c(made.bytes.bytes());
    VMFERRY_RETURN_IF_ERROR(
        journal_.store.PutCursor(journal_.migration_id, journal_.disk,
                                 {.number = piece.number,
                                  .guest_offset_bytes = made.end.guest_offset_bytes,
                                  .output_offset_bytes = made.end.output_offset_bytes,
                                  .crc32c = crc32c,
                                  .state = made.end.state}));
    const auto known = past_.confirmed.find(piece.number);
    if (known != past_.confirmed.end() && known->second.offset_bytes == piece.offset_bytes &&
        known->second.length_bytes == piece.length_bytes && known->second.crc32c == crc32c) {
      ++found_;
      return {};
    }
    store::PieceRow row = {.number = piece.number,
                           .offset_bytes = piece.offset_bytes,
                           .length_bytes = piece.length_bytes,
                           .crc32c = crc32c,
                           .etag = "",
                           .confirmed = {}};
    VMFERRY_ASSIGN_OR_RETURN(const bool there, IsThere(piece, crc32c, context));
    if (there) {
      ++found_;
    } else {
      VMFERRY_ASSIGN_OR_RETURN(row.etag, target_.Put(piece, made.bytes.bytes(), crc32c, context));
      ++sent_;
      sent_bytes_ += piece.length_bytes;
    }
    row.confirmed = clock_.WallNow();
    return journal_.store.ConfirmPieces(journal_.migration_id, journal_.disk, std::span(&row, 1));
  }

  void Report(const EncodeProgress& encoded) {
    progress_.done_bytes = encoded.guest_bytes;
    progress_.done_pieces = past_.cursors.size() + found_ + sent_;
    on_progress_(progress_);
  }

  SendOutcome Outcome() const {
    return {.sent_pieces = sent_,
            .sent_bytes = sent_bytes_,
            .found_pieces = found_,
            .skipped_pieces = past_.cursors.size()};
  }

 private:
  /// Accepted by the target in an earlier run that did not live to record it.
  Result<bool> IsThere(const Piece& piece, std::uint32_t crc32c, const OpContext& context) {
    const auto held = past_.held.find(piece.number);
    if (held == past_.held.end() || held->second != piece.length_bytes) return false;
    return target_.Holds(piece, crc32c, context);
  }

  const PieceJournal& journal_;
  Target& target_;
  sys::Clock& clock_;
  const Past past_;
  const std::function<void(const SendProgress&)>& on_progress_;
  std::atomic<std::uint64_t> sent_ = 0;
  std::atomic<std::uint64_t> sent_bytes_ = 0;
  std::atomic<std::uint64_t> found_ = 0;
  SendProgress progress_;  ///< of the pipeline's progress calls, which come one at a time
};

}  // namespace

Result<std::uint64_t> EncodedPieceBytes(std::uint64_t bound_bytes) {
  const std::uint64_t wanted = DivCeil(DivCeil(bound_bytes, kPartCountMax), kMiB) * kMiB;
  const std::uint64_t piece_bytes = std::max(kPartBytesMin, wanted);
  if (piece_bytes <= kPartBytesMax) return piece_bytes;
  return Error(ErrorCode::kUnimplemented, "transfer.too_large",
               fmt::format("the disk holds {}, more than {} parts of {} can carry",
                           FormatSize(bound_bytes), kPartCountMax, FormatSize(kPartBytesMax)));
}

Result<SendOutcome> SendEncoded(const image::DiskImage& disk, image::Encoder& encoder,
                                const PieceJournal& journal, bool resuming, Target& target,
                                const std::function<void(const SendProgress&)>& on_progress,
                                sys::Clock& clock, const SendEncodedOptions& options,
                                const OpContext& context) {
  VMFERRY_CHECK(encoder.Info().restarts && !encoder.Info().rewrites);
  VMFERRY_ASSIGN_OR_RETURN(Past past, FindPast(journal, resuming, target, context));
  EncodeOptions encode = {.part_bytes = kPartBytes, .piece_bytes = options.piece_bytes};
  encode.cursors = past.cursors;
  const std::uint64_t each_bytes = options.piece_bytes + kPieceSlackBytes + 3 * kPartBytes;
  encode.threads = static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(options.memory_bytes / each_bytes, 1, options.parallel));
  Sender sender(journal, target, clock, std::move(past), disk.SizeBytes(), on_progress);
  VMFERRY_ASSIGN_OR_RETURN(
      const EncodeOutcome outcome,
      EncodeDisk(
          disk, encoder, encode,
          [&sender](EncodedPiece& piece, const OpContext& op) { return sender.Take(piece, op); },
          [&sender](const EncodeProgress& progress) { sender.Report(progress); }, context));
  // An earlier run may have cut more pieces than this one.
  VMFERRY_RETURN_IF_ERROR(
      journal.store.DropPieces(journal.migration_id, journal.disk, outcome.pieces));
  return sender.Outcome();
}

}  // namespace vmferry::transfer
