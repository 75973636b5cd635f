// SPDX-License-Identifier: Apache-2.0
//
// What a user can ask for: plan, begin, resume, cancel, clean, list. The door to this module.

#pragma once

#include <map>
#include <optional>

#include "migration/cleanup.h"
#include "migration/runner.h"
#include "migration/source.h"
#include "sys/random.h"

namespace vmferry::migration {

/// What `migrate` was given; what is empty is chosen by Plan.
struct PlanRequest {
  std::string source;  ///< a path or an NBD URI
  image::OpenOptions open;
  CloudRequest cloud;
  std::string bucket;
  MigrationSpec options;  ///< its import, proof and performance fields are taken over
  /// Nothing will follow: the embedded region is not started for it.
  bool dry_run = false;
};

/// What would be done, for people.
struct PlanView {
  MigrationSpec spec;
  std::uint64_t part_count = 0;  ///< at most, when the disk is encoded as it is read
  std::uint64_t part_bytes = 0;
  std::vector<std::pair<std::string, std::string>> api_calls;  ///< operation, what for
};

struct MigrationView {
  store::MigrationRow row;
  MigrationSpec spec;
  std::vector<store::StepRow> steps;
  std::map<std::string, std::string> facts;
  std::vector<store::LedgerRow> ledger;
  std::uint64_t confirmed_parts = 0;
  std::uint64_t confirmed_bytes = 0;
  std::uint64_t total_parts = 0;  ///< 0 while nobody knows: the disk is encoded as it is read
  /// Between the first and the last confirmation of the last run; 0 when unknown.
  std::uint64_t bytes_per_second = 0;
  bool in_progress = false;  ///< a process is working on it now
};

class Operations {
 public:
  struct World {
    store::Store& store;
    sys::Clock& clock;
    sys::Random& random;
    sys::Network& network;
    CloudFactory& clouds;
    EventSink& events;
    const std::filesystem::path& state_folder;
  };
  /// Borrows everything in `world`.
  explicit Operations(const World& world) : world_(world) {}

  /// Opens the source and settles every choice; asks the cloud who we are, creates nothing.
  /// Errors: those of OpenSource and of the cloud; kUnimplemented source.not_importable.
  Result<PlanView> Plan(const PlanRequest& request, const OpContext& context);

  /// Records a migration and runs it. `on_begin` is told its id before anything else happens.
  Result<RunOutcome> Begin(const PlanRequest& request, std::optional<Step> until,
                           const std::function<void(const std::string&)>& on_begin,
                           const OpContext& context);

  /// Goes on with a migration. Errors: also kFailedPrecondition migration.ended, migration.busy.
  Result<RunOutcome> Resume(const std::string& id, std::optional<Step> until,
                            const OpContext& context);

  /// Stops a process that runs the migration, cancels the import task and removes what was made.
  /// An instance that was imported completely stays.
  Result<CleanupReport> Cancel(const std::string& id, const OpContext& context);

  /// Removes what a migration that does not run has left behind.
  Result<CleanupReport> Clean(const std::string& id, const OpContext& context);

  /// Oldest first.
  Result<std::vector<MigrationView>> List() const;
  Result<MigrationView> View(const std::string& id) const;
  /// The only resumable migration, or the one named. Errors: kInvalidArgument migration.which when
  /// there are none or several.
  Result<std::string> ResumableId(const std::string& id) const;

 private:
  Result<RunOutcome> Run(const std::string& id, const MigrationSpec& spec, Cloud& cloud,
                         std::optional<Step> until, const OpContext& context);
  Result<RunLock> LockFor(const std::string& id, std::chrono::milliseconds patience,
                          const OpContext& context);
  Result<MigrationView> MakeView(store::MigrationRow row) const;

  World world_;
};

}  // namespace vmferry::migration
