// SPDX-License-Identifier: Apache-2.0
//
// Journal: one migration's view of the Store, in the words of this module.
//
// Intent before effect: Intend() is called, and returns, before the call that creates the thing.

#pragma once

#include <map>
#include <string>

#include "migration/step.h"
#include "store/store.h"
#include "sys/clock.h"

namespace vmferry::migration {

/// Kinds of things in the ledger. Stored: never rename.
namespace kind {
inline constexpr std::string_view kBucket = "bucket";
inline constexpr std::string_view kObject = "object";  ///< "bucket/key"
inline constexpr std::string_view kPrefix = "prefix";  ///< "bucket/prefix/": all objects below
inline constexpr std::string_view kImportTask = "import-task";
inline constexpr std::string_view kInstance = "instance";
inline constexpr std::string_view kVolume = "volume";
inline constexpr std::string_view kSnapshot = "snapshot";
}  // namespace kind

class Journal {
 public:
  Journal(store::Store& store, sys::Clock& clock, std::string id)
      : store_(store), clock_(clock), id_(std::move(id)) {}

  const std::string& id() const { return id_; }
  store::Store& store() { return store_; }

  /// The fact's value, empty when it was never written.
  Result<std::string> Fact(std::string_view name) const;
  Result<void> PutFacts(const std::map<std::string, std::string>& facts) {
    return store_.PutFacts(id_, facts);
  }

  Result<void> Intend(std::string_view kind, std::string_view resource) {
    return Put(kind, resource, "intended");
  }
  Result<void> Created(std::string_view kind, std::string_view resource) {
    return Put(kind, resource, "created");
  }
  Result<void> Removed(std::string_view kind, std::string_view resource) {
    return Put(kind, resource, "removed");
  }
  /// It was created and stays: the migration's result.
  Result<void> Kept(std::string_view kind, std::string_view resource) {
    return Put(kind, resource, "kept");
  }

  /// Changes the migration's state; a change that the table does not allow is a programmer's error.
  Result<void> SetState(MigrationState to, std::string_view error_json);

 private:
  Result<void> Put(std::string_view kind, std::string_view resource, std::string_view state) {
    return store_.PutLedger({.migration_id = id_,
                             .kind = std::string(kind),
                             .resource = std::string(resource),
                             .state = std::string(state),
                             .updated = clock_.WallNow()});
  }

  store::Store& store_;
  sys::Clock& clock_;
  std::string id_;
};

}  // namespace vmferry::migration
