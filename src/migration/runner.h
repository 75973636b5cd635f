// SPDX-License-Identifier: Apache-2.0
//
// Runner: takes one migration through its steps, from wherever the journal says it stands.

#pragma once

#include <optional>

#include "migration/steps.h"

namespace vmferry::migration {

struct RunOutcome {
  MigrationState state = MigrationState::kRunning;
  std::optional<Step> stopped_after;  ///< with --until
};

/// Runs the steps that are not done, up to and including `until`.
///
/// Post:   every step's outcome is in the journal; the state is done, stopped or failed.
/// Pre:    the caller holds the locks of the migration and of its source.
/// Errors: those of the steps, with the fact `step`; kCancelled migration.interrupted on a stop and
///         migration.cancel_requested when another process asked for it.
Result<RunOutcome> RunMigration(StepContext& context, std::optional<Step> until);

}  // namespace vmferry::migration
