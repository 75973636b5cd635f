// SPDX-License-Identifier: Apache-2.0
#include "transfer/encode.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <map>
#include <mutex>
#include <utility>

#include "base/units.h"
#include "io/task_group.h"
#include "transfer/part_cutter.h"
#include "transfer/piece_assembler.h"

namespace vmferry::transfer {
namespace {

Error Stopped() {
  return Error(ErrorCode::kCancelled, "transfer.stopped", "the transfer was stopped");
}

class Pipeline {
 public:
  Pipeline(const image::DiskImage& disk, image::Encoder& encoder, const EncodeOptions& options,
           const TakePiece& take, const std::function<void(const EncodeProgress&)>& on_progress,
           const image::EncoderCursor& begin)
      : disk_(disk),
        encoder_(encoder),
        take_(take),
        on_progress_(on_progress),
        cutter_(disk, encoder.Info().unit_bytes,
                DivCeil(options.part_bytes, encoder.Info().unit_bytes) * encoder.Info().unit_bytes,
                begin.guest_offset_bytes),
        assembler_(options.piece_bytes, begin, options.cursors.size()) {}

  Result<EncodeOutcome> Run(const EncodeOptions& options, const OpContext& context) {
    if (options.cursors.empty()) VMFERRY_RETURN_IF_ERROR(encoder_.Begin(assembler_));
    io::TaskGroup group(context.stop);
    for (std::uint32_t i = 0; i < std::max(options.threads, 1U); ++i) {
      group.Start([this, &context](std::stop_token stop) {
        return Work({context.deadline, std::move(stop)});
      });
    }
    VMFERRY_RETURN_IF_ERROR(group.Wait());
    if (context.stop.stop_requested()) return Stopped();
    VMFERRY_RETURN_IF_ERROR(encoder_.Finish(assembler_));
    assembler_.End();
    for (EncodedPiece& piece : assembler_.TakeComplete()) {
      VMFERRY_RETURN_IF_ERROR(take_(piece, context));
    }
    for (EncodedPiece& piece : assembler_.TakeRewrites()) {
      VMFERRY_RETURN_IF_ERROR(take_(piece, context));
    }
    const EncodeOutcome outcome = {.output_bytes = assembler_.OffsetBytes(),
                                   .pieces = assembler_.next_number()};
    on_progress_({disk_.SizeBytes(), disk_.SizeBytes()});
    return outcome;
  }

 private:
  struct Ticket {
    std::uint64_t number = 0;
    image::GuestPart part;
  };

  Result<void> Work(const OpContext& context) {
    const std::unique_ptr<image::EncoderWorker> worker = encoder_.MakeWorker(disk_);
    io::Buffer spare;
    while (!context.stop.stop_requested()) {
      VMFERRY_ASSIGN_OR_RETURN(std::optional<Ticket> ticket, NextTicket());
      if (!ticket) return {};
      VMFERRY_ASSIGN_OR_RETURN(image::EncodedPart part,
                               worker->Encode(ticket->part, std::move(spare)));
      VMFERRY_ASSIGN_OR_RETURN(auto pieces, Place(ticket->number, part, context));
      spare = std::move(part.bytes);
      for (EncodedPiece& piece : pieces) {
        VMFERRY_RETURN_IF_ERROR(take_(piece, context));
        if (spare.capacity() == 0) {
          spare = std::move(piece.bytes);
        } else {
          const std::lock_guard lock(place_mutex_);
          assembler_.Recycle(std::move(piece.bytes));
        }
      }
      Report(*ticket);
    }
    return {};
  }

  Result<std::optional<Ticket>> NextTicket() {
    const std::lock_guard lock(cut_mutex_);
    VMFERRY_ASSIGN_OR_RETURN(std::optional<image::GuestPart> part, cutter_.Next());
    if (!part) return std::optional<Ticket>();
    Ticket ticket = {.number = next_ticket_++, .part = *std::move(part)};
    return std::optional(std::move(ticket));
  }

  /// Waits until all parts in front of this one were placed.
  Result<std::vector<EncodedPiece>> Place(std::uint64_t number, image::EncodedPart& part,
                                          const OpContext& context) {
    std::unique_lock lock(place_mutex_);
    if (!turn_.wait(lock, context.stop, [&] { return placed_ == number; })) return Stopped();
    auto placed = encoder_.Place(part, assembler_);
    if (!placed) return std::move(placed).error();
    // An encoder that cannot go on from a cursor does not say where pieces may end: anywhere.
    // So nothing waits for the next part, and a buffer that was handed over whole is never copied.
    if (!encoder_.Info().restarts && !assembler_.PieceIsEmpty()) {
      VMFERRY_RETURN_IF_ERROR(
          assembler_.EndPiece({.guest_offset_bytes = part.offset_bytes + part.length_bytes,
                               .output_offset_bytes = assembler_.OffsetBytes(),
                               .state = {}}));
    }
    ++placed_;
    std::vector<EncodedPiece> pieces = assembler_.TakeComplete();
    lock.unlock();
    turn_.notify_all();
    return pieces;
  }

  /// What counts is the end of the finished parts without a gap.
  void Report(const Ticket& ticket) {
    const std::lock_guard lock(progress_mutex_);
    finished_[ticket.number] = ticket.part.offset_bytes + ticket.part.length_bytes;
    while (!finished_.empty() && finished_.begin()->first == reported_) {
      progress_.guest_bytes = finished_.begin()->second;
      finished_.erase(finished_.begin());
      ++reported_;
    }
    progress_.total_bytes = disk_.SizeBytes();
    on_progress_(progress_);
  }

  const image::DiskImage& disk_;
  image::Encoder& encoder_;
  const TakePiece& take_;
  const std::function<void(const EncodeProgress&)>& on_progress_;

  std::mutex cut_mutex_;  // guards cutter_ and next_ticket_
  PartCutter cutter_;
  std::uint64_t next_ticket_ = 0;

  std::mutex place_mutex_;  // guards encoder_ (but for workers), assembler_ and placed_
  std::condition_variable_any turn_;
  PieceAssembler assembler_;
  std::uint64_t placed_ = 0;

  std::mutex progress_mutex_;  // held over the callback so that its calls come one at a time
  std::map<std::uint64_t, std::uint64_t> finished_;
  std::uint64_t reported_ = 0;
  EncodeProgress progress_;
};

}  // namespace

Result<EncodeOutcome> EncodeDisk(const image::DiskImage& disk, image::Encoder& encoder,
                                 const EncodeOptions& options, const TakePiece& take,
                                 const std::function<void(const EncodeProgress&)>& on_progress,
                                 const OpContext& context) {
  for (const image::EncoderCursor& cursor : options.cursors) {
    VMFERRY_RETURN_IF_ERROR(encoder.Restore(cursor));
  }
  const image::EncoderCursor begin =
      options.cursors.empty() ? image::EncoderCursor{} : options.cursors.back();
  Pipeline pipeline(disk, encoder, options, take, on_progress, begin);
  return pipeline.Run(options, context);
}

}  // namespace vmferry::transfer
