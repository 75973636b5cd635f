// SPDX-License-Identifier: Apache-2.0
#include "transfer/snapshot_blocks.h"

#include <fmt/format.h>

namespace vmferry::transfer {

Result<std::vector<std::uint64_t>> SnapshotBlocks::NextPage(const OpContext& context) {
  std::vector<std::uint64_t> indices;
  while (indices.empty() && !at_end_) {  // a page may be empty although more follow
    VMFERRY_ASSIGN_OR_RETURN(
        aws::ebs::BlockPage page,
        ebs_.ListSnapshotBlocks(snapshot_id_, {.page_token = next_token_}, context));
    next_token_ = std::move(page.next_token);
    at_end_ = next_token_.empty();
    if (page.blocks.empty()) continue;
    MutexLock lock(mutex_);
    tokens_.erase(tokens_.begin(), tokens_.lower_bound(page_begin_));
    page_begin_ = page.blocks.front().index;
    for (aws::ebs::Block& block : page.blocks) {
      indices.push_back(block.index);
      tokens_[block.index] = std::move(block.token);
    }
  }
  return indices;
}

Result<void> SnapshotBlocks::ReadBlock(std::uint64_t block_index, std::span<std::byte> out,
                                       const OpContext& context) {
  VMFERRY_CHECK(out.size() == aws::ebs::kBlockBytes);
  std::string token;
  {
    MutexLock lock(mutex_);
    const auto found = tokens_.find(block_index);
    VMFERRY_CHECK(found != tokens_.end());
    token = found->second;
  }
  return ebs_.GetSnapshotBlock(snapshot_id_, block_index, token, out.first<aws::ebs::kBlockBytes>(),
                               context);
}

}  // namespace vmferry::transfer
