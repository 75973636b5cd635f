// SPDX-License-Identifier: Apache-2.0
//
// ListSnapshotBlocks, ListChangedBlocks, GetSnapshotBlock.
#include <fmt/format.h>

#include <algorithm>
#include <optional>
#include <set>

#include "base/units.h"
#include "codec/text_codec.h"
#include "region/ebs/answers.h"
#include "region/ebs/service.h"
#include "region/vm/ids.h"
#include "region/vm/uploads.h"

namespace vmferry::region::ebs {
namespace {

constexpr std::int64_t kBlockTokenSeconds = 7 * 24 * 3600;
constexpr std::int64_t kPageTokenSeconds = 3600;
constexpr std::uint64_t kMaxResultsMin = 100;
constexpr std::uint64_t kMaxResultsMax = 10'000;
// Blocks compared for one page of ListChangedBlocks: a page may end before it is full, or empty.
constexpr std::uint64_t kComparedMax = 100'000;
// Generations looked at to tell whether two snapshots are related.
constexpr std::size_t kAncestorsMax = 10'000;

}  // namespace

std::optional<EbsService::PageRequest> EbsService::ReadPage(const Call& call,
                                                            std::string_view subject,
                                                            Answer& refusal) const {
  PageRequest page{.start = 0, .max_results = kMaxResultsMax};
  const auto number = [&](std::string_view name, std::uint64_t& value) {
    const std::string* text = call.FindQuery(name);
    if (text == nullptr) return true;
    const auto parsed = ParseUint(*text);
    if (parsed) value = *parsed;
    return parsed.has_value();
  };
  if (!number("maxResults", page.max_results) || page.max_results < kMaxResultsMin ||
      page.max_results > kMaxResultsMax) {
    refusal = Invalid(
        "INVALID_PARAMETER_VALUE",
        fmt::format("maxResults must lie between {} and {}.", kMaxResultsMin, kMaxResultsMax));
    return std::nullopt;
  }
  if (!number("startingBlockIndex", page.start)) {
    refusal = Invalid("INVALID_PARAMETER_VALUE", "startingBlockIndex must be a number.");
    return std::nullopt;
  }
  // With a token, startingBlockIndex is ignored.
  if (const std::string* token = call.FindQuery("pageToken"); token && !token->empty()) {
    const auto next = tokens_.Check(TokenKind::kPage, subject, *token, Now());
    if (!next) {
      refusal = Invalid("INVALID_PAGE_TOKEN", "The page token is invalid or has expired.");
      return std::nullopt;
    }
    page.start = *next;
  }
  return page;
}

text::Json EbsService::ListHead(const vm::BlockMap& map, std::int64_t expires) const {
  text::Json body = text::Json::MakeObject();
  body.Set("ExpiryTime", expires);
  body.Set("VolumeSize", map.volume_bytes() / kGiB);
  body.Set("BlockSize", vm::kEbsBlockBytes);
  return body;
}

Answer EbsService::ListSnapshotBlocks(const Call& call, std::string_view snapshot_id) {
  Answer refusal;
  const auto page = ReadPage(call, snapshot_id, refusal);
  if (!page) return refusal;
  const auto snapshot = disks_.OpenSnapshot(snapshot_id);
  if (!snapshot) return RefusalOf(snapshot.error(), snapshot_id);
  const vm::BlockMap& map = (*snapshot)->map();
  const std::int64_t expires = Now() + kBlockTokenSeconds;

  text::Json body = ListHead(map, expires);
  text::Json blocks = text::Json::MakeArray();
  std::uint64_t count = 0;
  auto index = map.Next(page->start);
  for (; index && count < page->max_results; index = map.Next(*index + 1), ++count) {
    text::Json block = text::Json::MakeObject();
    block.Set("BlockIndex", *index);
    block.Set("BlockToken", tokens_.Make(TokenKind::kBlock, snapshot_id, *index, expires));
    blocks.Append(std::move(block));
  }
  body.Set("Blocks", std::move(blocks));
  if (index) {
    body.Set("NextToken",
             tokens_.Make(TokenKind::kPage, snapshot_id, *index, Now() + kPageTokenSeconds));
  }
  return JsonAnswer(200, body, snapshot_id);
}

Result<bool> EbsService::Related(const vm::Snapshot& first, const vm::Snapshot& second) {
  // A snapshot's own id, its volume, and the same of all it descends from.
  const auto lineage = [&](const vm::Snapshot& start) -> std::set<std::string> {
    std::set<std::string> names;
    vm::Snapshot at = start;
    while (names.size() < kAncestorsMax) {
      names.insert(at.id);
      if (!at.volume_id.empty() && at.volume_id != vm::kNoVolume) names.insert(at.volume_id);
      if (at.parent_id.empty() || !names.insert(at.parent_id).second) break;
      auto parent = disks_.FindSnapshot(at.parent_id);
      if (!parent) break;  // deleted: its name is in the set
      at = std::move(*parent);
    }
    return names;
  };
  const std::set<std::string> of_first = lineage(first);
  return std::ranges::any_of(lineage(second),
                             [&](const std::string& name) { return of_first.contains(name); });
}

Answer EbsService::ListChangedBlocks(const Call& call, std::string_view second_id) {
  const std::string* first_text = call.FindQuery("firstSnapshotId");
  if (first_text == nullptr || first_text->empty()) {
    return Invalid("INVALID_PARAMETER_VALUE", "FirstSnapshotId and SecondSnapshotId are needed.");
  }
  const std::string& first_id = *first_text;
  if (!vm::IsResourceId(first_id, "snap-")) {
    return Invalid("INVALID_SNAPSHOT_ID", "The id of the first snapshot is malformed.");
  }
  const std::string subject = fmt::format("{} {}", first_id, second_id);
  Answer refusal;
  const auto page = ReadPage(call, subject, refusal);
  if (!page) return refusal;
  const auto first_record = disks_.FindSnapshot(first_id);
  if (!first_record) return RefusalOf(first_record.error(), first_id);
  const auto second_record = disks_.FindSnapshot(second_id);
  if (!second_record) return RefusalOf(second_record.error(), second_id);
  const auto related = Related(*first_record, *second_record);
  if (!related) return RefusalOf(related.error(), second_id);
  if (!*related) {
    return Invalid("UNRELATED_SNAPSHOTS",
                   fmt::format("The snapshots {} and {} are not related.", first_id, second_id));
  }
  const auto first = disks_.OpenSnapshot(first_id);
  if (!first) return RefusalOf(first.error(), first_id);
  const auto second = disks_.OpenSnapshot(second_id);
  if (!second) return RefusalOf(second.error(), second_id);

  const std::int64_t expires = Now() + kBlockTokenSeconds;
  text::Json body = ListHead((*second)->map(), expires);
  text::Json blocks = text::Json::MakeArray();
  vm::LeafReader first_leaves(**first);
  vm::LeafReader second_leaves(**second);
  std::uint64_t listed = 0;
  std::uint64_t compared = 0;
  const auto next_of = [&](std::uint64_t from) -> std::optional<std::uint64_t> {
    const auto in_first = (*first)->map().Next(from);
    const auto in_second = (*second)->map().Next(from);
    if (in_first && in_second) return std::min(*in_first, *in_second);
    return in_first ? in_first : in_second;
  };
  auto index = next_of(page->start);
  for (; index && listed < page->max_results && compared < kComparedMax;
       index = next_of(*index + 1)) {
    const bool in_first = (*first)->map().Written(*index);
    const bool in_second = (*second)->map().Written(*index);
    if (in_first && in_second) {
      ++compared;
      const auto before = first_leaves.At(*index);
      const auto after = second_leaves.At(*index);
      if (!before) return RefusalOf(before.error(), first_id);
      if (!after) return RefusalOf(after.error(), second_id);
      if (*before == *after) continue;
    }
    text::Json block = text::Json::MakeObject();
    block.Set("BlockIndex", *index);
    if (in_first) {
      block.Set("FirstBlockToken", tokens_.Make(TokenKind::kBlock, first_id, *index, expires));
    }
    if (in_second) {
      block.Set("SecondBlockToken", tokens_.Make(TokenKind::kBlock, second_id, *index, expires));
    }
    blocks.Append(std::move(block));
    ++listed;
  }
  body.Set("ChangedBlocks", std::move(blocks));
  if (index) {
    body.Set("NextToken",
             tokens_.Make(TokenKind::kPage, subject, *index, Now() + kPageTokenSeconds));
  }
  return JsonAnswer(200, body, second_id);
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
  if (!snapshot) return RefusalOf(snapshot.error(), snapshot_id);
  if (!(*snapshot)->map().Written(*index)) {
    return Invalid("INVALID_BLOCK", "The snapshot has no such block.");
  }
  Answer answer;
  answer.body.resize(vm::kEbsBlockBytes);
  const auto read = (*snapshot)->Read(*index, std::as_writable_bytes(std::span<char>(answer.body)));
  if (!read) return RefusalOf(read.error(), snapshot_id);
  const auto leaf = (*snapshot)->Leaf(*index);
  if (!leaf) return RefusalOf(leaf.error(), snapshot_id);
  answer.headers = {{"Content-Type", "application/octet-stream"},
                    {"x-amz-Data-Length", std::to_string(vm::kEbsBlockBytes)},
                    {"x-amz-Checksum", codec::Base64Encode(*leaf)},
                    {"x-amz-Checksum-Algorithm", "SHA256"}};
  answer.log_fields = {{"snapshot", std::string(snapshot_id)}, {"block", std::to_string(*index)}};
  return answer;
}

}  // namespace vmferry::region::ebs
