// SPDX-License-Identifier: Apache-2.0
#include "proof/compare_disks.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <span>
#include <utility>

#include "base/mutex.h"
#include "base/units.h"
#include "codec/zero.h"
#include "image/extent_walk.h"
#include "io/bounded_queue.h"
#include "io/buffer.h"
#include "io/task_group.h"

namespace vmferry::proof {
namespace {

using image::DiskImage;
using image::Extent;
using image::ExtentKind;

/// What is read at once: small enough for a core's cache, both sides together, and large enough
/// for a compressed disk to pay its cost per read.
constexpr std::uint64_t kPieceBytes = 512 * kKiB;
/// What one thread takes at a time.
constexpr std::uint64_t kJobBytes = 8 * kPieceBytes;
constexpr std::size_t kMaxPieces = 1024;
/// Differences are looked for in steps of this.
constexpr std::size_t kStepBytes = 4096;

Error Stopped() {
  return Error(ErrorCode::kCancelled, "proof.stopped", "the comparison was asked to stop");
}

/// A run of bytes that are of one kind on each side.
struct Stretch {
  std::uint64_t offset_bytes = 0;
  std::uint64_t length_bytes = 0;
  ExtentKind kind_a = ExtentKind::kHole;
  ExtentKind kind_b = ExtentKind::kHole;
};

/// One disk's extents, as if it were a hole behind its end.
class Side {
 public:
  Side(const DiskImage& disk, const std::string& name) : walk_(disk), name_(name) {}

  /// The extent that holds `offset_bytes`, which only grows; nothing behind the end.
  Result<std::optional<Extent>> At(std::uint64_t offset_bytes) {
    while (!ended_ && (!extent_ || extent_->offset_bytes + extent_->length_bytes <= offset_bytes)) {
      auto next = walk_.Next();
      if (!next) return std::move(next).error().With("path", name_);
      extent_ = *next;
      ended_ = !extent_.has_value();
    }
    return extent_;
  }

 private:
  image::ExtentWalk walk_;
  const std::string& name_;
  std::optional<Extent> extent_;
  bool ended_ = false;
};

/// Bytes that must be looked at; at most kPieceBytes.
struct Piece {
  std::uint64_t offset_bytes = 0;
  std::size_t length_bytes = 0;
  bool read_a = false;
  bool read_b = false;
};

struct Job {
  std::uint64_t number = 0;
  std::uint64_t end_bytes = 0;  // all up to here is in this job or in one before, or equal
  std::vector<Piece> pieces;
};

/// What one job found.
struct Findings {
  std::uint64_t end_bytes = 0;
  std::uint64_t compared_bytes = 0;
  std::uint64_t differing_bytes = 0;
  std::uint64_t last_difference_bytes = 0;
  std::vector<DifferingRange> ranges;
  bool ranges_complete = true;
};

void FindDifferences(std::span<const std::byte> a, std::span<const std::byte> b,
                     std::uint64_t offset_bytes, Findings& findings) {
  for (std::size_t at = 0; at < a.size(); at += kStepBytes) {
    const std::size_t step = std::min(kStepBytes, a.size() - at);
    const auto step_a = a.subspan(at, step);
    const auto step_b = b.subspan(at, step);
    if (std::memcmp(step_a.data(), step_b.data(), step) == 0) continue;
    for (std::size_t i = 0; i < step; ++i) {
      if (step_a[i] == step_b[i]) continue;
      ++findings.differing_bytes;
      findings.last_difference_bytes = offset_bytes + at + i;
    }
    if (!findings.ranges_complete) continue;
    findings.ranges_complete =
        AppendDifferences(step_a, step_b, offset_bytes + at, kMaxDifferingRanges, findings.ranges);
  }
}

class DiskComparer {
 public:
  DiskComparer(const DiskImage& a, const DiskImage& b, const CompareDisksOptions& options)
      : a_(a),
        b_(b),
        options_(options),
        size_bytes_(std::max(a.SizeBytes(), b.SizeBytes())),
        shorter_bytes_(std::min(a.SizeBytes(), b.SizeBytes())),
        jobs_(std::size_t{2} * std::max(options.threads, 1U)) {
    result_.size_a_bytes = a.SizeBytes();
    result_.size_b_bytes = b.SizeBytes();
  }

  Result<DiskComparison> Run(const OpContext& context) {
    io::TaskGroup group(context.stop);
    for (unsigned i = 0; i < std::max(options_.threads, 1U); ++i) {
      group.Start([this](std::stop_token stop) { return Work(stop); });
    }
    const auto planned = Plan(group.stop_token());
    if (!planned) group.RequestStop();
    jobs_.Close();
    VMFERRY_RETURN_IF_ERROR(group.Wait());
    VMFERRY_RETURN_IF_ERROR(planned);
    if (context.stop.stop_requested()) return Stopped();
    MutexLock lock(mutex_);
    if (options_.progress) options_.progress(size_bytes_, size_bytes_);
    return std::move(result_);
  }

 private:
  /// Walks both disks side by side and hands out what must be read.
  Result<void> Plan(const std::stop_token& stop) {
    Side side_a(a_, options_.name_a);
    Side side_b(b_, options_.name_b);
    for (std::uint64_t offset_bytes = 0; offset_bytes < size_bytes_;) {
      if (stop.stop_requested()) return Stopped();
      VMFERRY_ASSIGN_OR_RETURN(const std::optional<Extent> a, side_a.At(offset_bytes));
      VMFERRY_ASSIGN_OR_RETURN(const std::optional<Extent> b, side_b.At(offset_bytes));
      std::uint64_t end_bytes = size_bytes_;
      if (a) end_bytes = std::min(end_bytes, a->offset_bytes + a->length_bytes);
      if (b) end_bytes = std::min(end_bytes, b->offset_bytes + b->length_bytes);
      VMFERRY_RETURN_IF_ERROR(PlanStretch({.offset_bytes = offset_bytes,
                                           .length_bytes = end_bytes - offset_bytes,
                                           .kind_a = a ? a->kind : ExtentKind::kHole,
                                           .kind_b = b ? b->kind : ExtentKind::kHole},
                                          stop));
      offset_bytes = end_bytes;
    }
    return Send(stop);
  }

  Result<void> PlanStretch(Stretch stretch, const std::stop_token& stop) {
    if (stretch.offset_bytes < shorter_bytes_ &&
        (stretch.kind_a == ExtentKind::kHole) != (stretch.kind_b == ExtentKind::kHole)) {
      MutexLock lock(mutex_);
      result_.differing_allocation_bytes += stretch.length_bytes;
      if (!result_.first_differing_allocation_bytes) {
        result_.first_differing_allocation_bytes = stretch.offset_bytes;
      }
    }
    const bool read_a = stretch.kind_a == ExtentKind::kData;
    const bool read_b = stretch.kind_b == ExtentKind::kData;
    while ((read_a || read_b) && stretch.length_bytes > 0) {
      // Pieces end at multiples of their size, so that they seldom cut what a format stores whole.
      const std::uint64_t length_bytes =
          std::min(stretch.length_bytes, kPieceBytes - stretch.offset_bytes % kPieceBytes);
      next_job_.pieces.push_back({.offset_bytes = stretch.offset_bytes,
                                  .length_bytes = static_cast<std::size_t>(length_bytes),
                                  .read_a = read_a,
                                  .read_b = read_b});
      next_job_bytes_ += length_bytes;
      stretch.offset_bytes += length_bytes;
      stretch.length_bytes -= length_bytes;
      next_job_.end_bytes = stretch.offset_bytes;
      if (next_job_bytes_ >= kJobBytes || next_job_.pieces.size() >= kMaxPieces) {
        VMFERRY_RETURN_IF_ERROR(Send(stop));
      }
    }
    return {};
  }

  Result<void> Send(const std::stop_token& stop) {
    if (next_job_.pieces.empty()) return {};
    const std::uint64_t next_number = next_job_.number + 1;
    if (!jobs_.Push(std::move(next_job_), stop)) return Stopped();
    next_job_ = Job{.number = next_number, .end_bytes = 0, .pieces = {}};
    next_job_bytes_ = 0;
    return {};
  }

  Result<void> Work(const std::stop_token& stop) {
    io::Buffer buffer_a(kPieceBytes);
    io::Buffer buffer_b(kPieceBytes);
    while (const std::optional<Job> job = jobs_.Pop(stop)) {
      Findings findings;
      findings.end_bytes = job->end_bytes;
      for (const Piece& piece : job->pieces) {
        if (stop.stop_requested()) return {};  // Run finds out why
        VMFERRY_RETURN_IF_ERROR(ComparePiece(piece, buffer_a.room().first(piece.length_bytes),
                                             buffer_b.room().first(piece.length_bytes), findings));
      }
      Collect(job->number, std::move(findings));
    }
    return {};
  }

  Result<void> ComparePiece(const Piece& piece, std::span<std::byte> bytes_a,
                            std::span<std::byte> bytes_b, Findings& findings) const {
    findings.compared_bytes += piece.length_bytes;
    if (piece.read_a) VMFERRY_RETURN_IF_ERROR(Read(a_, options_.name_a, piece, bytes_a));
    if (piece.read_b) VMFERRY_RETURN_IF_ERROR(Read(b_, options_.name_b, piece, bytes_b));
    if (piece.read_a && piece.read_b) {
      if (std::memcmp(bytes_a.data(), bytes_b.data(), bytes_a.size()) == 0) return {};
    } else {
      if (codec::IsZero(piece.read_a ? bytes_a : bytes_b)) return {};
      const std::span<std::byte> zeros = piece.read_a ? bytes_b : bytes_a;
      std::memset(zeros.data(), 0, zeros.size());
    }
    FindDifferences(bytes_a, bytes_b, piece.offset_bytes, findings);
    return {};
  }

  static Result<void> Read(const DiskImage& disk, const std::string& name, const Piece& piece,
                           std::span<std::byte> out) {
    auto read = disk.Read(piece.offset_bytes, out);
    if (read) return read;
    return std::move(read).error().With("path", name);
  }

  /// Takes findings in any order and adds them up in the order of the disk.
  void Collect(std::uint64_t number, Findings findings) {
    MutexLock lock(mutex_);
    pending_.emplace(number, std::move(findings));
    for (auto next = pending_.find(next_number_); next != pending_.end();
         next = pending_.find(next_number_)) {
      Add(next->second);
      if (options_.progress) options_.progress(next->second.end_bytes, size_bytes_);
      pending_.erase(next);
      ++next_number_;
    }
  }

  void Add(const Findings& findings) VMFERRY_REQUIRES(mutex_) {
    result_.compared_bytes += findings.compared_bytes;
    if (findings.differing_bytes == 0) return;
    result_.differing_bytes += findings.differing_bytes;
    result_.last_difference_bytes = findings.last_difference_bytes;
    for (const DifferingRange& range : findings.ranges) {
      if (!result_.ranges_complete) return;
      result_.ranges_complete = AppendDifference(result_.ranges, range, kMaxDifferingRanges);
    }
    result_.ranges_complete = result_.ranges_complete && findings.ranges_complete;
  }

  const DiskImage& a_;
  const DiskImage& b_;
  const CompareDisksOptions& options_;
  const std::uint64_t size_bytes_;
  const std::uint64_t shorter_bytes_;
  io::BoundedQueue<Job> jobs_;
  Job next_job_;                      // of the planning thread
  std::uint64_t next_job_bytes_ = 0;  // in its pieces
  Mutex mutex_;                       // held over the progress callback: its calls come one by one
  DiskComparison result_ VMFERRY_GUARDED_BY(mutex_);
  std::map<std::uint64_t, Findings> pending_ VMFERRY_GUARDED_BY(mutex_);
  std::uint64_t next_number_ VMFERRY_GUARDED_BY(mutex_) = 0;
};

}  // namespace

Result<DiskComparison> CompareDisks(const DiskImage& a, const DiskImage& b,
                                    const CompareDisksOptions& options, const OpContext& context) {
  return DiskComparer(a, b, options).Run(context);
}

}  // namespace vmferry::proof
