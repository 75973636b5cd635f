// SPDX-License-Identifier: Apache-2.0
//
// Mutex and MutexLock: std::mutex with clang's thread-safety annotations.

#pragma once

#include <condition_variable>
#include <mutex>

#if defined(__clang__)
#define VMFERRY_THREAD_ATTRIBUTE(x) __attribute__((x))
#else
#define VMFERRY_THREAD_ATTRIBUTE(x)
#endif

#define VMFERRY_GUARDED_BY(x) VMFERRY_THREAD_ATTRIBUTE(guarded_by(x))
#define VMFERRY_REQUIRES(...) VMFERRY_THREAD_ATTRIBUTE(requires_capability(__VA_ARGS__))
#define VMFERRY_EXCLUDES(...) VMFERRY_THREAD_ATTRIBUTE(locks_excluded(__VA_ARGS__))

namespace vmferry {

class VMFERRY_THREAD_ATTRIBUTE(capability("mutex")) Mutex {
 public:
  void lock() VMFERRY_THREAD_ATTRIBUTE(acquire_capability()) { mutex_.lock(); }
  void unlock() VMFERRY_THREAD_ATTRIBUTE(release_capability()) { mutex_.unlock(); }

 private:
  std::mutex mutex_;
};

/// Holds a Mutex for a scope; condition variables (condition_variable_any) may wait on it.
class VMFERRY_THREAD_ATTRIBUTE(scoped_lockable) MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) VMFERRY_THREAD_ATTRIBUTE(acquire_capability(mutex))
      : mutex_(mutex) {
    mutex_.lock();
  }
  ~MutexLock() VMFERRY_THREAD_ATTRIBUTE(release_capability()) { mutex_.unlock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;

 private:
  Mutex& mutex_;
};

}  // namespace vmferry
