// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "codec/text_codec.h"
#include "image/make_encoder.h"
#include "io/task_group.h"
#include "migration/source.h"
#include "migration/steps.h"
#include "transfer/guest_hash.h"
#include "transfer/s3_parts.h"
#include "transfer/send.h"
#include "transfer/send_encoded.h"

namespace vmferry::migration {
namespace {

constexpr std::uint32_t kOnlyDisk = 0;  // route `instance` takes one disk

Result<bool> BucketExists(StepContext& context) {
  const auto head = context.cloud.s3().HeadBucket(context.spec.bucket, context.op);
  if (head) return true;
  if (head.error().code() == ErrorCode::kNotFound) return false;
  return head.error();
}

// Creates the bucket when there is none. It is in the ledger before it exists.
Result<void> EnsureBucket(StepContext& context) {
  const std::string& bucket = context.spec.bucket;
  VMFERRY_ASSIGN_OR_RETURN(const bool exists, BucketExists(context));
  VMFERRY_ASSIGN_OR_RETURN(const auto entries,
                           context.journal.store().LedgerOf(kind::kBucket, bucket));
  for (const store::LedgerRow& entry : entries) {
    // Cut off between the call and its record: it was we who made it.
    if (exists && entry.state == "intended" && entry.migration_id == context.journal.id()) {
      return context.journal.Created(kind::kBucket, bucket);
    }
  }
  if (exists) return {};
  VMFERRY_RETURN_IF_ERROR(context.journal.Intend(kind::kBucket, bucket));
  VMFERRY_ASSIGN_OR_RETURN(const bool made, context.cloud.s3().CreateBucket(bucket, context.op));
  if (!made) return context.journal.Removed(kind::kBucket, bucket);  // somebody was faster
  VMFERRY_RETURN_IF_ERROR(context.journal.Created(kind::kBucket, bucket));
  context.Note(fmt::format("created bucket {}", bucket));
  return {};
}

Result<transfer::SendOutcome> SendStored(
    StepContext& context, const OpenedSource& source, bool resuming, transfer::Target& target,
    const std::function<void(const transfer::SendProgress&)>& on_progress, const OpContext& op) {
  Journal& journal = context.journal;
  VMFERRY_ASSIGN_OR_RETURN(const transfer::PiecePlan plan,
                           transfer::PiecePlan::Make(context.spec.source.identity.size_bytes));
  VMFERRY_ASSIGN_OR_RETURN(std::vector<store::PieceRow> recorded,
                           journal.store().Pieces(journal.id(), kOnlyDisk));
  return transfer::SendPieces(
      *source.file, plan, std::move(recorded), resuming, target,
      [&](std::span<const store::PieceRow> pieces) {
        return journal.store().ConfirmPieces(journal.id(), kOnlyDisk, pieces);
      },
      on_progress, context.clock, {.parallel = context.spec.parallel}, op);
}

// What another version's encoder made cannot be gone on with: it is made again.
Result<void> ForgetOtherEncoder(StepContext& context, const std::string& id) {
  Journal& journal = context.journal;
  VMFERRY_ASSIGN_OR_RETURN(std::string before, journal.Fact("wire_encoder"));
  if (before.empty()) before = context.spec.wire.encoder;
  if (before == id) return {};
  VMFERRY_RETURN_IF_ERROR(journal.store().DropPieces(journal.id(), kOnlyDisk, 0));
  return journal.PutFacts({{"wire_encoder", id}});
}

// The stored bytes travel, or what an encoder makes of the guest's.
Result<transfer::SendOutcome> Send(StepContext& context, const OpenedSource& source, bool resuming,
                                   const OpContext& op) {
  const MigrationSpec& spec = context.spec;
  transfer::S3PartsTarget target(context.cloud.s3(), spec.bucket, spec.key_prefix,
                                 [&spec](std::uint64_t number) { return PartKey(spec, number); });
  const auto on_progress = [&](const transfer::SendProgress& progress) {
    const bool uploaded = progress.done_bytes == progress.total_bytes;
    context.Report(Step::kTransfer, progress.done_bytes, progress.total_bytes,
                   uploaded ? "hashing" : "upload");
  };
  if (spec.wire.encoder.empty()) {
    return SendStored(context, source, resuming, target, on_progress, op);
  }
  VMFERRY_ASSIGN_OR_RETURN(const auto encoder,
                           image::MakeWireEncoder(spec.source.virtual_size_bytes));
  VMFERRY_RETURN_IF_ERROR(ForgetOtherEncoder(context, encoder->Info().id));
  const transfer::PieceJournal pieces = {
      .store = context.journal.store(), .migration_id = context.journal.id(), .disk = kOnlyDisk};
  return transfer::SendEncoded(
      *source.image, *encoder, pieces, resuming, target, on_progress, context.clock,
      {.parallel = spec.parallel, .piece_bytes = spec.wire.piece_bytes}, op);
}

}  // namespace

std::string PartKey(const MigrationSpec& spec, std::uint64_t number) {
  return fmt::format("{}{}.part{}", spec.key_prefix, SourceName(spec.source), number);
}

std::string ManifestKey(const MigrationSpec& spec) {
  return fmt::format("{}{}manifest.xml", spec.key_prefix, SourceName(spec.source));
}

Result<std::string> RunTransfer(StepContext& context) {
  const MigrationSpec& spec = context.spec;
  Journal& journal = context.journal;
  VMFERRY_ASSIGN_OR_RETURN(const OpenedSource source, ReopenSource(spec.source));
  VMFERRY_RETURN_IF_ERROR(EnsureBucket(context));
  const std::string prefix = spec.bucket + "/" + spec.key_prefix;
  VMFERRY_ASSIGN_OR_RETURN(const std::string started, journal.Fact("transfer_started"));
  VMFERRY_RETURN_IF_ERROR(journal.Intend(kind::kPrefix, prefix));
  VMFERRY_RETURN_IF_ERROR(journal.PutFacts({{"transfer_started", "yes"}}));

  // A second reader walks the guest bytes over the same page cache.
  io::TaskGroup group(context.op.stop);
  transfer::GuestHash hash;
  group.Start([&](std::stop_token stop) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(
        hash, transfer::HashGuest(*source.image, spec.volume_size_gib * kGiB, journal.store(),
                                  journal.id(), kOnlyDisk, {context.op.deadline, stop}));
    return {};
  });
  transfer::SendOutcome sent;
  group.Start([&](std::stop_token stop) -> Result<void> {
    VMFERRY_ASSIGN_OR_RETURN(
        sent, Send(context, source, /*resuming=*/!started.empty(), {context.op.deadline, stop}));
    return {};
  });
  VMFERRY_RETURN_IF_ERROR(group.Wait());

  // What was read is what is there only if nobody wrote to it meanwhile.
  VMFERRY_ASSIGN_OR_RETURN(const OpenedSource after, ReopenSource(spec.source));
  VMFERRY_RETURN_IF_ERROR(journal.PutFacts({{"root", codec::HexEncode(hash.root)},
                                            {"data_blocks", std::to_string(hash.counts.data)},
                                            {"zero_blocks", std::to_string(hash.counts.zero)},
                                            {"hole_blocks", std::to_string(hash.counts.hole)}}));
  const std::uint64_t there = sent.skipped_pieces + sent.found_pieces;
  std::string text =
      fmt::format("{} parts, {} sent", sent.sent_pieces + there, FormatSize(sent.sent_bytes));
  if (there > 0) text += fmt::format(" ({} were there already)", there);
  return text;
}

}  // namespace vmferry::migration
