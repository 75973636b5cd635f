// SPDX-License-Identifier: Apache-2.0
//
// TableCache: the tables of a format (grain tables, L2 tables, parts of a BAT) that were read and
// checked lately, by index; bounded.
//
// Each index has one place; a table that needs a taken place throws out what is there. Tables of
// neighbouring indices never fight for one.
//
// Thread safety: Get may be called from any thread. Two threads that miss the same table both load
// it; one of them is kept.

#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "base/mutex.h"
#include "base/result.h"

namespace vmferry::image {

template <typename Table>
class TableCache {
 public:
  /// Memory: `slots` tables, once they were used. Pre: slots > 0.
  explicit TableCache(std::size_t slots) : slots_(slots) { VMFERRY_CHECK(slots > 0); }

  /// The table, from the cache or from `load(index)`, which returns Result<Table>.
  ///
  /// Shared because the cache may drop it while the caller still uses it.
  /// Errors: those of `load`; nothing is kept then.
  template <typename Load>
  Result<std::shared_ptr<const Table>> Get(std::uint64_t index, Load&& load) const {
    {
      MutexLock lock(mutex_);
      const Slot& slot = slots_[index % slots_.size()];
      if (slot.table != nullptr && slot.index == index) return slot.table;
    }
    auto loaded = load(index);
    if (!loaded) return std::move(loaded).error();
    auto table = std::make_shared<const Table>(*std::move(loaded));
    Slot fresh = {.index = index, .table = table};
    {
      MutexLock lock(mutex_);
      std::swap(slots_[index % slots_.size()], fresh);
    }
    return table;  // what was in the slot goes with `fresh`, outside the lock
  }

 private:
  struct Slot {
    std::uint64_t index = 0;
    std::shared_ptr<const Table> table;
  };

  mutable Mutex mutex_;
  mutable std::vector<Slot> slots_ VMFERRY_GUARDED_BY(mutex_);
};

}  // namespace vmferry::image
