// SPDX-License-Identifier: Apache-2.0
//
// BoundedQueue: hands values from producer threads to consumer threads and holds back producers.
//
// Thread safety: all methods may be called from any thread.

#pragma once

#include <condition_variable>
#include <deque>
#include <mutex>
#include <optional>
#include <stop_token>

namespace vmferry::io {

template <typename T>
class BoundedQueue {
 public:
  explicit BoundedQueue(std::size_t capacity) : capacity_(capacity) {}

  /// Waits for room. False when the queue was closed or a stop was requested: the value is gone.
  bool Push(T value, std::stop_token stop) {
    std::unique_lock lock(mutex_);
    if (!room_.wait(lock, stop, [this] { return closed_ || values_.size() < capacity_; }) ||
        closed_) {
      return false;
    }
    values_.push_back(std::move(value));
    lock.unlock();
    filled_.notify_one();
    return true;
  }

  /// Waits for a value. Nothing when the queue is closed and empty, or a stop was requested.
  std::optional<T> Pop(std::stop_token stop) {
    std::unique_lock lock(mutex_);
    if (!filled_.wait(lock, stop, [this] { return closed_ || !values_.empty(); }) ||
        values_.empty()) {
      return std::nullopt;
    }
    T value = std::move(values_.front());
    values_.pop_front();
    lock.unlock();
    room_.notify_one();
    return value;
  }

  /// A value if one is there, without waiting.
  std::optional<T> TryPop() {
    std::unique_lock lock(mutex_);
    if (values_.empty()) return std::nullopt;
    T value = std::move(values_.front());
    values_.pop_front();
    lock.unlock();
    room_.notify_one();
    return value;
  }

  /// No more values will come; what is queued may still be popped.
  void Close() {
    {
      const std::lock_guard lock(mutex_);
      closed_ = true;
    }
    filled_.notify_all();
    room_.notify_all();
  }

 private:
  const std::size_t capacity_;
  std::mutex mutex_;  // std's own: the waits above cannot be annotated
  std::condition_variable_any room_;
  std::condition_variable_any filled_;
  std::deque<T> values_;
  bool closed_ = false;
};

}  // namespace vmferry::io
