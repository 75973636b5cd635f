// SPDX-License-Identifier: Apache-2.0
//
// EbsService: the EBS direct APIs. Reading (lists, GetSnapshotBlock) is in reading.cc, writing
// (StartSnapshot, PutSnapshotBlock, CompleteSnapshot) in writing.cc.
//
// Source: Amazon EBS direct APIs, version 2019-11-02.

#pragma once

#include <memory>

#include "region/core/context.h"
#include "region/core/service.h"
#include "region/ebs/quota.h"
#include "region/ebs/token.h"
#include "region/vm/disks.h"
#include "text/json.h"

namespace vmferry::region::ebs {

class EbsService final : public Service {
 public:
  /// `context` and `disks` outlive it.
  static Result<std::unique_ptr<EbsService>> Open(Context& context, vm::Disks& disks);

  std::string_view Name() const override { return "ebs"; }
  std::vector<std::string> Operations() const override;
  std::string OperationOf(const Call& call) const override;
  Answer Handle(Call& call) override;
  Answer ErrorAnswer(int status, std::string_view code, std::string_view message,
                     const Call& call) const override;

 private:
  EbsService(Context& context, vm::Disks& disks, Tokens tokens)
      : context_(context),
        disks_(disks),
        tokens_(std::move(tokens)),
        quota_(context.clock, context.settings.quotas) {}

  Answer StartSnapshot(const Call& call);
  Answer PutSnapshotBlock(const Call& call, std::string_view snapshot_id,
                          std::string_view block_index);
  Answer CompleteSnapshot(const Call& call, std::string_view snapshot_id);

  Answer ListSnapshotBlocks(const Call& call, std::string_view snapshot_id);
  Answer ListChangedBlocks(const Call& call, std::string_view second_id);
  Answer GetSnapshotBlock(const Call& call, std::string_view snapshot_id,
                          std::string_view block_index);

  /// What both lists have in common: where to begin and how many to name.
  struct PageRequest {
    std::uint64_t start = 0;
    std::uint64_t max_results = 0;
  };
  /// `subject` is what the page token must be for. Errors: an answer in `refusal`.
  std::optional<PageRequest> ReadPage(const Call& call, std::string_view subject,
                                      Answer& refusal) const;
  text::Json ListHead(const vm::BlockMap& map, std::int64_t expires) const;
  /// True when one descends from the other, or both from a third or from one volume.
  Result<bool> Related(const vm::Snapshot& first, const vm::Snapshot& second);
  std::int64_t Now() const;

  Context& context_;
  vm::Disks& disks_;
  Tokens tokens_;
  Quota quota_;
};

}  // namespace vmferry::region::ebs
