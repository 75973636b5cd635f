// SPDX-License-Identifier: Apache-2.0
#include "region_door.h"

#include <fmt/format.h>

#include <charconv>

#include "aws_cloud.h"
#include "base/units.h"
#include "cloud_factory.h"
#include "region/control/lifecycle.h"
#include "region/control/profile.h"

namespace vmferry::app {
namespace {

cli::RegionView ViewOf(const region::control::RegionInfo& info, bool started_now) {
  return {.running = true,
          .started_now = started_now,
          .pid = info.pid,
          .port = info.port,
          .endpoint = info.Endpoint(),
          .region_name = info.region_name,
          .folder = info.folder};
}

Error NotRunning(const std::filesystem::path& folder) {
  return Error(ErrorCode::kFailedPrecondition, "region.not_running",
               fmt::format("no embedded region runs in {}", folder.string()))
      .WithRemedy("vmferry region start");
}

Error BadFault(std::string message) {
  return Error(ErrorCode::kInvalidArgument, "cli.usage", std::move(message))
      .WithRemedy(
          "corrupt-volume VOLUME OFFSET | add OPERATION KIND [COUNT] [NAME=VALUE...] | list | "
          "clear [ID]");
}

constexpr std::int64_t kAlwaysPpm = 1'000'000;

// "0.05" or "5%" in millionths. Errors: nothing.
std::optional<std::int64_t> ParseRate(std::string text) {
  double factor = 1e6;
  if (text.ends_with('%')) {
    text.pop_back();
    factor = 1e4;
  }
  double value = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (failure != std::errc() || end != text.data() + text.size()) return std::nullopt;
  if (!(value > 0) || value * factor > 1e6) return std::nullopt;
  return std::max<std::int64_t>(1, static_cast<std::int64_t>(value * factor + 0.5));
}

std::string DescribeRule(const region::FaultRule& rule) {
  std::string text =
      fmt::format("{}  {} {}  {}", rule.id, rule.operation, FaultKindName(rule.kind),
                  rule.remaining < 0 ? "for ever" : fmt::format("{} times", rule.remaining));
  if (rule.rate_ppm < kAlwaysPpm) {
    text += fmt::format("  at a rate of {} (seed {})", static_cast<double>(rule.rate_ppm) / 1e6,
                        rule.seed);
  }
  return text + "\n";
}

// Words behind `add`: OPERATION KIND [COUNT] [skip=N] [rate=R] [seed=N] [status=N] [code=X]
// [message=X] [delay=D].
Result<region::FaultRule> ParseRule(const std::vector<std::string>& words) {
  if (words.size() < 3) return BadFault("faults add: name an operation and a kind");
  region::FaultRule rule;
  rule.operation = words[1];
  const auto kind = region::ParseFaultKind(words[2]);
  if (!kind) {
    return BadFault(
        fmt::format("faults add: '{}' is none of error, throttle, server-error, unavailable, "
                    "expired-token, cut, cut-after, delay, fail, foreign-bucket",
                    words[2]));
  }
  rule.kind = *kind;
  if (rule.kind == region::FaultKind::kForeignBucket) rule.remaining = -1;
  for (std::size_t i = 3; i < words.size(); ++i) {
    const std::string& word = words[i];
    const std::size_t equals = word.find('=');
    const std::string name = equals == word.npos ? "count" : word.substr(0, equals);
    const std::string value = equals == word.npos ? word : word.substr(equals + 1);
    const auto number = ParseUint(value);
    if (name == "count" && value == "always") {
      rule.remaining = -1;
    } else if (name == "count" && number) {
      rule.remaining = static_cast<std::int64_t>(*number);
    } else if (name == "skip" && number) {
      rule.skip = static_cast<std::int64_t>(*number);
    } else if (name == "seed" && number) {
      rule.seed = *number;
    } else if (const auto rate = ParseRate(value); name == "rate" && rate) {
      rule.rate_ppm = *rate;
    } else if (name == "status" && number) {
      rule.status = static_cast<int>(*number);
    } else if (name == "code") {
      rule.code = value;
    } else if (name == "message") {
      rule.message = value;
    } else if (name == "delay") {
      VMFERRY_ASSIGN_OR_RETURN(const auto delay, ParseDuration(value));
      rule.delay_ms = delay.count();
    } else {
      return BadFault(fmt::format("faults add: '{}' is not understood", word));
    }
  }
  return rule;
}

// After a crash the same port again: pre-signed URLs of imports under way name it.
std::uint16_t PortOfBefore(const std::filesystem::path& folder) {
  const auto info = region::control::ReadRegionInfo(folder);
  return info ? info->port : region::control::kDefaultPort;
}

}  // namespace

std::filesystem::path RegionDoor::FolderOf(const std::filesystem::path& folder) const {
  return folder.empty() ? folders_.state / "region" : std::filesystem::absolute(folder);
}

Result<cli::RegionView> RegionDoor::Start(const cli::RegionStart& start, const OpContext&) {
  region::control::StartOptions options;
  options.region.folder = FolderOf(start.folder);
  options.region.port = start.port.value_or(PortOfBefore(options.region.folder));
  options.region.strict = start.strict;
  options.region.quotas = start.quotas;
  options.region.ephemeral = start.ephemeral;
  auto outcome = region::control::StartRegion(options, MakeWorld());
  // The default port is a convenience: where another region has it, any port does. A port that was
  // asked for is taken or refused.
  if (!outcome && !start.port && outcome.error().reason() == "http.server.port_in_use") {
    options.region.port = 0;
    outcome = region::control::StartRegion(options, MakeWorld());
  }
  if (!outcome) return std::move(outcome).error();
  return ViewOf(outcome->info, outcome->started);
}

Result<void> RegionDoor::Stop(const std::filesystem::path& folder, const OpContext&) {
  VMFERRY_ASSIGN_OR_RETURN(const region::control::StopOutcome outcome,
                           region::control::StopRegion(FolderOf(folder), MakeWorld()));
  switch (outcome) {
    case region::control::StopOutcome::kNotRunning:
      std::fprintf(stderr, "the embedded region did not run\n");
      break;
    case region::control::StopOutcome::kStopped:
      std::fprintf(stderr, "the embedded region has stopped\n");
      break;
    case region::control::StopOutcome::kKilled:
      std::fprintf(stderr,
                   "the embedded region did not stop in time and was killed; its instances "
                   "live on until the next start\n");
      break;
  }
  return {};
}

Result<text::Json> RegionDoor::Details(const std::filesystem::path& folder,
                                       const OpContext& context) {
  region::control::AdminClient admin(http_, clock_);
  return admin.Do(FolderOf(folder), "Status", text::Json::MakeObject(),
                  {clock_.DeadlineIn(std::chrono::seconds(60)), context.stop});
}

Result<cli::RegionView> RegionDoor::Status(const std::filesystem::path& folder) {
  const auto info = region::control::FindRunningRegion(FolderOf(folder));
  if (info) return ViewOf(*info, false);
  cli::RegionView view;
  view.folder = FolderOf(folder);
  return view;
}

Result<std::string> RegionDoor::Env(const std::filesystem::path& folder) {
  const auto info = region::control::FindRunningRegion(FolderOf(folder));
  if (!info) return NotRunning(FolderOf(folder));
  return region::control::EnvironmentLines(*info);
}

Result<std::string> RegionDoor::Console(const std::filesystem::path& folder,
                                        const std::string& instance_id, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const cli::RegionView view, Status(folder));
  if (!view.running) return NotRunning(view.folder);
  VMFERRY_ASSIGN_OR_RETURN(aws::Config config, LocalConfig(view));
  AwsCloud cloud(clock_, random_, log_, std::move(config), {});
  VMFERRY_ASSIGN_OR_RETURN(aws::ec2::ConsoleOutput console,
                           cloud.ec2().GetConsoleOutput(instance_id, /*latest=*/true, context));
  return std::move(console.output);
}

Result<std::string> RegionDoor::Faults(const std::filesystem::path& folder,
                                       const std::vector<std::string>& words,
                                       const OpContext& context) {
  region::control::AdminClient admin(http_, clock_);
  const std::filesystem::path where = FolderOf(folder);
  if (words[0] == "add") {
    VMFERRY_ASSIGN_OR_RETURN(const region::FaultRule rule, ParseRule(words));
    VMFERRY_ASSIGN_OR_RETURN(const std::int64_t id, admin.AddFault(where, rule, context));
    return fmt::format("fault {}\n", id);
  }
  if (words[0] == "list" && words.size() == 1) {
    VMFERRY_ASSIGN_OR_RETURN(const auto rules, admin.ListFaults(where, context));
    std::string text;
    for (const region::FaultRule& rule : rules) text += DescribeRule(rule);
    return text;
  }
  if (words[0] == "clear" && words.size() <= 2) {
    const auto id = words.size() == 2 ? ParseUint(words[1]) : std::optional<std::uint64_t>(0);
    if (!id) return BadFault("faults clear: the id is no number");
    VMFERRY_ASSIGN_OR_RETURN(const std::int64_t count,
                             admin.ClearFaults(where, static_cast<std::int64_t>(*id), context));
    return fmt::format("{} removed\n", count);
  }
  if (words[0] == "corrupt-volume" && words.size() == 3) {
    const auto offset = ParseUint(words[2]);
    if (!offset) return BadFault("faults corrupt-volume: the offset is no number of bytes");
    text::Json parameters = text::Json::MakeObject();
    parameters.Set("volume_id", words[1]).Set("offset_bytes", *offset);
    VMFERRY_ASSIGN_OR_RETURN(const text::Json done,
                             admin.Do(where, "CorruptVolume", parameters, context));
    return fmt::format("flipped the byte at offset {} of {}\n", *offset, words[1]);
  }
  return BadFault(fmt::format("faults: '{}' is not understood", words[0]));
}

}  // namespace vmferry::app
