// SPDX-License-Identifier: Apache-2.0
#include "region/control/region.h"

#include <fmt/format.h>
#include <sys/resource.h>

#include <algorithm>
#include <optional>
#include <vector>

#include "http/server.h"
#include "region/control/admin_service.h"
#include "region/control/parts.h"
#include "region/control/tls_files.h"
#include "region/core/context.h"
#include "region/core/gateway.h"
#include "region/core/request_log.h"

namespace vmferry::region::control {
namespace {

/// Stands before the gateway, which cannot exist before the port is known.
class LateHandler final : public http::Handler {
 public:
  void Set(http::Handler& target) { target_ = &target; }
  std::unique_ptr<http::Exchange> Begin(http::RequestHead head) override {
    return target_->Begin(std::move(head));
  }
  http::Reply Malformed(int status, std::string_view what) override {
    return target_->Malformed(status, what);
  }

 private:
  http::Handler* target_ = nullptr;  // set before the server starts
};

/// 1,000 connections, each with files, are more than the usual soft limit of 1,024 descriptors.
void RaiseDescriptorLimit() {
  struct rlimit limit = {};
  if (::getrlimit(RLIMIT_NOFILE, &limit) != 0 || limit.rlim_cur >= limit.rlim_max) return;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, 16'384);
  ::setrlimit(RLIMIT_NOFILE, &limit);
}

Error BadOption(std::string message) {
  return Error(ErrorCode::kInvalidArgument, "region.bad_option", std::move(message));
}

Result<sys::File> LockFolder(const std::filesystem::path& folder) {
  VMFERRY_ASSIGN_OR_RETURN(sys::File lock,
                           sys::File::Open(folder / "lock", sys::File::Mode::kCreate));
  VMFERRY_ASSIGN_OR_RETURN(const bool locked, lock.TryLock(true));
  if (locked) return lock;
  return Error(ErrorCode::kFailedPrecondition, "region.locked",
               "another process runs the region of this folder")
      .With("path", folder.string())
      .WithRemedy("use that one, stop it with 'vmferry region stop', or choose another folder");
}

std::filesystem::path EphemeralMark(const std::filesystem::path& folder) {
  return folder / "ephemeral";
}

// Before anything of the region is made, so that a crash leaves no region without its mark.
Result<void> MarkEphemeral(const std::filesystem::path& folder) {
  std::error_code ignored;
  if (IsEphemeral(folder)) return {};
  if (std::filesystem::exists(folder / "region.db", ignored) ||
      std::filesystem::exists(folder / "credentials.json", ignored)) {
    return Error(ErrorCode::kFailedPrecondition, "region.not_ephemeral",
                 "the folder holds a region that was started to stay")
        .With("path", folder.string())
        .WithRemedy("name another folder with --folder, or start without --ephemeral");
  }
  return sys::WriteWholeFile(EphemeralMark(folder), "removed when the region stops\n");
}

}  // namespace

bool IsEphemeral(const std::filesystem::path& folder) {
  std::error_code ignored;
  return std::filesystem::exists(EphemeralMark(folder), ignored);
}

Result<void> Validate(const RegionOptions& options) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-';
  };
  const std::string& name = options.region_name;
  if (name.size() < 3 || name.size() > 32 || !std::ranges::all_of(name, allowed)) {
    return BadOption(fmt::format("'{}' cannot be the name of a region", name))
        .WithRemedy("use a name such as us-east-1");
  }
  if (!options.zone.empty() && !options.zone.starts_with(name)) {
    return BadOption(
               fmt::format("zone '{}' does not begin with its region '{}'", options.zone, name))
        .WithRemedy(fmt::format("use a name such as {}a", name));
  }
  if (options.folder.empty()) return BadOption("the region needs a folder");
  return {};
}

// Members are destroyed from the last to the first: the server before what it calls.
struct Region::State {
  explicit State(const World& world_in) : world(world_in) {}

  Result<void> Open(const RegionOptions& options);
  Result<void> StartComponents();

  const World world;
  std::optional<sys::File> lock;
  RegionCredentials credentials;
  Settings settings;
  std::unique_ptr<Database> database;
  std::unique_ptr<FaultRules> faults;
  std::optional<Context> context;
  std::unique_ptr<Parts> parts;
  std::unique_ptr<AdminService> admin;
  std::unique_ptr<RequestLog> request_log;
  std::unique_ptr<Gateway> gateway;
  LateHandler handler;
  std::unique_ptr<http::Server> server;
};

Result<void> Region::State::Open(const RegionOptions& options) {
  VMFERRY_RETURN_IF_ERROR(Validate(options));
  settings.folder = options.folder;
  settings.region_name = options.region_name;
  settings.zone = options.zone.empty() ? options.region_name + "a" : options.zone;
  settings.strict = options.strict;
  settings.quotas = options.quotas;
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(settings.folder));
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(settings.SpoolFolder()));
  VMFERRY_ASSIGN_OR_RETURN(lock, LockFolder(settings.folder));
  if (options.ephemeral) VMFERRY_RETURN_IF_ERROR(MarkEphemeral(settings.folder));
  VMFERRY_ASSIGN_OR_RETURN(credentials, LoadOrMakeCredentials(settings.folder, world.random));
  settings.account_id = credentials.account_id;

  http::ServerOptions server_options;
  server_options.port = options.port;
  VMFERRY_ASSIGN_OR_RETURN(server_options.tls, LoadOrMakeTls(settings.folder, settings.region_name,
                                                             world.clock.WallNow()));
  // The gateway refuses long bodies in the words of each service; this bound is behind it.
  server_options.body_bytes_max = settings.body_bytes_max * 2;
  VMFERRY_ASSIGN_OR_RETURN(server, http::Server::Listen(server_options, handler, world.log));
  settings.port = server->port();

  VMFERRY_ASSIGN_OR_RETURN(database, Database::Open(settings.folder / "region.db"));
  VMFERRY_ASSIGN_OR_RETURN(faults, FaultRules::Open(*database));
  VMFERRY_ASSIGN_OR_RETURN(request_log,
                           RequestLog::Open(settings.folder / "requests.jsonl", world.clock));
  context.emplace(Context{world.clock, world.random, world.log, *database, settings, *faults});
  VMFERRY_ASSIGN_OR_RETURN(parts, OpenParts(*context));
  std::vector<Service*> services = parts->Services();
  std::map<std::string, AdminAction> actions = parts->AdminActions();
  actions["Operations"] = [services](const text::Json&) -> Result<text::Json> {
    text::Json json = text::Json::MakeObject();
    for (const Service* service : services) {
      text::Json names = text::Json::MakeArray();
      for (const std::string& name : service->Operations()) names.Append(name);
      json.Set(service->Name(), std::move(names));
    }
    return json;
  };
  admin = std::make_unique<AdminService>(*context, std::move(actions));
  services.push_back(admin.get());
  gateway = std::make_unique<Gateway>(*context, credentials, *request_log, std::move(services));
  handler.Set(*gateway);
  return {};
}

Result<void> Region::State::StartComponents() {
  std::vector<Component*> started;
  for (Component* component : parts->Components()) {
    auto outcome = component->Start();
    if (outcome) {
      started.push_back(component);
      continue;
    }
    const OpContext soon = {world.clock.DeadlineIn(std::chrono::seconds(10)), {}};
    for (auto it = started.rbegin(); it != started.rend(); ++it) (*it)->Stop(soon);
    return std::move(outcome).error().With("component", component->Name());
  }
  return {};
}

Region::Region(std::unique_ptr<State> state) : state_(std::move(state)) {}
Region::~Region() = default;

Result<std::unique_ptr<Region>> Region::Start(const RegionOptions& options, const World& world) {
  RaiseDescriptorLimit();
  auto state = std::make_unique<State>(world);
  VMFERRY_RETURN_IF_ERROR(state->Open(options));
  VMFERRY_RETURN_IF_ERROR(state->StartComponents());
  state->server->Start();
  return std::unique_ptr<Region>(new Region(std::move(state)));
}

std::uint16_t Region::port() const { return state_->settings.port; }
std::string Region::Endpoint() const { return state_->settings.Endpoint(); }
const RegionCredentials& Region::credentials() const { return state_->credentials; }

void Region::Stop(const OpContext& context) {
  // Components first: import workers still fetch from the server while they end.
  std::vector<Component*> components = state_->parts->Components();
  for (auto it = components.rbegin(); it != components.rend(); ++it) (*it)->Stop(context);
  state_->server->Stop(
      context.deadline.Earlier(state_->world.clock.DeadlineIn(std::chrono::seconds(5))));
}

}  // namespace vmferry::region::control
