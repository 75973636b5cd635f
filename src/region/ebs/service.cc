// SPDX-License-Identifier: Apache-2.0
#include "region/ebs/service.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

#include "base/byte_reader.h"
#include "base/units.h"
#include "codec/text_codec.h"
#include "region/vm/ids.h"
#include "text/json.h"

namespace vmferry::region::ebs {
namespace {

constexpr std::int64_t kBlockTokenSeconds = 7 * 24 * 3600;
constexpr std::int64_t kPageTokenSeconds = 3600;
constexpr std::uint64_t kMaxResultsMin = 100;
constexpr std::uint64_t kMaxResultsMax = 10'000;

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
  Route route;
  if (parts.empty() && call.method == "POST") route.operation = "StartSnapshot";
  if (parts.size() == 2 && parts[0] == "completion" && call.method == "POST") {
    route.operation = "CompleteSnapshot";
  }
  if (parts.size() == 2 && parts[1] == "blocks" && call.method == "GET") {
    route = {"ListSnapshotBlocks", parts[0], {}};
  }
  if (parts.size() == 2 && parts[1] == "changedblocks" && call.method == "GET") {
    route = {"ListChangedBlocks", parts[0], {}};
  }
  if (parts.size() == 3 && parts[1] == "blocks") {
    if (call.method == "GET") route = {"GetSnapshotBlock", parts[0], parts[2]};
    if (call.method == "PUT") route = {"PutSnapshotBlock", parts[0], parts[2]};
  }
  return route;
}

Answer Refusal(int status, std::string_view type, std::string_view reason,
               std::string_view message) {
  text::Json body = text::Json::MakeObject();
  body.Set("Message", message);
  if (!reason.empty()) body.Set("Reason", reason);
  Answer answer;
  answer.status = status;
  answer.headers = {{"Content-Type", "application/json"}, {"x-amzn-ErrorType", std::string(type)}};
  answer.body = body.Dump();
  return answer;
}

Answer Invalid(std::string_view reason, std::string_view message) {
  return Refusal(400, "ValidationException", reason, message);
}

// Why a snapshot cannot be read.
Answer SnapshotRefusal(const Error& error, std::string_view id) {
  if (error.reason() == "region.no_such_snapshot") {
    return Refusal(404, "ResourceNotFoundException", "SNAPSHOT_NOT_FOUND",
                   fmt::format("The snapshot '{}' does not exist.", id));
  }
  if (error.reason() == "region.wrong_state") {
    return Invalid("INVALID_SNAPSHOT_ID", fmt::format("The snapshot '{}' is not completed.", id));
  }
  return Refusal(500, "InternalServerException", "", error.ToString());
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

std::string EbsService::OperationOf(const Call& call) const { return RouteOf(call).operation; }

Answer EbsService::ErrorAnswer(int status, std::string_view code, std::string_view message,
                               const Call&) const {
  return Refusal(status, code, "", message);
}

Answer EbsService::Handle(Call& call) {
  const Route route = RouteOf(call);
  const bool reads =
      route.operation == "ListSnapshotBlocks" || route.operation == "GetSnapshotBlock";
  if (!reads) {
    return Refusal(400, "UnknownOperationException", "",
                   route.operation.empty()
                       ? "The request is no operation of the EBS direct APIs"
                       : fmt::format("{} is not modelled by this region", route.operation));
  }
  if (!vm::IsResourceId(route.snapshot_id, "snap-")) {
    return Invalid("INVALID_SNAPSHOT_ID", "The snapshot id is malformed.");
  }
  return route.operation == "ListSnapshotBlocks"
             ? ListSnapshotBlocks(call, route.snapshot_id)
             : GetSnapshotBlock(call, route.snapshot_id, route.block_index);
}

Answer EbsService::ListSnapshotBlocks(const Call& call, std::string_view snapshot_id) {
  std::uint64_t max_results = kMaxResultsMax;
  std::uint64_t start = 0;
  const auto number = [&](std::string_view name, std::uint64_t& value) {
    const std::string* text = call.FindQuery(name);
    if (text == nullptr) return true;
    const auto parsed = ParseUint(*text);
    if (parsed) value = *parsed;
    return parsed.has_value();
  };
  if (!number("maxResults", max_results) || max_results < kMaxResultsMin ||
      max_results > kMaxResultsMax) {
    return Invalid("INVALID_PARAMETER_VALUE", fmt::format("maxResults must lie between {} and {}.",
                                                          kMaxResultsMin, kMaxResultsMax));
  }
  if (!number("startingBlockIndex", start)) {
    return Invalid("INVALID_PARAMETER_VALUE", "startingBlockIndex must be a number.");
  }
  if (const std::string* token = call.FindQuery("pageToken"); token && !token->empty()) {
    const auto next = tokens_.Check(TokenKind::kPage, snapshot_id, *token, Now());
    if (!next) return Invalid("INVALID_PAGE_TOKEN", "The page token is invalid or has expired.");
    start = *next;
  }
  const auto snapshot = disks_.OpenSnapshot(snapshot_id);
  if (!snapshot) return SnapshotRefusal(snapshot.error(), snapshot_id);
  const vm::BlockMap& map = (*snapshot)->map();
  const std::int64_t expires = Now() + kBlockTokenSeconds;

  text::Json body = text::Json::MakeObject();
  text::Json blocks = text::Json::MakeArray();
  std::uint64_t count = 0;
  auto index = map.Next(start);
  for (; index && count < max_results; index = map.Next(*index + 1), ++count) {
    text::Json block = text::Json::MakeObject();
    block.Set("BlockIndex", *index);
    block.Set("BlockToken", tokens_.Make(TokenKind::kBlock, snapshot_id, *index, expires));
    blocks.Append(std::move(block));
  }
  body.Set("Blocks", std::move(blocks));
  body.Set("ExpiryTime", expires);
  body.Set("VolumeSize", map.volume_bytes() / kGiB);
  body.Set("BlockSize", vm::kEbsBlockBytes);
  if (index) {
    body.Set("NextToken",
             tokens_.Make(TokenKind::kPage, snapshot_id, *index, Now() + kPageTokenSeconds));
  }
  Answer answer;
  answer.headers = {{"Content-Type", "application/json"}};
  answer.body = body.Dump();
  answer.log_fields = {{"snapshot", std::string(snapshot_id)}};
  return answer;
}

Answer EbsService::GetSnapshotBlock(const Call& call, std::string_view snapshot_id,
                                    std::string_view block_index) {
  const auto index = ParseUint(block_index);
  if (!index) return Invalid("INVALID_PARAMETER_VALUE", "The block index must be a number.");
  const std::string* token = call.FindQuery("blockToken");
  const auto named = token == nullptr
                         ? std::nullopt
                         : tokens_.Check(TokenKind::kBlock, snapshot_id, *token, Now());
  if (named != index) {
    return Invalid("INVALID_BLOCK_TOKEN", "The block token is invalid or has expired.");
  }
  const auto snapshot = disks_.OpenSnapshot(snapshot_id);
  if (!snapshot) return SnapshotRefusal(snapshot.error(), snapshot_id);
  if (!(*snapshot)->map().Written(*index)) {
    return Invalid("INVALID_BLOCK", "The snapshot has no such block.");
  }
  Answer answer;
  answer.body.resize(vm::kEbsBlockBytes);
  const auto read = (*snapshot)->Read(*index, std::as_writable_bytes(std::span<char>(answer.body)));
  if (!read) return SnapshotRefusal(read.error(), snapshot_id);
  const auto leaf = (*snapshot)->Leaf(*index);
  if (!leaf) return SnapshotRefusal(leaf.error(), snapshot_id);
  answer.headers = {{"Content-Type", "application/octet-stream"},
                    {"x-amz-Data-Length", std::to_string(vm::kEbsBlockBytes)},
                    {"x-amz-Checksum", codec::Base64Encode(*leaf)},
                    {"x-amz-Checksum-Algorithm", "SHA256"}};
  answer.log_fields = {{"snapshot", std::string(snapshot_id)}, {"block", std::to_string(*index)}};
  return answer;
}

}  // namespace vmferry::region::ebs
