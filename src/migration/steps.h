// SPDX-License-Identifier: Apache-2.0
//
// The steps of a migration. Each is idempotent: run again after it was cut off at any point, it
// finds out what is there and goes on.

#pragma once

#include <filesystem>
#include <functional>
#include <string>

#include "migration/cloud.h"
#include "migration/event.h"
#include "migration/journal.h"
#include "migration/spec.h"
#include "sys/network.h"

namespace vmferry::migration {

/// What a step is given. Borrowed for the call.
struct StepContext {
  const MigrationSpec& spec;
  Journal& journal;
  Cloud& cloud;
  EventSink& events;
  sys::Clock& clock;
  sys::Network& network;
  const std::filesystem::path& state_folder;
  OpContext op;

  /// Tells `text` as a note.
  void Note(std::string text) const;
  /// Reports progress of `step`.
  void Report(Step step, std::uint64_t done_bytes, std::uint64_t total_bytes,
              std::string waiting_for) const;
};

/// Each returns one sentence about what was done.
Result<std::string> RunAssess(StepContext& context);
Result<std::string> RunTransfer(StepContext& context);
Result<std::string> RunImport(StepContext& context);
Result<std::string> RunVerify(StepContext& context);
Result<std::string> RunLaunch(StepContext& context);
Result<std::string> RunCheck(StepContext& context);
Result<std::string> RunClean(StepContext& context);

/// Looks every `PollInterval` until `look` returns true.
///
/// Errors: those of `look`; kCancelled migration.interrupted on a stop; kDeadlineExceeded with
/// `timeout_reason` after `limit` without success.
Result<void> PollUntil(StepContext& context, std::chrono::milliseconds limit,
                       std::string_view timeout_reason, std::string_view waiting_for,
                       const std::function<Result<bool>()>& look);

/// Key of part `number` and of the manifest, as Amazon's own tools name them.
std::string PartKey(const MigrationSpec& spec, std::uint64_t number);
std::string ManifestKey(const MigrationSpec& spec);

/// The text by which an import task of this migration is found again.
std::string ImportMarker(const Journal& journal, std::string_view attempt);

/// The import task that carries the marker, if the service knows one.
Result<std::optional<aws::ec2::ConversionTask>> FindImportTask(StepContext& context,
                                                               std::string_view marker);

}  // namespace vmferry::migration
