// SPDX-License-Identifier: Apache-2.0
//
// Clean-up: removes what the ledger lists and nobody keeps.

#pragma once

#include "migration/steps.h"

namespace vmferry::migration {

struct CleanupReport {
  std::uint64_t objects = 0;
  std::uint64_t snapshots = 0;
  bool bucket_removed = false;
  std::string bucket_kept_because;  ///< empty when it was removed or was never ours
};

/// Removes objects, left-over snapshots and, when the ledger made it and nothing else refers to it,
/// the bucket. Things that are gone already count as removed.
Result<CleanupReport> RemoveLeftovers(StepContext& context);

/// Cancels the import task if one is under way, or may be, and waits until it has ended.
Result<void> CancelImport(StepContext& context);

}  // namespace vmferry::migration
