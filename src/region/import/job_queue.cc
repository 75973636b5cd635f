// SPDX-License-Identifier: Apache-2.0
#include "region/import/job_queue.h"

namespace vmferry::region {

void JobQueue::Start(std::size_t workers) {
  for (std::size_t i = 0; i < workers; ++i) {
    workers_.emplace_back([this](std::stop_token stop) { Work(stop); });
  }
}

void JobQueue::Stop() {
  for (std::jthread& worker : workers_) worker.request_stop();
  changed_.notify_all();
  workers_.clear();  // joins
}

void JobQueue::Put(const std::string& id) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.try_emplace(id);
  }
  changed_.notify_all();
}

void JobQueue::Interrupt(std::string_view id) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = jobs_.find(id);
    if (found == jobs_.end()) return;
    found->second.stop.request_stop();
    found->second.hurry = true;
  }
  changed_.notify_all();
}

std::optional<std::string> JobQueue::Next(std::stop_token stop, std::stop_source& job_stop) {
  constexpr std::chrono::milliseconds kLook{200};
  std::unique_lock lock(mutex_);
  while (!stop.stop_requested()) {
    const MonotonicTime now = clock_.MonotonicNow();
    for (auto& [id, job] : jobs_) {
      if (job.busy || (!job.hurry && now < job.next)) continue;
      job.busy = true;
      job.hurry = false;
      job.stop = std::stop_source();
      job_stop = job.stop;
      return id;
    }
    changed_.wait_for(lock, stop, kLook, [] { return false; });
  }
  return std::nullopt;
}

void JobQueue::PutBack(const std::string& id, std::optional<std::chrono::milliseconds> wait) {
  const std::lock_guard lock(mutex_);
  const auto found = jobs_.find(id);
  if (found == jobs_.end()) return;
  if (!wait && !found->second.hurry) {
    jobs_.erase(found);
    return;
  }
  found->second.busy = false;
  found->second.next = clock_.MonotonicNow() + wait.value_or(std::chrono::milliseconds(0));
}

void JobQueue::Work(std::stop_token stop) {
  std::stop_source job_stop;
  while (const std::optional<std::string> id = Next(stop, job_stop)) {
    std::optional<std::chrono::milliseconds> wait;
    {
      const std::stop_callback on_stop(stop, [&job_stop] { job_stop.request_stop(); });
      wait = step_(*id, job_stop.get_token());
    }
    PutBack(*id, wait);
  }
}

}  // namespace vmferry::region
