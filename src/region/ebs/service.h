// SPDX-License-Identifier: Apache-2.0
//
// EbsService: the reading half of the EBS direct APIs: ListSnapshotBlocks and GetSnapshotBlock.
//
// Source: Amazon EBS direct APIs, version 2019-11-02.

#pragma once

#include <memory>

#include "region/core/context.h"
#include "region/core/service.h"
#include "region/ebs/token.h"
#include "region/vm/disks.h"

namespace vmferry::region::ebs {

class EbsService final : public Service {
 public:
  /// `context` and `disks` outlive it.
  static Result<std::unique_ptr<EbsService>> Open(Context& context, vm::Disks& disks);

  std::string_view Name() const override { return "ebs"; }
  std::string OperationOf(const Call& call) const override;
  Answer Handle(Call& call) override;
  Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                     const Call& call) const override;

 private:
  EbsService(Context& context, vm::Disks& disks, Tokens tokens)
      : context_(context), disks_(disks), tokens_(std::move(tokens)) {}

  Answer ListSnapshotBlocks(const Call& call, std::string_view snapshot_id);
  Answer GetSnapshotBlock(const Call& call, std::string_view snapshot_id,
                          std::string_view block_index);
  std::int64_t Now() const;

  Context& context_;
  vm::Disks& disks_;
  Tokens tokens_;
};

}  // namespace vmferry::region::ebs
