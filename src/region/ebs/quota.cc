// SPDX-License-Identifier: Apache-2.0
#include "region/ebs/quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "region/ebs/answers.h"

namespace vmferry::region::ebs {
namespace {

struct Rate {
  std::string_view operation;
  double account_per_second;
  double snapshot_per_second;  // 0: none
};

constexpr std::array kRates = {
    Rate{"PutSnapshotBlock", 1000, 1000}, Rate{"GetSnapshotBlock", 1000, 1000},
    Rate{"ListSnapshotBlocks", 50, 0},    Rate{"ListChangedBlocks", 50, 0},
    Rate{"StartSnapshot", 10, 0},         Rate{"CompleteSnapshot", 10, 0},
};

// Snapshots written or read within a second are far fewer; full buckets are forgotten first.
constexpr std::size_t kBucketsMax = 4096;

}  // namespace

bool Quota::TakeFrom(const std::string& name, double per_second) {
  const MonotonicTime now = clock_.MonotonicNow();
  if (buckets_.size() >= kBucketsMax) {
    std::erase_if(buckets_, [&](const auto& item) {
      return now - item.second.filled > std::chrono::seconds(1);
    });
  }
  const auto [found, added] = buckets_.try_emplace(name, Bucket{per_second, now});
  Bucket& bucket = found->second;
  const double passed = std::chrono::duration<double>(now - bucket.filled).count();
  bucket.tokens = std::min(per_second, bucket.tokens + passed * per_second);
  bucket.filled = now;
  if (bucket.tokens < 1) return false;
  bucket.tokens -= 1;
  return true;
}

std::optional<Answer> Quota::Take(std::string_view operation, std::string_view snapshot_id) {
  if (!enabled_) return std::nullopt;
  const auto rate =
      std::ranges::find_if(kRates, [&](const Rate& each) { return each.operation == operation; });
  if (rate == kRates.end()) return std::nullopt;
  const MutexLock lock(mutex_);
  if (!TakeFrom(std::string(operation), rate->account_per_second)) {
    return Refusal(400, "RequestThrottledException", "ACCOUNT_THROTTLED",
                   fmt::format("The account made too many {} requests.", operation));
  }
  if (rate->snapshot_per_second > 0 &&
      !TakeFrom(fmt::format("{} {}", operation, snapshot_id), rate->snapshot_per_second)) {
    return Refusal(400, "RequestThrottledException", "RESOURCE_LEVEL_THROTTLE",
                   fmt::format("Too many {} requests for {}.", operation, snapshot_id));
  }
  return std::nullopt;
}

}  // namespace vmferry::region::ebs
