// SPDX-License-Identifier: Apache-2.0
//
// Quota: how many requests a second an account, and each snapshot, may make of each kind. Off
// unless the region was started with --quotas.
//
// A bucket of tokens for each: as large as one second's worth, refilled evenly.
//
// Thread safety: all methods, from any thread.
// Source: Amazon EBS user guide, "Quotas for the EBS direct APIs" (aws-reference, section 3.4).

#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "base/mutex.h"
#include "region/core/service.h"
#include "sys/clock.h"

namespace vmferry::region::ebs {

class Quota {
 public:
  Quota(const sys::Clock& clock, bool enabled) : clock_(clock), enabled_(enabled) {}

  /// Nothing when the request may pass; else the answer: RequestThrottledException with
  /// ACCOUNT_THROTTLED or RESOURCE_LEVEL_THROTTLE.
  std::optional<Answer> Take(std::string_view operation, std::string_view snapshot_id);

 private:
  struct Bucket {
    double tokens = 0;
    MonotonicTime filled;
  };

  bool TakeFrom(const std::string& name, double per_second) VMFERRY_REQUIRES(mutex_);

  const sys::Clock& clock_;
  const bool enabled_;
  Mutex mutex_;
  std::map<std::string, Bucket> buckets_ VMFERRY_GUARDED_BY(mutex_);  // at most kBucketsMax
};

}  // namespace vmferry::region::ebs
