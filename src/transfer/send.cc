// SPDX-License-Identifier: Apache-2.0
#include "transfer/send.h"

#include <algorithm>
#include <atomic>
#include <map>
#include <set>

#include "codec/digest.h"
#include "io/bounded_queue.h"
#include "io/task_group.h"

namespace vmferry::transfer {
namespace {

// What one run has to do, after the target was asked what it holds.
struct Work {
  std::vector<Piece> pieces;
  std::set<std::uint64_t> perhaps_held;  ///< of `pieces`: there with the right length, unrecorded
  SendProgress progress;
  std::uint64_t skipped_pieces = 0;
};

Result<Work> PlanWork(const PiecePlan& plan, const std::vector<store::PieceRow>& recorded,
                      bool resuming, Target& target, const OpContext& context) {
  std::map<std::uint64_t, std::uint64_t> held;
  if (resuming) {
    VMFERRY_ASSIGN_OR_RETURN(const std::vector<HeldPiece> list, target.Held(context));
    for (const HeldPiece& piece : list) held[piece.number] = piece.length_bytes;
  }
  std::set<std::uint64_t> recorded_numbers;
  for (const store::PieceRow& row : recorded) recorded_numbers.insert(row.number);

  Work work;
  work.progress.total_bytes = plan.stored_bytes();
  work.progress.total_pieces = plan.count();
  for (std::uint64_t number = 0; number < plan.count(); ++number) {
    const Piece piece = plan.At(number);
    const auto there = held.find(number);
    const bool is_there = there != held.end() && there->second == piece.length_bytes;
    if (recorded_numbers.contains(number) && (is_there || !resuming)) {
      work.progress.done_bytes += piece.length_bytes;
      work.progress.done_pieces += 1;
      work.skipped_pieces += 1;
      continue;
    }
    if (is_there) work.perhaps_held.insert(number);
    work.pieces.push_back(piece);
  }
  return work;
}

}  // namespace

Result<SendOutcome> SendPieces(const sys::File& source, const PiecePlan& plan,
                               std::vector<store::PieceRow> recorded, bool resuming, Target& target,
                               const RecordPieces& record,
                               const std::function<void(const SendProgress&)>& on_progress,
                               sys::Clock& clock, const SendOptions& options,
                               const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(Work work, PlanWork(plan, recorded, resuming, target, context));
  on_progress(work.progress);
  const std::uint64_t affordable =
      std::max<std::uint64_t>(1, options.memory_bytes / plan.part_bytes());
  const std::uint64_t workers =
      std::min({std::uint64_t{options.parallel}, affordable, std::uint64_t{work.pieces.size()}});

  std::atomic<std::size_t> next = 0;  // relaxed: only hands out indexes
  std::atomic<std::uint64_t> sent_pieces = 0;
  std::atomic<std::uint64_t> sent_bytes = 0;
  std::atomic<std::uint64_t> found_pieces = 0;
  std::atomic<std::uint64_t> running = workers;
  io::BoundedQueue<store::PieceRow> accepted(1024);

  const auto send_one = [&](const Piece& piece, std::span<std::byte> buffer,
                            const OpContext& worker_context) -> Result<store::PieceRow> {
    const std::span<std::byte> data = buffer.first(piece.length_bytes);
    VMFERRY_RETURN_IF_ERROR(source.ReadAt(piece.offset_bytes, data));
    const std::uint32_t crc32c = codec::Crc32c(data);
    store::PieceRow row{.number = piece.number,
                        .offset_bytes = piece.offset_bytes,
                        .length_bytes = piece.length_bytes,
                        .crc32c = crc32c,
                        .etag = "",
                        .confirmed = {}};
    if (work.perhaps_held.contains(piece.number)) {
      VMFERRY_ASSIGN_OR_RETURN(const bool holds, target.Holds(piece, crc32c, worker_context));
      if (holds) {
        found_pieces.fetch_add(1, std::memory_order_relaxed);
        return row;
      }
    }
    VMFERRY_ASSIGN_OR_RETURN(row.etag, target.Put(piece, data, crc32c, worker_context));
    sent_pieces.fetch_add(1, std::memory_order_relaxed);
    sent_bytes.fetch_add(piece.length_bytes, std::memory_order_relaxed);
    return row;
  };

  io::TaskGroup group(context.stop);
  for (std::uint64_t worker = 0; worker < workers; ++worker) {
    group.Start([&](std::stop_token stop) -> Result<void> {
      std::vector<std::byte> buffer(std::min(plan.part_bytes(), plan.stored_bytes()));
      Result<void> outcome;
      while (!stop.stop_requested()) {
        const std::size_t index = next.fetch_add(1, std::memory_order_relaxed);
        if (index >= work.pieces.size()) break;
        auto row = send_one(work.pieces[index], buffer, {context.deadline, stop});
        if (!row) {
          outcome = std::move(row).error();
          break;
        }
        row->confirmed = clock.WallNow();
        // Accepted pieces are recorded even after a stop: the recorder outlives the workers.
        accepted.Push(*std::move(row), {});
      }
      if (running.fetch_sub(1) == 1) accepted.Close();
      return outcome;
    });
  }
  if (workers == 0) accepted.Close();

  // The recorder is this thread: it ends when the last worker has closed the queue.
  Result<void> recorded_all;
  while (auto first = accepted.Pop({})) {
    std::vector<store::PieceRow> batch;
    batch.push_back(*std::move(first));
    while (auto more = accepted.TryPop()) batch.push_back(*std::move(more));
    if (!recorded_all) continue;  // drain, so that no worker waits for room
    recorded_all = record(batch);
    if (!recorded_all) {
      group.RequestStop();
      continue;
    }
    for (const store::PieceRow& row : batch) work.progress.done_bytes += row.length_bytes;
    work.progress.done_pieces += batch.size();
    on_progress(work.progress);
  }
  VMFERRY_RETURN_IF_ERROR(std::move(recorded_all));
  VMFERRY_RETURN_IF_ERROR(group.Wait());
  if (context.stop.stop_requested()) {
    return Error(ErrorCode::kCancelled, "transfer.stopped", "the transfer was stopped");
  }
  return SendOutcome{.sent_pieces = sent_pieces,
                     .sent_bytes = sent_bytes,
                     .found_pieces = found_pieces,
                     .skipped_pieces = work.skipped_pieces};
}

}  // namespace vmferry::transfer
