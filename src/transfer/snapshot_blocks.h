// SPDX-License-Identifier: Apache-2.0
//
// SnapshotBlocks: an EBS snapshot read back through the EBS direct APIs.

#pragma once

#include <map>
#include <string>

#include "aws/ebs/client.h"
#include "base/mutex.h"
#include "proof/compare.h"

namespace vmferry::transfer {

class SnapshotBlocks final : public proof::TargetBlocks {
 public:
  SnapshotBlocks(aws::ebs::Client& ebs, std::string snapshot_id)
      : ebs_(ebs), snapshot_id_(std::move(snapshot_id)) {}

  Result<std::vector<std::uint64_t>> NextPage(const OpContext& context) override;
  Result<void> ReadBlock(std::uint64_t block_index, std::span<std::byte> out,
                         const OpContext& context) override;

 private:
  aws::ebs::Client& ebs_;
  const std::string snapshot_id_;
  std::string next_token_;
  bool at_end_ = false;
  Mutex mutex_;
  /// Of the present page and, while its last blocks may still be read, the one before.
  std::map<std::uint64_t, std::string> tokens_ VMFERRY_GUARDED_BY(mutex_);
  std::uint64_t page_begin_ VMFERRY_GUARDED_BY(mutex_) = 0;
};

}  // namespace vmferry::transfer
