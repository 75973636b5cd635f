// SPDX-License-Identifier: Apache-2.0
//
// TaskGroup: threads that are joined together and stop together.
//
// The first error asks all others to stop and is the group's outcome. A stop of the parent token
// stops the group.

#pragma once

#include <functional>
#include <optional>
#include <stop_token>
#include <thread>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"

namespace vmferry::io {

class TaskGroup {
 public:
  explicit TaskGroup(std::stop_token parent);
  /// Asks the tasks to stop and joins them.
  ~TaskGroup();
  TaskGroup(const TaskGroup&) = delete;
  TaskGroup& operator=(const TaskGroup&) = delete;

  /// Runs `task` on a thread of its own; it is given the group's stop token.
  void Start(std::function<Result<void>(std::stop_token)> task);
  /// Joins all tasks and returns the first error, if any.
  Result<void> Wait();
  std::stop_token stop_token() const { return stop_.get_token(); }
  void RequestStop() { stop_.request_stop(); }

 private:
  std::stop_source stop_;
  std::stop_callback<std::function<void()>> on_parent_stop_;
  Mutex mutex_;
  std::optional<Error> first_error_ VMFERRY_GUARDED_BY(mutex_);
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

}  // namespace vmferry::io
