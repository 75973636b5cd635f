// SPDX-License-Identifier: Apache-2.0
//
// ebs::Client: reading EBS snapshots block by block over the EBS direct APIs.
//
// Errors of all operations: those of Caller::Call.
//
// Thread safety: all methods may be called from any number of threads.
// Source: EBS direct APIs reference, version 2019-11-02.

#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "aws/core/caller.h"

namespace vmferry::aws::ebs {

inline constexpr std::size_t kBlockBytes = 524288;

struct Block {
  std::uint64_t index = 0;
  std::string token;
};

struct BlockPage {
  std::vector<Block> blocks;  ///< ascending; may be empty although more pages follow
  std::string next_token;     ///< empty on the last page; good for 60 minutes
  std::uint64_t volume_size_gib = 0;
  std::uint64_t block_size_bytes = 0;
};

struct ListBlocksOptions {
  std::string page_token;                             ///< next_token of the page before
  std::optional<std::uint64_t> starting_block_index;  ///< ignored by AWS with a token
  std::uint32_t max_results = 10000;                  ///< 100 to 10000
};

class Client {
 public:
  /// `caller` must outlive the client.
  explicit Client(Caller& caller) : caller_(caller) {}

  /// One page of the blocks a snapshot holds; blocks that are not listed read as zeros.
  ///
  /// Request:  GET /snapshots/{id}/blocks?maxResults&pageToken&startingBlockIndex.
  /// Response: Blocks[{BlockIndex, BlockToken}], NextToken, VolumeSize, BlockSize.
  /// Errors:   kNotFound aws.not_found; kDataLoss aws.bad_response (another block size, or indices
  ///           that do not ascend).
  Result<BlockPage> ListSnapshotBlocks(const std::string& snapshot_id,
                                       const ListBlocksOptions& options, const OpContext& context);

  /// Reads one block and checks its SHA-256.
  ///
  /// Shape:    fills all of `out`.
  /// Request:  GET /snapshots/{id}/blocks/{index}?blockToken.
  /// Response: body, x-amz-Data-Length, x-amz-Checksum, x-amz-Checksum-Algorithm.
  /// Errors:   kDataLoss aws.ebs.checksum_mismatch  length or checksum is wrong after all attempts.
  Result<void> GetSnapshotBlock(const std::string& snapshot_id, std::uint64_t index,
                                const std::string& token, std::span<std::byte, kBlockBytes> out,
                                const OpContext& context);

 private:
  ApiCall MakeCall(std::string_view operation, std::string_view path, std::string query) const;

  Caller& caller_;
};

}  // namespace vmferry::aws::ebs
