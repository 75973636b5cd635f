// SPDX-License-Identifier: Apache-2.0
//
// Arguments: the command line, read and checked. The only file that knows the argument parser is
// arguments.cc.

#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "migration/step.h"

namespace vmferry::cli {

enum class OutputForm { kText, kJson, kJsonl };

enum class CommandName {
  kMigrate,
  kStatus,
  kResume,
  kCancel,
  kClean,
  kVerify,
  kImageInspect,
  kImageMap,
  kImageConvert,
  kImageCompare,
  kImageHash,
  kRegionStart,
  kRegionStop,
  kRegionStatus,
  kRegionEnv,
  kRegionConsole,
  kRegionFaults,
};

struct Arguments {
  CommandName command = CommandName::kStatus;
  OutputForm output = OutputForm::kText;

  // migrate, image: how the disk is opened (OpenOptionsOf in cli/open_options.h)
  std::string source;
  std::vector<std::string> allow_paths;
  std::optional<std::uint32_t> disk;
  bool allow_running = false;

  // image convert
  std::string target;
  std::string format;         ///< empty: as the target is named
  std::uint32_t threads = 0;  ///< 0: one for each core
  bool force = false;

  // migrate
  std::string to = "local";
  std::string region;
  std::string profile;
  std::string bucket;
  std::string route = "instance";
  std::string platform = "Linux";
  std::string architecture = "x86_64";
  std::string instance_type = "t3.small";
  std::string zone;
  std::string subnet;
  std::vector<std::string> security_groups;
  std::string verify = "full";
  std::vector<std::string> checks = {"console", "ssh"};
  std::string console_text = "login:";
  std::uint32_t parallel = 8;
  bool keep_snapshot = false;
  bool dry_run = false;
  std::optional<migration::Step> until;

  // status, resume, cancel, clean, verify
  std::string id;
  bool watch = false;
  std::string certificate;
  std::string public_key;

  // image
  bool verify_appliance = false;            ///< inspect --verify: check an appliance's manifest
  std::string other;                        ///< compare: the second disk
  std::optional<std::uint32_t> other_disk;  ///< compare: --disk for the second
  bool strict_compare = false;              ///< compare --strict: sizes and allocation count, too
  std::string tree;                         ///< hash --tree: where the hash tree is written
  std::string check_tree;                   ///< hash --check: the hash tree to prove a disk with

  // region
  std::string folder;
  std::optional<std::uint16_t> port;
  bool strict = false;
  bool quotas = false;
  bool ephemeral = false;
  std::string instance;
  std::vector<std::string> fault;  ///< words after `faults`
};

struct ParsedArguments {
  std::optional<Arguments> arguments;  ///< absent when only help or the version was asked for
  std::string text;                    ///< that help
};

/// Errors: kInvalidArgument cli.usage.
Result<ParsedArguments> ParseArguments(int argc, const char* const* argv);

}  // namespace vmferry::cli
