// SPDX-License-Identifier: Apache-2.0
//
// The commands, one file each.

#pragma once

#include "cli/arguments.h"
#include "cli/world.h"
#include "migration/operations.h"

namespace vmferry::cli {

/// What every command is given.
struct CommandContext {
  const Arguments& arguments;
  World& world;
  /// What the command has printed tells of its failure, too: that two disks differ, say. So no
  /// error object follows on standard output.
  bool answered = false;
};

Result<void> RunMigrate(CommandContext& context);
Result<void> RunResume(CommandContext& context);
Result<void> RunStatus(CommandContext& context);
Result<void> RunCancel(CommandContext& context);
Result<void> RunCleanCommand(CommandContext& context);
Result<void> RunVerifyCommand(CommandContext& context);
Result<void> RunImageInspect(CommandContext& context);
Result<void> RunImageConvert(CommandContext& context);
Result<void> RunImageMap(CommandContext& context);
Result<void> RunImageCompare(CommandContext& context);
Result<void> RunImageHash(CommandContext& context);
Result<void> RunRegionCommand(CommandContext& context);

/// The journal, and the operations on it, for the life of one command.
class Session {
 public:
  /// Errors: those of opening the state: kFailedPrecondition and others, sqlite.*, io.*.
  static Result<std::unique_ptr<Session>> Open(CommandContext& context);

  migration::Operations& operations() { return operations_; }
  migration::EventSink& events() { return *events_; }

 private:
  Session(CommandContext& context, std::unique_ptr<store::Store> store,
          std::unique_ptr<migration::EventSink> events);

  std::unique_ptr<store::Store> store_;
  std::unique_ptr<migration::EventSink> events_;
  migration::Operations operations_;
};

}  // namespace vmferry::cli
