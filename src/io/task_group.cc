// SPDX-License-Identifier: Apache-2.0
#include "io/task_group.h"

namespace vmferry::io {

TaskGroup::TaskGroup(std::stop_token parent)
    : on_parent_stop_(std::move(parent), [this] { stop_.request_stop(); }) {}

TaskGroup::~TaskGroup() { stop_.request_stop(); }

void TaskGroup::Start(std::function<Result<void>(std::stop_token)> task) {
  threads_.emplace_back([this, run = std::move(task)] {
    Result<void> outcome = run(stop_.get_token());
    if (outcome) return;
    {
      MutexLock lock(mutex_);
      if (!first_error_) first_error_ = std::move(outcome).error();
    }
    stop_.request_stop();
  });
}

Result<void> TaskGroup::Wait() {
  threads_.clear();  // joins
  MutexLock lock(mutex_);
  if (first_error_) return *first_error_;
  return {};
}

}  // namespace vmferry::io
