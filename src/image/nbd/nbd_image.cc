// SPDX-License-Identifier: Apache-2.0
#include "image/nbd/nbd_image.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/units.h"
#include "image/extent_list.h"
#include "image/nbd/uri.h"

namespace vmferry::image::nbd {
namespace {

/// NBD protocol, "NBD_FLAG_CAN_MULTI_CONN"; four saturate what a client here does with the data.
constexpr std::size_t kMaxConnections = 4;
/// Runs taken from the server for one answer of Extents. What lies behind is called data, which is
/// always true, so that a server that counts single sectors does not fill memory.
constexpr std::size_t kMaxRuns = std::size_t{1} << 20;

/// The open connections to one export: threads borrow one at a time.
class Pool {
 public:
  /// Errors: those of Connection::Open.
  static Result<std::unique_ptr<Pool>> Open(Uri uri, const Patience& patience) {
    std::unique_ptr<Pool> pool(new Pool(std::move(uri), patience));
    VMFERRY_ASSIGN_OR_RETURN(auto first,
                             Connection::Open(pool->uri_, pool->patience_, pool->clock_));
    pool->facts_ = first->Facts();
    MutexLock lock(pool->mutex_);
    pool->limit_ = pool->facts_.multi_conn ? kMaxConnections : 1;
    pool->idle_.push_back(std::move(first));
    return pool;
  }

  const ExportFacts& Facts() const { return facts_; }

  /// Runs `work(Connection&)`. When the connection breaks on the way, once more on a new one:
  /// reading is idempotent.
  template <typename Work>
  auto Run(const Work& work) -> decltype(work(std::declval<Connection&>())) {
    VMFERRY_ASSIGN_OR_RETURN(std::unique_ptr<Connection> connection, Borrow());
    auto outcome = work(*connection);
    if (outcome) {
      Return(std::move(connection));
      return outcome;
    }
    connection.reset();
    if (outcome.error().retry() != Retry::kTransient) {
      Return(nullptr);
      return outcome;
    }
    auto anew = Connect();
    if (!anew) {
      Return(nullptr);
      return std::move(anew).error().CausedBy(std::move(outcome).error());
    }
    outcome = work(**anew);
    Return(outcome ? *std::move(anew) : nullptr);
    return outcome;
  }

 private:
  Pool(Uri uri, const Patience& patience) : uri_(std::move(uri)), patience_(patience) {}

  /// An idle connection, a new one while there are few, or the next that is given back: each
  /// request ends by its deadline, so the wait does, too.
  Result<std::unique_ptr<Connection>> Borrow() VMFERRY_EXCLUDES(mutex_) {
    while (true) {
      {
        MutexLock lock(mutex_);
        while (idle_.empty() && borrowed_ >= limit_) returned_.wait(mutex_);
        ++borrowed_;
        if (!idle_.empty()) {
          auto connection = std::move(idle_.back());
          idle_.pop_back();
          return connection;
        }
      }
      auto connection = Connect();
      if (connection) return connection;
      MutexLock lock(mutex_);
      --borrowed_;
      // A server may promise several connections and still allow fewer.
      const std::size_t others = borrowed_ + idle_.size();
      if (others == 0) return connection;
      limit_ = others;
    }
  }

  /// Gives a connection back; nullptr: it broke.
  void Return(std::unique_ptr<Connection> connection) VMFERRY_EXCLUDES(mutex_) {
    {
      MutexLock lock(mutex_);
      --borrowed_;
      if (connection) idle_.push_back(std::move(connection));
    }
    returned_.notify_one();
  }

  Result<std::unique_ptr<Connection>> Connect() {
    VMFERRY_ASSIGN_OR_RETURN(auto connection, Connection::Open(uri_, patience_, clock_));
    if (connection->Facts() == facts_) return connection;
    return Error(ErrorCode::kFailedPrecondition, "nbd.changed",
                 fmt::format("the export has {} bytes and had {} when it was opened, or its block "
                             "sizes changed",
                             connection->Facts().size_bytes, facts_.size_bytes))
        .WithRemedy("begin anew when nothing changes the disk any more");
  }

  const Uri uri_;
  const Patience patience_;
  ExportFacts facts_;  ///< fixed once the first connection is made
  sys::SystemClock clock_;
  Mutex mutex_;
  std::condition_variable_any returned_;
  std::size_t limit_ VMFERRY_GUARDED_BY(mutex_) = 1;
  std::size_t borrowed_ VMFERRY_GUARDED_BY(mutex_) = 0;
  /// The last one returned is taken first: one thread uses one connection.
  std::vector<std::unique_ptr<Connection>> idle_ VMFERRY_GUARDED_BY(mutex_);
};

class NbdImage final : public DiskImage {
 public:
  NbdImage(std::unique_ptr<Pool> pool, DiskImageInfo info)
      : pool_(std::move(pool)), info_(std::move(info)) {}

  std::uint64_t SizeBytes() const override { return pool_->Facts().size_bytes; }

  Result<void> Read(std::uint64_t offset_bytes, std::span<std::byte> out) const override;
  Result<std::vector<Extent>> Extents(std::uint64_t offset_bytes,
                                      std::uint64_t length_bytes) const override;
  const DiskImageInfo& Info() const override { return info_; }

 private:
  std::uint64_t RoundDown(std::uint64_t offset_bytes) const {
    return offset_bytes - offset_bytes % pool_->Facts().minimum_block_bytes;
  }
  /// Up to a block, but not past the end of an export of odd size.
  std::uint64_t RoundUp(std::uint64_t offset_bytes) const {
    const std::uint64_t block_bytes = pool_->Facts().minimum_block_bytes;
    const std::uint64_t over_bytes = offset_bytes % block_bytes;
    if (over_bytes == 0 || SizeBytes() - offset_bytes < block_bytes - over_bytes) {
      return over_bytes == 0 ? offset_bytes : SizeBytes();
    }
    return offset_bytes + block_bytes - over_bytes;
  }
  /// Reads the one block that a range touches only in part.
  Result<void> ReadInside(Connection& connection, std::uint64_t offset_bytes,
                          std::span<std::byte> out) const;
  Result<void> ReadOver(Connection& connection, std::uint64_t offset_bytes,
                        std::span<std::byte> out) const;

  const std::unique_ptr<Pool> pool_;
  const DiskImageInfo info_;
};

Result<void> NbdImage::ReadInside(Connection& connection, std::uint64_t offset_bytes,
                                  std::span<std::byte> out) const {
  const std::uint64_t begin_bytes = RoundDown(offset_bytes);
  std::vector<std::byte> block(
      static_cast<std::size_t>(RoundUp(offset_bytes + out.size()) - begin_bytes));
  VMFERRY_RETURN_IF_ERROR(connection.Read(begin_bytes, block));
  std::memcpy(out.data(), block.data() + (offset_bytes - begin_bytes), out.size());
  return {};
}

Result<void> NbdImage::ReadOver(Connection& connection, std::uint64_t offset_bytes,
                                std::span<std::byte> out) const {
  const std::uint64_t block_bytes = pool_->Facts().minimum_block_bytes;
  if (const std::uint64_t over_bytes = offset_bytes % block_bytes; over_bytes != 0) {
    const auto head =
        static_cast<std::size_t>(std::min<std::uint64_t>(block_bytes - over_bytes, out.size()));
    VMFERRY_RETURN_IF_ERROR(ReadInside(connection, offset_bytes, out.first(head)));
    out = out.subspan(head);
    offset_bytes += head;
  }
  const std::uint64_t end_bytes = offset_bytes + out.size();
  const std::uint64_t whole_end_bytes = end_bytes == SizeBytes() ? end_bytes : RoundDown(end_bytes);
  if (!out.empty() && whole_end_bytes > offset_bytes) {
    const auto whole = static_cast<std::size_t>(whole_end_bytes - offset_bytes);
    VMFERRY_RETURN_IF_ERROR(connection.Read(offset_bytes, out.first(whole)));
    out = out.subspan(whole);
    offset_bytes += whole;
  }
  return out.empty() ? Result<void>() : ReadInside(connection, offset_bytes, out);
}

Result<void> NbdImage::Read(std::uint64_t offset_bytes, std::span<std::byte> out) const {
  VMFERRY_RETURN_IF_ERROR(CheckRange(SizeBytes(), offset_bytes, out.size()));
  if (out.empty()) return {};
  return pool_->Run(
      [&](Connection& connection) { return ReadOver(connection, offset_bytes, out); });
}

Result<std::vector<Extent>> NbdImage::Extents(std::uint64_t offset_bytes,
                                              std::uint64_t length_bytes) const {
  VMFERRY_RETURN_IF_ERROR(CheckRange(SizeBytes(), offset_bytes, length_bytes));
  std::vector<Extent> extents;
  const std::uint64_t end_bytes = offset_bytes + length_bytes;
  std::size_t runs = 0;
  while (offset_bytes < end_bytes && extents.size() < kExtentsMax) {
    if (!pool_->Facts().has_allocation || runs >= kMaxRuns) {
      AppendExtent(extents, {.offset_bytes = offset_bytes,
                             .length_bytes = end_bytes - offset_bytes,
                             .kind = ExtentKind::kData});
      break;
    }
    const std::uint64_t begin_bytes = RoundDown(offset_bytes);
    const std::uint64_t stop_bytes =
        RoundUp(std::min(end_bytes, begin_bytes + kMaxStatusBytes / 2));
    VMFERRY_ASSIGN_OR_RETURN(const auto answer, pool_->Run([&](Connection& connection) {
      return connection.BlockStatus(begin_bytes, stop_bytes - begin_bytes);
    }));
    const std::uint64_t before_bytes = offset_bytes;
    for (const Extent& run : answer) {
      ++runs;
      const std::uint64_t run_end_bytes = std::min(run.offset_bytes + run.length_bytes, end_bytes);
      if (run_end_bytes <= offset_bytes) continue;
      AppendExtent(extents, {.offset_bytes = offset_bytes,
                             .length_bytes = run_end_bytes - offset_bytes,
                             .kind = run.kind});
      offset_bytes = run_end_bytes;
    }
    if (offset_bytes > before_bytes) continue;
    return Error(ErrorCode::kDataLoss, "nbd.extents",
                 "the NBD server's extents end inside its smallest block")
        .With("offset_bytes", offset_bytes);
  }
  return extents;
}

DiskImageInfo Describe(const Uri& uri, const ExportFacts& facts) {
  DiskImageInfo info = {.format = "nbd", .virtual_size_bytes = facts.size_bytes};
  info.details.emplace_back("export", uri.export_name.empty() ? "(the default)" : uri.export_name);
  info.details.emplace_back("smallest request", FormatSize(facts.minimum_block_bytes));
  info.details.emplace_back("largest request", facts.maximum_block_bytes == 0
                                                   ? "not stated"
                                                   : FormatSize(facts.maximum_block_bytes));
  info.details.emplace_back("several connections", facts.multi_conn ? "yes" : "no");
  info.details.emplace_back("extents", facts.has_allocation ? "base:allocation" : "no");
  info.details.emplace_back("TLS", facts.tls ? "yes" : "no");
  if (facts.size_bytes % kSectorBytes != 0) {
    info.defects.push_back(
        fmt::format("its size of {} bytes is not a whole number of sectors", facts.size_bytes));
  }
  return info;
}

}  // namespace

Result<std::unique_ptr<DiskImage>> Open(std::string_view text, const Patience& patience) {
  VMFERRY_ASSIGN_OR_RETURN(const Uri uri, ParseUri(text));
  VMFERRY_ASSIGN_OR_RETURN(auto pool, Pool::Open(uri, patience));
  const ExportFacts& facts = pool->Facts();
  if (facts.size_bytes == 0) {
    return Error(ErrorCode::kInvalidArgument, "image.empty", "the NBD export has no bytes")
        .WithRemedy("check that the server exports the right disk");
  }
  if (facts.size_bytes < kSectorBytes) {
    return Error(ErrorCode::kInvalidArgument, "image.too_small",
                 fmt::format("{} bytes are less than one sector of a disk", facts.size_bytes))
        .WithRemedy("check that the server exports the right disk");
  }
  DiskImageInfo info = Describe(uri, facts);
  return std::unique_ptr<DiskImage>(std::make_unique<NbdImage>(std::move(pool), std::move(info)));
}

}  // namespace vmferry::image::nbd
