// SPDX-License-Identifier: Apache-2.0
//
// JobQueue: worker threads that carry jobs on step by step until each has ended.
//
// A job is known by its id; what it is lies with the caller. It waits between its steps as long as
// the last one said, and is in the hands of one worker at a time.
//
// Thread safety: all methods, from any thread.

#pragma once

#include <chrono>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <stop_token>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "sys/clock.h"

namespace vmferry::region {

class JobQueue {
 public:
  /// Carries one step out and returns when to come back; nothing: the job has ended. `stop` is
  /// requested by Interrupt and by Stop.
  using Step = std::function<std::optional<std::chrono::milliseconds>(const std::string& id,
                                                                      std::stop_token stop)>;

  /// The clock outlives the queue.
  JobQueue(sys::Clock& clock, Step step) : clock_(clock), step_(std::move(step)) {}
  ~JobQueue() { Stop(); }
  JobQueue(const JobQueue&) = delete;
  JobQueue& operator=(const JobQueue&) = delete;

  void Start(std::size_t workers);
  /// Ends the steps under way and waits for them. Jobs that have not ended stay where they were.
  void Stop();

  /// Adds a job, due at once. It may be added before Start.
  void Put(const std::string& id);
  /// Ends the step under way, if there is one, and makes the job due at once.
  void Interrupt(std::string_view id);

 private:
  struct Job {
    bool busy = false;
    bool hurry = false;  ///< interrupted: due again, whatever its step says
    MonotonicTime next = {};
    std::stop_source stop;
  };

  void Work(std::stop_token stop);
  std::optional<std::string> Next(std::stop_token stop, std::stop_source& job_stop);
  void PutBack(const std::string& id, std::optional<std::chrono::milliseconds> wait);

  sys::Clock& clock_;
  const Step step_;
  std::mutex mutex_;  // std's own: the wait cannot be annotated. Guards jobs_.
  std::condition_variable_any changed_;
  std::map<std::string, Job, std::less<>> jobs_;
  std::vector<std::jthread> workers_;  // last: joined before the rest goes
};

}  // namespace vmferry::region
