// SPDX-License-Identifier: Apache-2.0
#include "region/control/status.h"

#include <algorithm>

#include "region/control/lifecycle.h"

namespace vmferry::region::control {
namespace {

constexpr std::size_t kListedMax = 1000;

std::string_view CheckName(const vm::Instance& instance) {
  if (instance.state != vm::InstanceState::kRunning) return "";
  switch (instance.check) {
    case vm::CheckState::kInitializing:
      return "initializing";
    case vm::CheckState::kPassed:
      return "ok";
    case vm::CheckState::kImpaired:
      return "impaired";
  }
  return "";
}

/// The first entries of a list, each made JSON by `make`.
template <typename Item, typename Make>
text::Json ListOf(const std::vector<Item>& items, Make make) {
  text::Json list = text::Json::MakeArray();
  for (std::size_t i = 0; i < std::min(items.size(), kListedMax); ++i) list.Append(make(items[i]));
  return list;
}

/// "available": 3, "in-use": 1.
template <typename Item>
text::Json CountStates(const std::vector<Item>& items) {
  std::map<std::string, std::uint64_t> counts;
  for (const Item& item : items) ++counts[std::string(vm::StateName(item.state))];
  text::Json json = text::Json::MakeObject();
  for (const auto& [state, count] : counts) json.Set(state, count);
  return json;
}

text::Json SpaceOf(const std::filesystem::path& folder) {
  const std::uint64_t total = SpaceUsedBytes(folder);
  const std::uint64_t objects = SpaceUsedBytes(folder / "objects");
  const std::uint64_t disks = SpaceUsedBytes(folder / "vm");
  text::Json json = text::Json::MakeObject();
  json.Set("total", total).Set("objects", objects).Set("disks", disks);
  json.Set("other", total - std::min(total, objects + disks));
  return json;
}

}  // namespace

Result<text::Json> StatusOf(const Context& context, vm::Disks& disks, vm::Images& images,
                            vm::Instances& instances, Importer& importer, ImageTasks& image_tasks) {
  text::Json json = text::Json::MakeObject();
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::Instance> all_instances, instances.List());
  json.Set("instances", ListOf(all_instances, [](const vm::Instance& instance) {
             text::Json item = text::Json::MakeObject();
             item.Set("id", instance.id)
                 .Set("state", vm::StateName(instance.state))
                 .Set("type", instance.type);
             if (const auto check = CheckName(instance); !check.empty()) item.Set("check", check);
             if (instance.ssh_port != 0) item.Set("ssh_port", std::int64_t{instance.ssh_port});
             return item;
           }));
  text::Json tasks = text::Json::MakeArray();
  const auto add = [&](std::string_view id, std::string_view state, std::string_view message) {
    if (tasks.Items().size() >= kListedMax) return;
    text::Json item = text::Json::MakeObject();
    item.Set("id", id).Set("state", state).Set("message", message);
    tasks.Append(std::move(item));
  };
  for (const ConversionTask& task : importer.List()) {
    add(task.id, TaskStateName(task.state), task.message);
  }
  for (const ImageTask& task : image_tasks.List()) {
    add(task.id, ImageTaskStatus(task.state), task.message);
  }
  json.Set("tasks", std::move(tasks));
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::MachineImage> all_images, images.List());
  json.Set(
      "images", ListOf(all_images, [](const vm::MachineImage& image) {
        text::Json item = text::Json::MakeObject();
        item.Set("id", image.id).Set("name", image.name).Set("state", vm::StateName(image.state));
        return item;
      }));
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::Volume> volumes, disks.ListVolumes());
  json.Set("volumes", CountStates(volumes));
  VMFERRY_ASSIGN_OR_RETURN(const std::vector<vm::Snapshot> snapshots, disks.ListSnapshots());
  json.Set("snapshots", CountStates(snapshots));
  json.Set("space_bytes", SpaceOf(context.settings.folder));
  return json;
}

}  // namespace vmferry::region::control
