// SPDX-License-Identifier: Apache-2.0
#include "aws/ebs/client.h"

#include <fmt/format.h>

#include <cstring>

#include "aws/core/error.h"
#include "codec/digest.h"
#include "codec/text_codec.h"
#include "text/json.h"

namespace vmferry::aws::ebs {
namespace {

Result<BlockPage> ReadPage(const http::Response& response) {
  const auto json = text::Json::Parse(response.body);
  if (!json || !json->IsObject()) {
    return BadResponse("ListSnapshotBlocks", "it is no JSON object");
  }
  BlockPage page;
  page.block_size_bytes = (*json)["BlockSize"].AsUint();
  page.volume_size_gib = (*json)["VolumeSize"].AsUint();
  page.next_token = (*json)["NextToken"].AsString();
  if (page.block_size_bytes != kBlockBytes) {
    return BadResponse("ListSnapshotBlocks",
                       fmt::format("blocks of {} bytes", page.block_size_bytes));
  }
  for (const text::Json& item : (*json)["Blocks"].Items()) {
    const std::int64_t index = item["BlockIndex"].AsInt(-1);
    if (index < 0) return BadResponse("ListSnapshotBlocks", "a block lacks its index");
    Block block{.index = static_cast<std::uint64_t>(index), .token = item["BlockToken"].AsString()};
    if (!page.blocks.empty() && block.index <= page.blocks.back().index) {
      return BadResponse("ListSnapshotBlocks", "its indices do not ascend");
    }
    page.blocks.push_back(std::move(block));
  }
  return page;
}

Error ChecksumMismatch(std::uint64_t index, std::string message) {
  return Error(ErrorCode::kDataLoss, "aws.ebs.checksum_mismatch", std::move(message))
      .WithRetry(Retry::kTransient)
      .With("block_index", index);
}

}  // namespace

ApiCall Client::MakeCall(std::string_view operation, std::string_view path,
                         std::string query) const {
  ApiCall call;
  call.service = Service::kEbs;
  call.operation = operation;
  call.request.url = caller_.config().endpoints.Of(Service::kEbs);
  while (call.request.url.path.ends_with('/')) call.request.url.path.pop_back();
  call.request.url.path += path;
  call.request.url.query = std::move(query);
  call.payload_hash = sigv4::kEmptyPayloadHash;
  return call;
}

Result<BlockPage> Client::ListSnapshotBlocks(const std::string& snapshot_id,
                                             const ListBlocksOptions& options,
                                             const OpContext& context) {
  std::string query = fmt::format("maxResults={}", options.max_results);
  if (!options.page_token.empty()) {
    query += "&pageToken=" + http::PercentEncode(options.page_token);
  }
  if (options.starting_block_index) {
    query += fmt::format("&startingBlockIndex={}", *options.starting_block_index);
  }
  ApiCall call =
      MakeCall("ListSnapshotBlocks",
               fmt::format("/snapshots/{}/blocks", http::PercentEncode(snapshot_id)), query);
  BlockPage page;
  call.check = [&page](const http::Response& response) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(page, ReadPage(response));
    return {};
  };
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("snapshot_id", snapshot_id);
  return page;
}

Result<void> Client::GetSnapshotBlock(const std::string& snapshot_id, std::uint64_t index,
                                      const std::string& token,
                                      std::span<std::byte, kBlockBytes> out,
                                      const OpContext& context) {
  ApiCall call =
      MakeCall("GetSnapshotBlock",
               fmt::format("/snapshots/{}/blocks/{}", http::PercentEncode(snapshot_id), index),
               "blockToken=" + http::PercentEncode(token));
  call.send.response_limit_bytes = kBlockBytes;
  std::size_t filled = 0;
  call.restart = [&filled] { filled = 0; };
  call.send.sink = [&](std::span<const std::byte> bytes) -> Result<void> {
    // The limit above bounds the sum.
    std::memcpy(out.subspan(filled, bytes.size()).data(), bytes.data(), bytes.size());
    filled += bytes.size();
    return {};
  };
  call.check = [&](const http::Response& response) -> Result<void> {
    if (filled != kBlockBytes) {
      return ChecksumMismatch(index, fmt::format("block {} arrived with {} bytes", index, filled));
    }
    const auto sent = response.headers.Find("x-amz-Checksum");
    const std::string received = codec::Base64Encode(codec::Sha256(out));
    if (sent == std::string_view(received)) return {};
    return ChecksumMismatch(
        index, fmt::format("block {} arrived with SHA-256 '{}' where '{}' was announced", index,
                           received, sent.value_or("")));
  };
  auto response = caller_.Call(call, context);
  if (!response) return std::move(response).error().With("snapshot_id", snapshot_id);
  return {};
}

}  // namespace vmferry::aws::ebs
