// SPDX-License-Identifier: Apache-2.0
#include "region/ebs/service.h"

#include <fmt/format.h>

#include "region/ebs/answers.h"
#include "region/vm/ids.h"

namespace vmferry::region::ebs {
namespace {

/// "/snapshots/ID/blocks/INDEX" in its pieces; operation empty when it is none.
struct Route {
  std::string operation;
  std::string_view snapshot_id;
  std::string_view block_index;
};

Route RouteOf(const Call& call) {
  std::string_view path = call.path;
  constexpr std::string_view kRoot = "/snapshots";
  if (!path.starts_with(kRoot)) return {};
  path.remove_prefix(kRoot.size());
  std::vector<std::string_view> parts;
  while (path.starts_with('/')) {
    path.remove_prefix(1);
    const std::string_view part = path.substr(0, path.find('/'));
    if (!part.empty()) parts.push_back(part);
    path.remove_prefix(part.size());
  }
  if (!path.empty()) return {};
  const bool get = call.method == "GET";
  if (parts.empty() && call.method == "POST") return {"StartSnapshot", {}, {}};
  if (parts.size() == 2 && parts[0] == "completion" && call.method == "POST") {
    return {"CompleteSnapshot", parts[1], {}};
  }
  if (parts.size() == 2 && parts[1] == "blocks" && get) return {"ListSnapshotBlocks", parts[0], {}};
  if (parts.size() == 2 && parts[1] == "changedblocks" && get) {
    return {"ListChangedBlocks", parts[0], {}};
  }
  if (parts.size() == 3 && parts[1] == "blocks") {
    if (get) return {"GetSnapshotBlock", parts[0], parts[2]};
    if (call.method == "PUT") return {"PutSnapshotBlock", parts[0], parts[2]};
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<EbsService>> EbsService::Open(Context& context, vm::Disks& disks) {
  VMFERRY_ASSIGN_OR_RETURN(Tokens tokens, Tokens::Open(context.database, context.random));
  return std::unique_ptr<EbsService>(new EbsService(context, disks, std::move(tokens)));
}

std::int64_t EbsService::Now() const {
  return std::chrono::duration_cast<std::chrono::seconds>(
             context_.clock.WallNow().time_since_epoch())
      .count();
}

std::vector<std::string> EbsService::Operations() const {
  return {"StartSnapshot",      "PutSnapshotBlock",  "CompleteSnapshot",
          "ListSnapshotBlocks", "ListChangedBlocks", "GetSnapshotBlock"};
}

std::string EbsService::OperationOf(const Call& call) const { return RouteOf(call).operation; }

Answer EbsService::ErrorAnswer(int status, std::string_view code, std::string_view message,
                               const Call&) const {
  const std::string_view reason = code == "RequestThrottledException" ? "ACCOUNT_THROTTLED" : "";
  return Refusal(status, code, reason, message);
}

Answer EbsService::Handle(Call& call) {
  const Route route = RouteOf(call);
  const std::string& operation = route.operation;
  if (operation.empty()) {
    return Refusal(400, "UnknownOperationException", "",
                   "The request is no operation of the EBS direct APIs");
  }
  if (operation != "StartSnapshot" && !vm::IsResourceId(route.snapshot_id, "snap-")) {
    return Invalid("INVALID_SNAPSHOT_ID", "The snapshot id is malformed.");
  }
  if (auto refusal = quota_.Take(operation, route.snapshot_id)) return *std::move(refusal);
  if (operation == "StartSnapshot") return StartSnapshot(call);
  if (operation == "PutSnapshotBlock") {
    return PutSnapshotBlock(call, route.snapshot_id, route.block_index);
  }
  if (operation == "CompleteSnapshot") return CompleteSnapshot(call, route.snapshot_id);
  if (operation == "ListSnapshotBlocks") return ListSnapshotBlocks(call, route.snapshot_id);
  if (operation == "ListChangedBlocks") return ListChangedBlocks(call, route.snapshot_id);
  return GetSnapshotBlock(call, route.snapshot_id, route.block_index);
}

}  // namespace vmferry::region::ebs
