// SPDX-License-Identifier: Apache-2.0
//
// CancelImportTask, and what the import calls share.
#include "region/ec2/import_tasks.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <set>

#include "base/byte_reader.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "http/message.h"
#include "region/ec2/filters.h"
#include "region/vm/ids.h"

namespace vmferry::region::ec2 {
namespace {

constexpr std::size_t kTextMax = 8192;
constexpr std::size_t kTokenMax = 255;

// Everything that was asked for but for the token itself.
std::string RequestDigest(const QueryParameters& parameters) {
  std::string text;
  for (const auto& [name, value] : parameters.all()) {
    if (name == "ClientToken" || name == "Version" || name.starts_with("X-Amz-")) continue;
    text += fmt::format("{}:{}={}:{};", name.size(), name, value.size(), value);
  }
  return codec::HexEncode(codec::Sha256(AsBytes(text)));
}

bool IsTaskOf(ImageTaskKind kind, std::string_view id) {
  return vm::IsTaskId(id, kind == ImageTaskKind::kImage ? "import-ami-" : "import-snap-");
}

Error NoSuchTask(std::string_view id) {
  return Refuse("InvalidConversionTaskId.Malformed",
                fmt::format("Invalid conversion task ID: \"{}\"", id));
}

Result<void> CancelImportTask(World& world, const QueryParameters& parameters,
                              text::XmlWriter& reply) {
  VMFERRY_ASSIGN_OR_RETURN(const std::string id, Required(parameters, "ImportTaskId"));
  const auto task = world.image_tasks.Find(id);
  if (!task) return NoSuchTask(id);
  const std::string reason = parameters.Get("CancelReason");
  const Result<void> cancelled =
      world.image_tasks.Cancel(id, reason.empty() ? "Cancelled by user" : reason);
  if (!cancelled) return Refuse("IncorrectState", cancelled.error().message());
  reply.Element("importTaskId", id)
      .Element("state", ImageTaskStatus(TaskState::kCancelling))
      .Element("previousState", ImageTaskStatus(TaskState::kActive));
  return {};
}

constexpr std::array<std::string_view, 2> kCancelParameters = {"ImportTaskId", "CancelReason"};
constexpr std::array kOperations = {
    Operation{"CancelImportTask", CancelImportTask, kCancelParameters},
};

}  // namespace

std::span<const Operation> ImportTaskOperations() { return kOperations; }

Result<std::string> ServiceRole(World& world, const QueryParameters& parameters) {
  std::string role = parameters.Get("RoleName");
  if (role.empty()) role = "vmimport";
  VMFERRY_ASSIGN_OR_RETURN(const bool serves, world.image_tasks.RoleServes(role));
  if (!serves) {
    return Refuse("InvalidParameter",
                  fmt::format("The service role {} provided does not exist or does not have "
                              "sufficient permissions",
                              role));
  }
  return role;
}

Result<ImportDisk> ReadContainer(World& world, const QueryParameters& parameters,
                                 std::string_view prefix, ImageTaskKind kind) {
  const auto value = [&](std::string_view member) {
    return parameters.Get(fmt::format("{}{}", prefix, member));
  };
  ImportDisk disk{.url = value("Url"),
                  .object = {value("UserBucket.S3Bucket"), value("UserBucket.S3Key")},
                  .given_snapshot = value("SnapshotId"),
                  .device = value("DeviceName"),
                  .description = value("Description")};
  const bool bucket = !disk.object.bucket.empty() || !disk.object.key.empty();
  const int sources =
      (disk.url.empty() ? 0 : 1) + (bucket ? 1 : 0) + (disk.given_snapshot.empty() ? 0 : 1);
  if (sources == 0) {
    return Refuse("MissingParameter",
                  fmt::format("The request must contain the parameter {}UserBucket", prefix));
  }
  if (sources > 1) {
    return Refuse("InvalidParameterCombination",
                  fmt::format("{}Url, UserBucket and SnapshotId exclude each other", prefix));
  }
  if (!disk.given_snapshot.empty()) {
    VMFERRY_RETURN_IF_ERROR(CheckId(kSnapshotIds, disk.given_snapshot));
    const auto snapshot = world.disks.FindSnapshot(disk.given_snapshot);
    if (!snapshot) return NotFound(kSnapshotIds, disk.given_snapshot);
    if (snapshot->state != vm::SnapshotState::kCompleted) {
      return Refuse("IncorrectState",
                    fmt::format("The snapshot {} is not completed", disk.given_snapshot));
    }
    return disk;
  }
  const bool located =
      bucket ? !disk.object.bucket.empty() && !disk.object.key.empty()
             : IsSignedUrl(disk.url) || ObjectOfUrl(disk.url, world.context.settings).has_value();
  if (!located || disk.url.size() > kTextMax || disk.object.key.size() > kTextMax) {
    return Refuse("InvalidParameter", "Invalid S3 source location");
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::string name,
                           Required(parameters, fmt::format("{}Format", prefix)));
  const std::optional<ImageFormat> format = FindImageFormat(name);
  if (!format || (kind == ImageTaskKind::kSnapshot && *format == ImageFormat::kOva)) {
    // The form of AWS's words for other parameters of this service.
    return Refuse(
        "InvalidParameter",
        fmt::format("Parameter disk-image-format={} has an invalid format", name.substr(0, 100)));
  }
  disk.format = *format;
  return disk;
}

Result<ImageTask> ReadImportTask(World& world, const QueryParameters& parameters,
                                 ImageTaskKind kind) {
  ImageTask task{.kind = kind,
                 .client_token = parameters.Get("ClientToken"),
                 .request_digest = RequestDigest(parameters),
                 .description = parameters.Get("Description")};
  if (task.client_token.size() > kTokenMax || task.description.size() > kTextMax) {
    return Refuse("InvalidParameterValue", "ClientToken or Description is too long");
  }
  VMFERRY_ASSIGN_OR_RETURN(const bool encrypted, Flag(parameters, "Encrypted"));
  if (encrypted) {
    return Refuse("UnsupportedOperation", "Encrypted imports are not modelled by this region");
  }
  VMFERRY_ASSIGN_OR_RETURN(task.role, ServiceRole(world, parameters));
  return task;
}

void WriteSource(const ImportDisk& disk, text::XmlWriter& reply) {
  if (!disk.description.empty()) reply.Element("description", disk.description);
  if (disk.given_snapshot.empty()) reply.Element("format", ImageFormatName(disk.format));
  if (!disk.url.empty()) reply.Element("url", disk.url);
  if (disk.object.bucket.empty()) return;
  reply.Open("userBucket")
      .Element("s3Bucket", disk.object.bucket)
      .Element("s3Key", disk.object.key)
      .Close();
}

std::string DiskImageSize(const ImportDisk& disk) { return fmt::format("{}.0", disk.file_bytes); }

Result<void> DescribeTasks(World& world, const QueryParameters& parameters, text::XmlWriter& reply,
                           ImageTaskKind kind, std::string_view list,
                           void (*write)(const ImageTask& task, const vm::TagMap& tags,
                                         text::XmlWriter& reply)) {
  std::set<std::string> wanted;
  for (const std::string& id : parameters.List("ImportTaskId")) {
    if (!IsTaskOf(kind, id) || !world.image_tasks.Find(id)) return NoSuchTask(id);
    wanted.insert(id);
  }
  VMFERRY_ASSIGN_OR_RETURN(Page page, Page::Parse(parameters, !wanted.empty()));
  const Filters filters = Filters::Parse(parameters, "Filters");
  auto tags = world.disks.tags().OfAll("import-");
  reply.Open(list);
  for (const ImageTask& task : world.image_tasks.List()) {
    if (task.kind != kind || (!wanted.empty() && !wanted.contains(task.id))) continue;
    VMFERRY_ASSIGN_OR_RETURN(
        const bool matches,
        filters.Match(tags[task.id],
                      [&](std::string_view name) -> std::optional<std::vector<std::string>> {
                        if (name != "task-state") return std::nullopt;
                        return std::vector{std::string(ImageTaskStatus(task.state))};
                      }));
    if (!matches || !page.Take(task.id)) continue;
    reply.Open("item");
    write(task, tags[task.id], reply);
    reply.Close();
  }
  reply.Close();
  page.WriteToken(reply);
  return {};
}

}  // namespace vmferry::region::ec2
