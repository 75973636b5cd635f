// SPDX-License-Identifier: Apache-2.0
#include "migration/operations.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "transfer/piece_plan.h"

namespace vmferry::migration {
namespace {

constexpr std::uint32_t kOnlyDisk = 0;
// How long `cancel` waits for a running process to stop.
constexpr std::chrono::seconds kStopPatience(60);
// `status` holds a migration's lock for a moment to see whether somebody else does.
constexpr std::chrono::milliseconds kLockPatience(1000);
// Confirmations farther apart than this belong to different runs.
constexpr std::chrono::seconds kRunGap(30);

Result<MigrationState> StateOf(const store::MigrationRow& row) {
  if (const auto state = ParseMigrationState(row.state)) return *state;
  return Error(ErrorCode::kDataLoss, "migration.bad_spec",
               fmt::format("migration {} is in the unknown state '{}'", row.id, row.state))
      .WithRemedy("use the vmferry version that wrote it");
}

std::uint64_t RateOf(const std::vector<store::PieceRow>& pieces) {
  std::vector<std::pair<WallTime, std::uint64_t>> confirmations;
  for (const store::PieceRow& piece : pieces) {
    confirmations.emplace_back(piece.confirmed, piece.length_bytes);
  }
  std::sort(confirmations.begin(), confirmations.end());
  std::uint64_t bytes = 0;
  std::chrono::microseconds elapsed(0);
  for (std::size_t i = confirmations.size(); i > 1; --i) {
    const auto gap = confirmations[i - 1].first - confirmations[i - 2].first;
    if (gap > kRunGap) break;
    elapsed += std::chrono::duration_cast<std::chrono::microseconds>(gap);
    bytes += confirmations[i - 1].second;
  }
  if (elapsed.count() == 0) return 0;
  return static_cast<std::uint64_t>(static_cast<double>(bytes) * 1e6 /
                                    static_cast<double>(elapsed.count()));
}

CloudRequest CloudOf(const MigrationSpec& spec) {
  return {.to = spec.to, .region = spec.region, .profile = spec.profile};
}

}  // namespace

Result<RunOutcome> Operations::Begin(const PlanRequest& request, std::optional<Step> until,
                                     const std::function<void(const std::string&)>& on_begin,
                                     const OpContext& context) {
  // The source is locked first: two migrations of it must not even plan side by side.
  std::optional<RunLock> source_lock;
  {
    VMFERRY_ASSIGN_OR_RETURN(const std::string name, SourceLockNameOf(request.source));
    VMFERRY_ASSIGN_OR_RETURN(source_lock, RunLock::Take(world_.state_folder, name));
  }
  VMFERRY_ASSIGN_OR_RETURN(PlanView plan, Plan(request, context));
  const std::string id = "mig-" + world_.random.Base32(16);
  plan.spec.key_prefix = fmt::format("vmferry/{}/", id);
  VMFERRY_ASSIGN_OR_RETURN(const RunLock lock, RunLock::Take(world_.state_folder, id));
  const WallTime now = world_.clock.WallNow();
  VMFERRY_RETURN_IF_ERROR(world_.store.CreateMigration(
      {.id = id,
       .state = std::string(MigrationStateName(MigrationState::kRunning)),
       .created = now,
       .updated = now,
       .spec = plan.spec.ToJson(),
       .error = ""}));
  on_begin(id);
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Cloud> cloud,
                           world_.clouds.Open(CloudOf(plan.spec), context));
  return Run(id, plan.spec, *cloud, until, context);
}

Result<RunOutcome> Operations::Resume(const std::string& id, std::optional<Step> until,
                                      const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const RunLock lock, LockFor(id, kLockPatience, context));
  VMFERRY_ASSIGN_OR_RETURN(const store::MigrationRow row, world_.store.Migration(id));
  VMFERRY_ASSIGN_OR_RETURN(const MigrationState state, StateOf(row));
  if (!IsResumable(state)) {
    return Error(ErrorCode::kFailedPrecondition, "migration.ended",
                 fmt::format("migration {} is {}", id, MigrationStateName(state)))
        .WithRemedy(state == MigrationState::kCancelling ? "vmferry cancel finishes what was begun"
                                                         : "begin a new one with vmferry migrate");
  }
  VMFERRY_ASSIGN_OR_RETURN(const MigrationSpec spec, MigrationSpec::FromJson(row.spec));
  VMFERRY_ASSIGN_OR_RETURN(
      const RunLock source_lock,
      RunLock::Take(world_.state_folder, SourceLockName(spec.source.path, spec.source.identity)));
  // A step before import needs the source; it says so itself when the source is gone.
  VMFERRY_RETURN_IF_ERROR(world_.store.ClearControl(id));
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Cloud> cloud,
                           world_.clouds.Open(CloudOf(spec), context));
  return Run(id, spec, *cloud, until, context);
}

Result<RunOutcome> Operations::Run(const std::string& id, const MigrationSpec& spec, Cloud& cloud,
                                   std::optional<Step> until, const OpContext& context) {
  Journal journal(world_.store, world_.clock, id);
  StepContext step_context{
      spec,   journal, cloud, world_.events, world_.clock, world_.network, world_.state_folder,
      context};
  return RunMigration(step_context, until);
}

Result<CleanupReport> Operations::Cancel(const std::string& id, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(store::MigrationRow row, world_.store.Migration(id));
  VMFERRY_RETURN_IF_ERROR(world_.store.PutControl(id, "cancel"));
  VMFERRY_ASSIGN_OR_RETURN(const RunLock lock, LockFor(id, kStopPatience, context));
  VMFERRY_ASSIGN_OR_RETURN(row, world_.store.Migration(id));
  VMFERRY_ASSIGN_OR_RETURN(const MigrationState state, StateOf(row));
  if (!MayFollow(state, MigrationState::kCancelling)) {
    VMFERRY_RETURN_IF_ERROR(world_.store.ClearControl(id));
    return Error(ErrorCode::kFailedPrecondition, "migration.ended",
                 fmt::format("migration {} is {} already", id, MigrationStateName(state)))
        .WithRemedy("vmferry status shows it; vmferry clean removes what it may have left");
  }
  VMFERRY_ASSIGN_OR_RETURN(const MigrationSpec spec, MigrationSpec::FromJson(row.spec));
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Cloud> cloud,
                           world_.clouds.Open(CloudOf(spec), context));
  Journal journal(world_.store, world_.clock, id);
  VMFERRY_RETURN_IF_ERROR(journal.SetState(MigrationState::kCancelling, ""));
  StepContext step_context{
      spec,   journal, *cloud, world_.events, world_.clock, world_.network, world_.state_folder,
      context};
  VMFERRY_RETURN_IF_ERROR(CancelImport(step_context));
  VMFERRY_ASSIGN_OR_RETURN(CleanupReport report, RemoveLeftovers(step_context));
  VMFERRY_RETURN_IF_ERROR(journal.SetState(MigrationState::kCancelled, ""));
  VMFERRY_RETURN_IF_ERROR(world_.store.ClearControl(id));
  return report;
}

Result<CleanupReport> Operations::Clean(const std::string& id, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const store::MigrationRow row, world_.store.Migration(id));
  VMFERRY_ASSIGN_OR_RETURN(const RunLock lock, LockFor(id, kLockPatience, context));
  VMFERRY_ASSIGN_OR_RETURN(const MigrationSpec spec, MigrationSpec::FromJson(row.spec));
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Cloud> cloud,
                           world_.clouds.Open(CloudOf(spec), context));
  Journal journal(world_.store, world_.clock, id);
  StepContext step_context{
      spec,   journal, *cloud, world_.events, world_.clock, world_.network, world_.state_folder,
      context};
  return RemoveLeftovers(step_context);
}

Result<RunLock> Operations::LockFor(const std::string& id, std::chrono::milliseconds patience,
                                    const OpContext& context) {
  const Deadline deadline = world_.clock.DeadlineIn(patience).Earlier(context.deadline);
  while (true) {
    auto lock = RunLock::Take(world_.state_folder, id);
    if (lock || lock.error().reason() != "migration.busy" ||
        deadline.Passed(world_.clock.MonotonicNow()) || context.stop.stop_requested()) {
      return lock;
    }
    world_.clock.SleepFor(std::chrono::milliseconds(100), context);
  }
}

Result<MigrationView> Operations::MakeView(store::MigrationRow row) const {
  MigrationView view;
  VMFERRY_ASSIGN_OR_RETURN(view.spec, MigrationSpec::FromJson(row.spec));
  VMFERRY_ASSIGN_OR_RETURN(view.steps, world_.store.Steps(row.id));
  VMFERRY_ASSIGN_OR_RETURN(view.facts, world_.store.Facts(row.id));
  VMFERRY_ASSIGN_OR_RETURN(view.ledger, world_.store.Ledger(row.id));
  VMFERRY_ASSIGN_OR_RETURN(const auto pieces, world_.store.Pieces(row.id, kOnlyDisk));
  view.confirmed_parts = pieces.size();
  for (const store::PieceRow& piece : pieces) view.confirmed_bytes += piece.length_bytes;
  view.bytes_per_second = RateOf(pieces);
  if (view.spec.wire.encoder.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const transfer::PiecePlan plan,
                             transfer::PiecePlan::Make(view.spec.source.identity.size_bytes));
    view.total_parts = plan.count();
  } else if (view.facts.contains("root")) {
    view.total_parts = pieces.size();  // the transfer is over: there are no more
  }
  const auto lock = RunLock::Take(world_.state_folder, row.id);
  view.in_progress = !lock && lock.error().reason() == "migration.busy";
  view.row = std::move(row);
  return view;
}

Result<std::vector<MigrationView>> Operations::List() const {
  VMFERRY_ASSIGN_OR_RETURN(auto rows, world_.store.Migrations());
  std::vector<MigrationView> views;
  for (store::MigrationRow& row : rows) {
    VMFERRY_ASSIGN_OR_RETURN(MigrationView view, MakeView(std::move(row)));
    views.push_back(std::move(view));
  }
  return views;
}

Result<MigrationView> Operations::View(const std::string& id) const {
  VMFERRY_ASSIGN_OR_RETURN(store::MigrationRow row, world_.store.Migration(id));
  return MakeView(std::move(row));
}

Result<std::string> Operations::ResumableId(const std::string& id) const {
  if (!id.empty()) return id;
  VMFERRY_ASSIGN_OR_RETURN(const auto rows, world_.store.Migrations());
  std::vector<std::string> candidates;
  for (const store::MigrationRow& row : rows) {
    const auto state = ParseMigrationState(row.state);
    if (state && IsResumable(*state)) candidates.push_back(row.id);
  }
  if (candidates.size() == 1) return candidates.front();
  return Error(ErrorCode::kInvalidArgument, "migration.which",
               candidates.empty() ? std::string("there is nothing to resume")
                                  : fmt::format("{} migrations can be resumed", candidates.size()))
      .WithRemedy("vmferry status lists them; name one");
}

}  // namespace vmferry::migration
