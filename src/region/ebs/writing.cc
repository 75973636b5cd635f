// SPDX-License-Identifier: Apache-2.0
//
// StartSnapshot, PutSnapshotBlock, CompleteSnapshot.
#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"
#include "region/ebs/answers.h"
#include "region/ebs/service.h"
#include "region/vm/ids.h"
#include "region/vm/uploads.h"

namespace vmferry::region::ebs {
namespace {

constexpr std::uint64_t kVolumeGibMax = 65'536;
constexpr std::uint64_t kTimeoutMinutesMin = 10;
constexpr std::uint64_t kTimeoutMinutesMax = 4320;
constexpr std::uint64_t kTimeoutMinutesDefault = 60;
constexpr std::size_t kTextMax = 255;  // description, client token

Answer BadValue(std::string message) { return Invalid("INVALID_PARAMETER_VALUE", message); }

/// The tags of StartSnapshot; a message when they are wrong.
std::string ReadTags(const text::Json& json, vm::TagMap& tags) {
  for (const text::Json& item : json.Items()) {
    const std::string key = item["Key"].AsString();
    const std::string value = item["Value"].AsString();
    if (key.empty() || key.size() > 127 || value.size() > 255 || key.starts_with("aws:")) {
      return fmt::format("The tag '{}' is not valid.", key.substr(0, 128));
    }
    if (!tags.emplace(key, value).second) return fmt::format("The tag '{}' comes twice.", key);
  }
  return tags.size() > 50 ? "There are more than 50 tags." : "";
}

/// A header that must be a base64 SHA-256. Absent: nothing. Wrong: nothing, and false in `valid`.
std::optional<codec::Sha256Digest> DigestHeader(const Call& call, bool& valid) {
  valid = true;
  const std::string* text = call.FindHeader("x-amz-checksum");
  if (text == nullptr || text->empty()) return std::nullopt;
  const auto bytes = codec::Base64Decode(*text);
  codec::Sha256Digest digest;
  valid = bytes && bytes->size() == digest.size();
  if (!valid) return std::nullopt;
  std::ranges::copy(*bytes, digest.begin());
  return digest;
}

bool IsSha256Named(const Call& call) {
  const std::string* name = call.FindHeader("x-amz-checksum-algorithm");
  return name != nullptr && *name == "SHA256";
}

text::Json JsonOf(const vm::Snapshot& snapshot, const vm::TagMap& tags, const Settings& settings) {
  text::Json body = text::Json::MakeObject();
  body.Set("SnapshotId", snapshot.id)
      .Set("OwnerId", settings.account_id)
      .Set("Status", vm::StateName(snapshot.state))
      .Set("StartTime", snapshot.start_time)
      .Set("VolumeSize", snapshot.size_gib)
      .Set("BlockSize", vm::kEbsBlockBytes)
      .Set("SseType", snapshot.encrypted ? "sse-kms" : "none");
  if (!snapshot.description.empty()) body.Set("Description", snapshot.description);
  if (!snapshot.parent_id.empty()) body.Set("ParentSnapshotId", snapshot.parent_id);
  if (!snapshot.kms_key_id.empty()) body.Set("KmsKeyArn", snapshot.kms_key_id);
  text::Json list = text::Json::MakeArray();
  for (const auto& [key, value] : tags) {
    text::Json tag = text::Json::MakeObject();
    tag.Set("Key", key).Set("Value", value);
    list.Append(std::move(tag));
  }
  if (!tags.empty()) body.Set("Tags", std::move(list));
  return body;
}

}  // namespace

Answer EbsService::StartSnapshot(const Call& call) {
  const auto json = text::Json::Parse(call.payload.memory);
  if (!json || !json->IsObject()) return BadValue("The body is no JSON object.");
  vm::UploadRequest request;
  request.size_gib = (*json)["VolumeSize"].AsUint(0);
  if (request.size_gib < 1 || request.size_gib > kVolumeGibMax) {
    return Invalid("INVALID_VOLUME_SIZE",
                   fmt::format("VolumeSize must lie between 1 and {} GiB.", kVolumeGibMax));
  }
  request.parent_id = (*json)["ParentSnapshotId"].AsString();
  if (!request.parent_id.empty() && !vm::IsResourceId(request.parent_id, "snap-")) {
    return Invalid("INVALID_SNAPSHOT_ID", "The id of the parent snapshot is malformed.");
  }
  request.description = (*json)["Description"].AsString();
  request.client_token = (*json)["ClientToken"].AsString();
  if (request.description.size() > kTextMax || request.client_token.size() > kTextMax) {
    return BadValue(fmt::format("Description and ClientToken have at most {} bytes.", kTextMax));
  }
  request.timeout_minutes = (*json)["Timeout"].AsUint(kTimeoutMinutesDefault);
  if (request.timeout_minutes < kTimeoutMinutesMin ||
      request.timeout_minutes > kTimeoutMinutesMax) {
    return BadValue(fmt::format("Timeout must lie between {} and {} minutes.", kTimeoutMinutesMin,
                                kTimeoutMinutesMax));
  }
  if (const std::string wrong = ReadTags((*json)["Tags"], request.tags); !wrong.empty()) {
    return Invalid("INVALID_TAG", wrong);
  }
  const text::Json& encrypted = (*json)["Encrypted"];
  request.kms_key_id = (*json)["KmsKeyArn"].AsString();
  if (!request.parent_id.empty() && (!encrypted.IsNull() || !request.kms_key_id.empty())) {
    return BadValue("Encrypted and KmsKeyArn cannot be given together with ParentSnapshotId.");
  }
  request.encrypted = encrypted.AsBool(false);
  if (request.parent_id.empty() && !request.encrypted) {
    if (!request.kms_key_id.empty()) return BadValue("KmsKeyArn needs Encrypted.");
    const auto by_default = disks_.encryption().ByDefault();
    if (!by_default) return RefusalOf(by_default.error(), "");
    request.encrypted = *by_default;
  }
  if (!request.kms_key_id.empty() && !vm::IsKeyArn(request.kms_key_id)) {
    return Invalid("INVALID_CUSTOMER_KEY", "KmsKeyArn is no full ARN of a key.");
  }
  if (request.encrypted && request.kms_key_id.empty()) {
    request.kms_key_id = disks_.encryption().DefaultKeyArn();
  }
  const auto snapshot = disks_.uploads().Begin(request);
  if (!snapshot) return RefusalOf(snapshot.error(), request.parent_id);
  return JsonAnswer(201, JsonOf(*snapshot, request.tags, context_.settings), snapshot->id);
}

Answer EbsService::PutSnapshotBlock(const Call& call, std::string_view snapshot_id,
                                    std::string_view block_index) {
  const auto index = ParseUint(block_index);
  if (!index) return BadValue("The block index must be a number.");
  const std::string* length = call.FindHeader("x-amz-data-length");
  if (length == nullptr || ParseUint(*length) != std::optional(vm::kEbsBlockBytes)) {
    return BadValue(fmt::format("x-amz-Data-Length must be {}.", vm::kEbsBlockBytes));
  }
  if (call.payload.size_bytes != vm::kEbsBlockBytes ||
      call.payload.memory.size() != vm::kEbsBlockBytes) {
    return BadValue(fmt::format("The body has {} bytes, a block has {}.", call.payload.size_bytes,
                                vm::kEbsBlockBytes));
  }
  if (!IsSha256Named(call)) return BadValue("x-amz-Checksum-Algorithm must be SHA256.");
  bool valid = false;
  const auto claimed = DigestHeader(call, valid);
  if (!claimed) return BadValue("x-amz-Checksum must be a SHA-256 in base64.");
  std::optional<int> progress;
  if (const std::string* text = call.FindHeader("x-amz-progress")) {
    const auto percent = ParseUint(*text);
    if (!percent || *percent > 100) return BadValue("x-amz-Progress must lie between 0 and 100.");
    progress = static_cast<int>(*percent);
  }
  const auto block = AsBytes(call.payload.memory);
  // Known already when the request was signed with its payload.
  codec::Sha256Digest digest;
  if (const std::string& known = call.payload.digests.sha256; known.size() == digest.size()) {
    std::ranges::copy(AsBytes(known), digest.begin());
  } else {
    digest = codec::Sha256(block);
  }
  if (digest != *claimed) {
    return BadValue("The checksum of the block does not match x-amz-Checksum.");
  }
  const auto put = disks_.uploads().Put(snapshot_id, *index, block, digest, progress);
  if (!put) return RefusalOf(put.error(), snapshot_id);
  Answer answer;
  answer.status = 201;
  answer.headers = {{"x-amz-Checksum", codec::Base64Encode(digest)},
                    {"x-amz-Checksum-Algorithm", "SHA256"}};
  answer.log_fields = {{"snapshot", std::string(snapshot_id)}, {"block", std::to_string(*index)}};
  return answer;
}

Answer EbsService::CompleteSnapshot(const Call& call, std::string_view snapshot_id) {
  const std::string* count_text = call.FindHeader("x-amz-changedblockscount");
  const auto count = count_text == nullptr ? std::nullopt : ParseUint(*count_text);
  if (!count) return BadValue("x-amz-ChangedBlocksCount must be a number.");
  bool valid = false;
  const auto checksum = DigestHeader(call, valid);
  if (!valid) return BadValue("x-amz-Checksum must be a SHA-256 in base64.");
  const std::string* method = call.FindHeader("x-amz-checksum-aggregation-method");
  if (checksum && (!IsSha256Named(call) || method == nullptr || *method != "LINEAR")) {
    return BadValue("x-amz-Checksum needs the algorithm SHA256 and the aggregation LINEAR.");
  }
  const auto state = disks_.uploads().Complete(snapshot_id, *count, checksum);
  if (!state) return RefusalOf(state.error(), snapshot_id);
  text::Json body = text::Json::MakeObject();
  body.Set("Status", vm::StateName(*state));
  return JsonAnswer(202, body, snapshot_id);
}

}  // namespace vmferry::region::ebs
