// SPDX-License-Identifier: Apache-2.0
//
// RunInstances: instances and their disks as records, in one transaction. The keeper starts them.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "region/vm/client_tokens.h"
#include "region/vm/disk_rows.h"
#include "region/vm/ids.h"
#include "region/vm/instances.h"

namespace vmferry::region::vm {
namespace {

constexpr std::string_view kOperation = "RunInstances";
// EC2's old limit of an account; far more than a machine runs.
constexpr std::size_t kInstancesMax = 20;
constexpr int kAddressAttempts = 1000;  // of 4,000 addresses at most 20 run, some hundreds rest

}  // namespace

Result<std::vector<Instance>> Instances::Run(const LaunchRequest& request) {
  auto instances = context_.database.WithTransaction(
      [&](Transaction& transaction) { return RunIn(transaction, request); });
  if (!instances) return instances;
  for (const Instance& instance : *instances) {
    context_.log.Info(
        "instance asked to run",
        {{"instance", instance.id}, {"image", instance.image_id}, {"type", instance.type}});
  }
  Poke();
  return instances;
}

Result<std::vector<Instance>> Instances::RunIn(Transaction& transaction,
                                               const LaunchRequest& request) {
  VMFERRY_ASSIGN_OR_RETURN(
      const std::optional<std::string> earlier,
      ClientTokens::FindIn(transaction, kOperation, request.instance.client_token,
                           request.token_parameters));
  if (earlier) return ListIn(transaction, "reservation_id = ?", {*earlier});

  VMFERRY_ASSIGN_OR_RETURN(
      const std::vector<SqlRow> others,
      transaction.Query("SELECT private_ip, state FROM vm_instances WHERE state <> ?",
                        {static_cast<int>(InstanceState::kTerminated)}));
  std::set<std::string> taken;
  std::size_t active = 0;
  for (const SqlRow& other : others) {
    taken.insert(other.Text(0));
    if (other.Int(1) != static_cast<int>(InstanceState::kStopped)) ++active;
  }
  const std::size_t room = kInstancesMax - std::min(active, kInstancesMax);
  if (request.count_min > room) {
    return Error(ErrorCode::kResourceExhausted, "region.too_many_instances",
                 fmt::format("You have requested more instances ({}) than your current instance "
                             "limit of {} allows",
                             active + request.count_min, kInstancesMax));
  }
  if (taken.contains(request.private_ip)) {
    return Error(ErrorCode::kAlreadyExists, "region.address_in_use",
                 fmt::format("Address {} is in use.", request.private_ip));
  }
  std::vector<Instance> made;
  for (std::uint32_t index = 0; index < std::min<std::size_t>(request.count, room); ++index) {
    Instance instance = request.instance;
    instance.id = NewResourceId(context_.random, "i-");
    instance.state = InstanceState::kPending;
    instance.launch_time = Now();
    instance.launch_index = index;
    instance.private_ip = request.private_ip;
    for (int attempt = 0; instance.private_ip.empty() && attempt < kAddressAttempts; ++attempt) {
      // The first four addresses of a subnet and its last one are EC2's.
      const std::string address =
          fmt::format("172.31.{}.{}", context_.random.Below(16), 4 + context_.random.Below(250));
      if (taken.insert(address).second) instance.private_ip = address;
    }
    VMFERRY_RETURN_IF_ERROR(AddWithDisks(transaction, instance, request));
    made.push_back(std::move(instance));
  }
  VMFERRY_RETURN_IF_ERROR(
      ClientTokens::RecordIn(transaction, kOperation, request.instance.client_token,
                             request.token_parameters, request.instance.reservation_id));
  std::sort(made.begin(), made.end(),
            [](const Instance& a, const Instance& b) { return a.id < b.id; });
  return made;
}

Result<void> Instances::AddWithDisks(Transaction& transaction, const Instance& instance,
                                     const LaunchRequest& request) {
  VMFERRY_RETURN_IF_ERROR(AddIn(transaction, instance, request.instance_tags));
  if (!request.user_data.empty()) {
    VMFERRY_RETURN_IF_ERROR(SetUserDataIn(transaction, instance.id, request.user_data));
  }
  std::uint32_t position = 0;
  for (const ImageDisk& disk : request.disks) {
    Volume volume{.id = NewResourceId(context_.random, "vol-"),
                  .state = VolumeState::kInUse,
                  .size_gib = disk.size_gib,
                  .snapshot_id = disk.snapshot_id,
                  .zone = instance.zone,
                  .create_time = Now(),
                  .instance_id = instance.id,
                  .device = disk.device,
                  .attach_time = Now(),
                  .delete_on_termination = disk.delete_on_termination,
                  .volume_type = disk.volume_type,
                  .encrypted = disk.encrypted,
                  .iops = disk.iops,
                  .throughput = disk.throughput,
                  .position = position++};
    VMFERRY_ASSIGN_OR_RETURN(
        [[maybe_unused]] const Volume made,
        Disks::CreateVolumeIn(transaction, std::move(volume), request.volume_tags));
  }
  return {};
}

}  // namespace vmferry::region::vm
