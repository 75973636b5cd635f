// SPDX-License-Identifier: Apache-2.0
#include "region/import/image_task.h"

#include <fmt/format.h>

#include <algorithm>

namespace vmferry::region {
namespace {

text::Json DisksToJson(const std::vector<ImportDisk>& disks) {
  text::Json list = text::Json::MakeArray();
  for (const ImportDisk& disk : disks) {
    text::Json item;
    item.Set("format", static_cast<int>(disk.format))
        .Set("url", disk.url)
        .Set("bucket", disk.object.bucket)
        .Set("key", disk.object.key)
        .Set("given_snapshot", disk.given_snapshot)
        .Set("device", disk.device)
        .Set("description", disk.description)
        .Set("file_bytes", disk.file_bytes)
        .Set("disk_gib", disk.disk_gib)
        .Set("snapshot_id", disk.snapshot_id);
    list.Append(std::move(item));
  }
  return list;
}

std::vector<ImportDisk> DisksFromJson(const text::Json& list) {
  std::vector<ImportDisk> disks;
  for (const text::Json& item : list.Items()) {
    disks.push_back({.format = static_cast<ImageFormat>(item["format"].AsInt()),
                     .url = item["url"].AsString(),
                     .object = {item["bucket"].AsString(), item["key"].AsString()},
                     .given_snapshot = item["given_snapshot"].AsString(),
                     .device = item["device"].AsString(),
                     .description = item["description"].AsString(),
                     .file_bytes = item["file_bytes"].AsUint(),
                     .disk_gib = item["disk_gib"].AsUint(),
                     .snapshot_id = item["snapshot_id"].AsString()});
  }
  return disks;
}

struct Span {
  int from = 0;
  int to = 0;
};

// Numbers that lie in the ranges seen at AWS, where they differ from task to task.
Span ProgressOf(const ImageTask& task) {
  const bool image = task.kind == ImageTaskKind::kImage;
  switch (task.stage) {
    case ImageStage::kFetch:
      return image ? Span{2, 10} : Span{3, 40};
    case ImageStage::kConvert:
      return image ? Span{19, 28} : Span{41, 70};
    case ImageStage::kInspect:
      return {30, 41};
    case ImageStage::kSnapshot:
      return image ? Span{76, 84} : Span{71, 95};
    case ImageStage::kRegister:
      return {85, 85};
  }
  return {};
}

}  // namespace

std::string_view ImageTaskStatus(TaskState state) {
  switch (state) {
    case TaskState::kActive:
      return "active";
    case TaskState::kCancelling:
      return "deleting";
    case TaskState::kCancelled:
      return "deleted";
    case TaskState::kCompleted:
      return "completed";
  }
  return "";
}

std::string ImageTaskMessage(const ImageTask& task) {
  if (task.state != TaskState::kActive) return task.message;
  if (task.kind == ImageTaskKind::kSnapshot) {
    const bool begun = task.stage != ImageStage::kFetch || task.percent > 0;
    return begun ? "downloading/converting" : "pending";
  }
  switch (task.stage) {
    case ImageStage::kFetch:
      return "pending";
    case ImageStage::kConvert:
      return "converting";
    case ImageStage::kInspect:
      return "updating";
    case ImageStage::kSnapshot:
    case ImageStage::kRegister:
      return "preparing ami";
  }
  return "";
}

int ImageTaskProgress(const ImageTask& task) {
  if (task.state != TaskState::kActive) return -1;
  const Span span = ProgressOf(task);
  return span.from + (span.to - span.from) * std::clamp(task.percent, 0, 100) / 100;
}

std::string DeviceOf(const ImageTask& task, std::size_t disk) {
  if (disk == task.root_disk) return "/dev/sda1";
  const std::size_t other = disk < task.root_disk ? disk : disk - 1;
  return fmt::format("/dev/sd{}", static_cast<char>('b' + other));
}

text::Json ToJson(const ImageTask& task) {
  text::Json json;
  json.Set("end_time", task.end_time)
      .Set("client_token", task.client_token)
      .Set("request_digest", task.request_digest)
      .Set("description", task.description)
      .Set("architecture", task.architecture)
      .Set("boot_mode", task.boot_mode)
      .Set("platform", task.platform)
      .Set("license_type", task.license_type)
      .Set("usage_operation", task.usage_operation)
      .Set("role", task.role)
      .Set("root_disk", static_cast<std::uint64_t>(task.root_disk))
      .Set("found_boot_mode", task.found_boot_mode)
      .Set("system", task.system)
      .Set("ena_support", task.ena_support)
      .Set("image_id", task.image_id)
      .Set("containers", DisksToJson(task.containers))
      .Set("disks", DisksToJson(task.disks));
  return json;
}

void FromJson(const text::Json& json, ImageTask& task) {
  task.end_time = json["end_time"].AsInt();
  task.client_token = json["client_token"].AsString();
  task.request_digest = json["request_digest"].AsString();
  task.description = json["description"].AsString();
  task.architecture = json["architecture"].AsString();
  task.boot_mode = json["boot_mode"].AsString();
  task.platform = json["platform"].AsString();
  task.license_type = json["license_type"].AsString();
  task.usage_operation = json["usage_operation"].AsString();
  task.role = json["role"].AsString();
  task.root_disk = json["root_disk"].AsUint();
  task.found_boot_mode = json["found_boot_mode"].AsString();
  task.system = json["system"].AsString();
  task.ena_support = json["ena_support"].AsBool();
  task.image_id = json["image_id"].AsString();
  task.containers = DisksFromJson(json["containers"]);
  task.disks = DisksFromJson(json["disks"]);
}

}  // namespace vmferry::region
