// SPDX-License-Identifier: Apache-2.0
#include "region/control/serve.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include "base/units.h"
#include "region/control/admin_service.h"
#include "region/control/lifecycle.h"
#include "region/control/profile.h"
#include "region/control/region_info.h"
#include "sys/file.h"
#include "sys/process.h"

namespace vmferry::region::control {
namespace {

/// Guests get most of it to power down (the caller of `region stop` waits longer).
constexpr std::chrono::seconds kStopTime{60};

void Report(int descriptor, const text::Json& json) {
  if (descriptor < 0) return;
  const std::string line = json.Dump() + "\n";
  const auto file = sys::File::FromDescriptor(descriptor, "pipe of the starter");  // closes it
  (void)file.Append(std::as_bytes(std::span(line)));  // a starter that is gone needs no report
}

sigset_t StopSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  return signals;
}

Result<RegionInfo> Announce(const RegionOptions& options, const Region& region,
                            const World& world) {
  RegionInfo info;
  info.folder = options.folder;
  info.port = region.port();
  info.pid = ::getpid();
  info.start_ticks = sys::ProcessStartTicks(info.pid).value_or(0);
  info.region_name = options.region_name;
  info.zone = options.zone.empty() ? options.region_name + "a" : options.zone;
  info.account_id = region.credentials().account_id;
  info.profile = kProfileName;
  info.started = FormatTime(world.clock.WallNow());
  VMFERRY_RETURN_IF_ERROR(WriteProfile(info, region.credentials()));
  VMFERRY_RETURN_IF_ERROR(WriteRegionInfo(info));
  return info;
}

Result<std::unique_ptr<Region>> StartAndAnnounce(const RegionOptions& options, const World& world,
                                                 RegionInfo& info) {
  VMFERRY_ASSIGN_OR_RETURN(auto region, Region::Start(options, world));
  auto announced = Announce(options, *region, world);
  if (!announced) {
    region->Stop({world.clock.DeadlineIn(kStopTime), {}});
    return std::move(announced).error();
  }
  info = std::move(announced).value();
  return region;
}

}  // namespace

std::vector<std::string> ServeArguments(const ServeOptions& options) {
  std::vector<std::string> arguments = {"region",   "serve",
                                        "--folder", options.region.folder.string(),
                                        "--port",   std::to_string(options.region.port),
                                        "--region", options.region.region_name};
  if (!options.region.zone.empty()) {
    arguments.insert(arguments.end(), {"--zone", options.region.zone});
  }
  if (options.region.strict) arguments.emplace_back("--strict");
  if (options.region.quotas) arguments.emplace_back("--quotas");
  if (options.region.ephemeral) arguments.emplace_back("--ephemeral");
  if (options.ready_descriptor >= 0) {
    arguments.insert(arguments.end(),
                     {"--ready-descriptor", std::to_string(options.ready_descriptor)});
  }
  return arguments;
}

Result<ServeOptions> ParseServeArguments(std::span<const std::string> arguments) {
  ServeOptions options;
  const auto bad = [](std::string message) {
    return Error(ErrorCode::kInvalidArgument, "region.bad_option", std::move(message));
  };
  for (std::size_t i = 0; i < arguments.size(); ++i) {
    const std::string& name = arguments[i];
    if (name == "--strict") {
      options.region.strict = true;
      continue;
    }
    if (name == "--quotas" || name == "--ephemeral") {
      (name == "--quotas" ? options.region.quotas : options.region.ephemeral) = true;
      continue;
    }
    if (i + 1 >= arguments.size()) return bad(fmt::format("'{}' needs a value", name));
    const std::string& value = arguments[++i];
    const auto number = ParseUint(value);
    if (name == "--folder") {
      options.region.folder = value;
    } else if (name == "--region") {
      options.region.region_name = value;
    } else if (name == "--zone") {
      options.region.zone = value;
    } else if (name == "--port" && number && *number <= 65535) {
      options.region.port = static_cast<std::uint16_t>(*number);
    } else if (name == "--ready-descriptor" && number && *number < 1024) {
      options.ready_descriptor = static_cast<int>(*number);
    } else {
      return bad(fmt::format("'{} {}' is not understood", name, value));
    }
  }
  return options;
}

Result<void> Serve(const ServeOptions& options, const World& world) {
  // Blocked before any thread exists, so that they stay for sigwait below.
  const sigset_t signals = StopSignals();
  ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGHUP, SIG_IGN);
  RegionInfo info;
  auto region = StartAndAnnounce(options.region, world, info);
  if (!region) {
    Report(options.ready_descriptor, JsonOf(region.error()));
    return std::move(region).error();
  }
  text::Json ready;
  ready.Set("ready", true);
  Report(options.ready_descriptor, ready);
  world.log.Info("region started", {{"endpoint", info.Endpoint()},
                                    {"folder", info.folder.string()},
                                    {"pid", static_cast<std::uint64_t>(info.pid)}});
  int signal = 0;
  ::sigwait(&signals, &signal);
  world.log.Info("region stopping", {{"signal", static_cast<std::uint64_t>(signal)}});
  (*region)->Stop({world.clock.DeadlineIn(kStopTime), {}});
  (void)sys::RemoveFile(RegionInfoPath(info.folder));
  world.log.Info("region stopped");
  region->reset();
  if (IsEphemeral(info.folder)) RemoveEphemeral(info.folder);
  return {};
}

}  // namespace vmferry::region::control
