// SPDX-License-Identifier: Apache-2.0
#include "cli/arguments.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "base/version.h"
#include "image/make_encoder.h"

namespace vmferry::cli {
namespace {

// Everything that CLI11 writes into, beside Arguments itself.
struct RawWords {
  std::string output = "text";
  std::string until;
  std::string checks = "console,ssh";
  int port = -1;
};

constexpr const char* kSourceHelp = "disk image: a file, a block device or an NBD URI";

// How a disk is opened, wherever one is.
void AddOpenOptions(CLI::App& command, Arguments& arguments) {
  command
      .add_option("--allow-path", arguments.allow_paths,
                  "folder, beside the disk's own, in which its extents and parents may lie; may "
                  "be repeated")
      ->allow_extra_args(false);
  command.add_option("--disk", arguments.disk, "which disk of an appliance with several, from 1")
      ->check(CLI::Range(1, 1024));
}

void AddAllowRunning(CLI::App& command, Arguments& arguments) {
  command.add_flag("--allow-running", arguments.allow_running,
                   "accept a disk that something is writing to");
}

void AddCloudOptions(CLI::App& command, Arguments& arguments) {
  command.add_option("--to", arguments.to, "where to: the embedded region or AWS")
      ->check(CLI::IsMember({"local", "aws"}))
      ->capture_default_str();
  command.add_option("--region", arguments.region, "AWS region (default: as configured)");
  command.add_option("--profile", arguments.profile, "profile of the AWS configuration");
}

void AddMigrate(CLI::App& app, Arguments& arguments, RawWords& raw) {
  CLI::App* migrate = app.add_subcommand("migrate", "move a disk image into EC2 and prove it");
  migrate->callback([&] { arguments.command = CommandName::kMigrate; });
  migrate->add_option("SOURCE", arguments.source, kSourceHelp)->required();
  AddOpenOptions(*migrate, arguments);
  AddCloudOptions(*migrate, arguments);
  migrate->add_option("--bucket", arguments.bucket,
                      "S3 bucket for the parts (default: vmferry-ACCOUNT-REGION; created when it "
                      "does not exist)");
  migrate->add_option("--route", arguments.route, "how the disk gets into EC2")
      ->check(CLI::IsMember({"instance"}))
      ->capture_default_str();
  migrate->add_option("--platform", arguments.platform, "operating system of the guest")
      ->check(CLI::IsMember({"Linux", "Windows"}))
      ->capture_default_str();
  migrate->add_option("--architecture", arguments.architecture, "processor of the guest")
      ->check(CLI::IsMember({"x86_64", "i386"}))
      ->capture_default_str();
  migrate->add_option("--instance-type", arguments.instance_type, "EC2 instance type")
      ->capture_default_str();
  migrate->add_option("--zone", arguments.zone, "availability zone (default: the service chooses)");
  migrate->add_option("--subnet", arguments.subnet, "subnet id");
  migrate
      ->add_option("--security-group", arguments.security_groups,
                   "security group id; may be repeated")
      ->allow_extra_args(false);
  migrate
      ->add_option("--verify", arguments.verify,
                   "compare the imported disk with the source before its first boot")
      ->check(CLI::IsMember({"full", "none"}))
      ->capture_default_str();
  migrate->add_flag("--keep-snapshot", arguments.keep_snapshot,
                    "keep the snapshot that was compared");
  migrate
      ->add_option("--check", raw.checks,
                   "what must answer after the launch: console, ssh, both with a comma, or none")
      ->capture_default_str();
  migrate
      ->add_option("--console-text", arguments.console_text,
                   "text that the console check waits for")
      ->capture_default_str();
  migrate->add_option("--parallel", arguments.parallel, "parts in flight")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  AddAllowRunning(*migrate, arguments);
  migrate->add_option("--until", raw.until,
                      "stop after a step: assess, transfer, import, verify, launch, check");
  migrate->add_flag("--dry-run", arguments.dry_run, "print the plan and the API calls, do nothing");
}

void AddLifeCommands(CLI::App& app, Arguments& arguments, RawWords& raw) {
  CLI::App* status = app.add_subcommand("status", "list migrations, or show one");
  status->callback([&] { arguments.command = CommandName::kStatus; });
  status->add_option("ID", arguments.id, "migration");
  status->add_flag("--watch", arguments.watch, "again every two seconds until it ends");

  CLI::App* resume = app.add_subcommand("resume", "go on with a migration that was cut off");
  resume->callback([&] { arguments.command = CommandName::kResume; });
  resume->add_option("ID", arguments.id, "migration (default: the only one that can be resumed)");
  resume->add_option("--until", raw.until, "stop after a step");

  CLI::App* cancel = app.add_subcommand("cancel", "cancel the import task and clean up");
  cancel->callback([&] { arguments.command = CommandName::kCancel; });
  cancel->add_option("ID", arguments.id, "migration")->required();

  CLI::App* clean = app.add_subcommand("clean", "remove what a migration has left behind");
  clean->callback([&] { arguments.command = CommandName::kClean; });
  clean->add_option("ID", arguments.id, "migration")->required();

  CLI::App* verify = app.add_subcommand("verify", "check a certificate's signature and show it");
  verify->callback([&] { arguments.command = CommandName::kVerify; });
  verify->add_option("ID", arguments.id, "migration whose certificate to check");
  verify->add_option("--certificate", arguments.certificate, "certificate file");
  verify->add_option("--public-key", arguments.public_key,
                     "key to check with (default: this machine's own)");
}

CLI::App* AddImageCommand(CLI::App& image, Arguments& arguments, const char* name, const char* what,
                          CommandName command) {
  CLI::App* added = image.add_subcommand(name, what);
  added->callback([&arguments, command] { arguments.command = command; });
  return added;
}

void AddImageInspect(CLI::App& image, Arguments& arguments) {
  CLI::App* inspect = AddImageCommand(image, arguments, "inspect",
                                      "say what a disk image is, what it holds and whether it is "
                                      "sound",
                                      CommandName::kImageInspect);
  inspect->add_option("FILE", arguments.source, kSourceHelp)->required();
  AddOpenOptions(*inspect, arguments);
  inspect->add_flag("--verify", arguments.verify_appliance,
                    "read an appliance's files and check them against its manifest");
}

void AddImageMap(CLI::App& image, Arguments& arguments) {
  CLI::App* map =
      AddImageCommand(image, arguments, "map", "list where a disk holds data, zeroes and holes",
                      CommandName::kImageMap);
  map->add_option("FILE", arguments.source, kSourceHelp)->required();
  AddOpenOptions(*map, arguments);
}

void AddImageCompare(CLI::App& image, Arguments& arguments) {
  CLI::App* compare = AddImageCommand(image, arguments, "compare",
                                      "say whether two disks hold the same bytes, whatever their "
                                      "formats, and where not (exit 6)",
                                      CommandName::kImageCompare);
  compare->add_option("A", arguments.source, kSourceHelp)->required();
  compare->add_option("B", arguments.other, kSourceHelp)->required();
  AddOpenOptions(*compare, arguments);
  compare->add_option("--other-disk", arguments.other_disk, "as --disk, for B")
      ->check(CLI::Range(1, 1024));
  compare->add_flag("--strict", arguments.strict_compare,
                    "sizes and holes must be the same, too, not only the bytes");
  AddAllowRunning(*compare, arguments);
}

void AddImageHash(CLI::App& image, Arguments& arguments) {
  CLI::App* hash = AddImageCommand(image, arguments, "hash",
                                   "write a disk's hash tree, or prove a disk with one (exit 6)",
                                   CommandName::kImageHash);
  hash->add_option("FILE", arguments.source, kSourceHelp)->required();
  hash->add_option("--tree", arguments.tree, "write the hash tree's root and leaves to this file");
  hash->add_option("--check", arguments.check_tree,
                   "prove that the disk is the one this hash tree was made of");
  AddOpenOptions(*hash, arguments);
  AddAllowRunning(*hash, arguments);
}

void AddImageConvert(CLI::App& image, Arguments& arguments) {
  CLI::App* convert =
      AddImageCommand(image, arguments, "convert", "write a disk as a file of another format",
                      CommandName::kImageConvert);
  convert->add_option("SOURCE", arguments.source, kSourceHelp)->required();
  convert
      ->add_option("TARGET", arguments.target,
                   "new file; null: reads and encodes everything and keeps nothing")
      ->required();
  convert->add_option("--format", arguments.format, "what to write (default: as TARGET is named)")
      ->check(CLI::IsMember(image::OutputFormatNames()));
  convert->add_flag("--force", arguments.force, "replace TARGET when it exists");
  convert
      ->add_option("--threads", arguments.threads,
                   "parts under way at once (default: one for each core)")
      ->check(CLI::Range(1, 64));
  AddAllowRunning(*convert, arguments);
  AddOpenOptions(*convert, arguments);
}

void AddImage(CLI::App& app, Arguments& arguments) {
  CLI::App* image = app.add_subcommand("image", "look at disk images, compare and prove them")
                        ->require_subcommand(1);
  AddImageInspect(*image, arguments);
  AddImageMap(*image, arguments);
  AddImageCompare(*image, arguments);
  AddImageHash(*image, arguments);
  AddImageConvert(*image, arguments);
}

void AddRegion(CLI::App& app, Arguments& arguments, RawWords& raw) {
  CLI::App* region = app.add_subcommand("region", "the embedded EC2 region on this machine")
                         ->require_subcommand(1);
  const auto add = [&](const char* name, const char* what, CommandName command) {
    CLI::App* added = region->add_subcommand(name, what);
    added->callback([&arguments, command] { arguments.command = command; });
    added->add_option("--folder", arguments.folder, "the region's folder (default: in the state)");
    return added;
  };
  CLI::App* start = add("start", "start it in the background", CommandName::kRegionStart);
  start->add_option("--port", raw.port, "loopback port; 0 takes any free one")
      ->check(CLI::Range(0, 65535));
  start->add_flag("--strict", arguments.strict, "refuse what AWS merely tolerates");
  start->add_flag("--quotas", arguments.quotas,
                  "refuse more requests a second than AWS's default quotas (EBS direct APIs)");
  start->add_flag("--ephemeral", arguments.ephemeral,
                  "a region in a new folder, which is removed when it stops");
  add("stop", "stop its instances in order, then itself", CommandName::kRegionStop);
  add("status", "say whether it runs, and where", CommandName::kRegionStatus);
  add("env", "print shell commands that point AWS tools at it", CommandName::kRegionEnv);
  add("console", "print an instance's serial console", CommandName::kRegionConsole)
      ->add_option("INSTANCE", arguments.instance, "instance id")
      ->required();
  add("faults", "make things go wrong, for tests and demonstrations", CommandName::kRegionFaults)
      ->add_option("FAULT", arguments.fault,
                   "corrupt-volume VOLUME OFFSET | add OPERATION KIND [COUNT] | list | clear")
      ->required();
}

Error Usage(std::string message) {
  return Error(ErrorCode::kInvalidArgument, "cli.usage", std::move(message))
      .WithRemedy("vmferry --help, or vmferry COMMAND --help, lists what there is");
}

Result<std::vector<std::string>> SplitChecks(const std::string& words) {
  if (words == "none") return std::vector<std::string>();
  std::vector<std::string> checks;
  for (std::size_t begin = 0; begin <= words.size();) {
    const std::size_t end = std::min(words.find(',', begin), words.size());
    const std::string word = words.substr(begin, end - begin);
    if (word != "console" && word != "ssh") {
      return Usage(fmt::format("--check: '{}' is neither console, ssh nor none", word));
    }
    checks.push_back(word);
    begin = end + 1;
  }
  return checks;
}

Result<Arguments> Complete(Arguments arguments, const RawWords& raw) {
  arguments.output = raw.output == "json"    ? OutputForm::kJson
                     : raw.output == "jsonl" ? OutputForm::kJsonl
                                             : OutputForm::kText;
  if (!raw.until.empty()) {
    arguments.until = migration::ParseStep(raw.until);
    if (!arguments.until) return Usage(fmt::format("--until: there is no step '{}'", raw.until));
  }
  if (raw.port >= 0) arguments.port = static_cast<std::uint16_t>(raw.port);
  VMFERRY_ASSIGN_OR_RETURN(arguments.checks, SplitChecks(raw.checks));
  if (arguments.command == CommandName::kVerify &&
      arguments.id.empty() == arguments.certificate.empty()) {
    return Usage("verify: name a migration, or a file with --certificate");
  }
  if (arguments.command == CommandName::kImageHash && !arguments.tree.empty() &&
      !arguments.check_tree.empty()) {
    return Usage("image hash: --tree writes a hash tree, --check reads one: give one of the two");
  }
  return arguments;
}

}  // namespace

Result<ParsedArguments> ParseArguments(int argc, const char* const* argv) {
  CLI::App app(
      "vmferry moves virtual machines into Amazon EC2 and proves that what arrived is what "
      "left.",
      "vmferry");
  Arguments arguments;
  RawWords raw;
  app.require_subcommand(1);
  app.fallthrough();
  app.set_version_flag("--version", "vmferry " + std::string(kVersion));
  app.add_option("--output", raw.output, "text for people, json or jsonl for programs")
      ->check(CLI::IsMember({"text", "json", "jsonl"}))
      ->capture_default_str();
  AddMigrate(app, arguments, raw);
  AddLifeCommands(app, arguments, raw);
  AddImage(app, arguments);
  AddRegion(app, arguments, raw);
  try {
    app.parse(argc, argv);
  } catch (const CLI::CallForHelp&) {
    const CLI::App* chosen = &app;
    std::string parents;
    while (!chosen->get_subcommands().empty()) {
      parents += (parents.empty() ? "" : " ") + chosen->get_name();
      chosen = chosen->get_subcommands().front();
    }
    return ParsedArguments{.arguments = std::nullopt, .text = chosen->help(parents)};
  } catch (const CLI::CallForVersion& version) {
    return ParsedArguments{.arguments = std::nullopt, .text = std::string(version.what()) + "\n"};
  } catch (const CLI::ParseError& failure) {
    if (argc > 1 && argv[1][0] != '-' && app.get_subcommands().empty()) {
      return Usage(fmt::format("there is no command '{}'", argv[1]));
    }
    return Usage(failure.what());
  }
  VMFERRY_ASSIGN_OR_RETURN(Arguments complete, Complete(std::move(arguments), raw));
  return ParsedArguments{.arguments = std::move(complete), .text = ""};
}

}  // namespace vmferry::cli
