// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "base/version.h"
#include "codec/text_codec.h"
#include "migration/source.h"
#include "migration/steps.h"
#include "proof/certificate.h"
#include "proof/signing_key.h"
#include "transfer/guest_hash.h"
#include "transfer/snapshot_blocks.h"

namespace vmferry::migration {
namespace {

constexpr std::uint32_t kOnlyDisk = 0;
constexpr unsigned kReadsAtOnce = 8;

std::string SnapshotMarker(const Journal& journal) {
  return fmt::format("vmferry {} verify", journal.id());
}

// CreateSnapshot has no client token: the marker in the description is the guard.
Result<std::string> EnsureSnapshot(StepContext& context, const std::string& volume_id) {
  Journal& journal = context.journal;
  VMFERRY_ASSIGN_OR_RETURN(std::string id, journal.Fact("verify_snapshot"));
  if (!id.empty()) return id;
  const std::string marker = SnapshotMarker(journal);
  VMFERRY_ASSIGN_OR_RETURN(const std::string intended, journal.Fact("verify_intended"));
  if (!intended.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(
        const auto found,
        context.cloud.ec2().DescribeSnapshots(
            {.filters = {{.name = "description", .values = {marker}}}}, context.op));
    // More than one when an earlier run was cut off while it removed its own: all are to be
    // cleaned.
    for (const aws::ec2::Snapshot& snapshot : found) {
      VMFERRY_RETURN_IF_ERROR(journal.Created(kind::kSnapshot, snapshot.id));
      id = snapshot.id;
    }
  }
  if (id.empty()) {
    VMFERRY_RETURN_IF_ERROR(journal.Intend(kind::kSnapshot, marker));
    VMFERRY_RETURN_IF_ERROR(journal.PutFacts({{"verify_intended", "yes"}}));
    VMFERRY_ASSIGN_OR_RETURN(
        const aws::ec2::Snapshot snapshot,
        context.cloud.ec2().CreateSnapshot(volume_id, marker, {{"vmferry:migration", journal.id()}},
                                           context.op));
    id = snapshot.id;
  }
  VMFERRY_RETURN_IF_ERROR(journal.Created(kind::kSnapshot, id));
  VMFERRY_RETURN_IF_ERROR(journal.Removed(kind::kSnapshot, marker));
  VMFERRY_RETURN_IF_ERROR(journal.PutFacts({{"verify_snapshot", id}}));
  return id;
}

Result<aws::ec2::Snapshot> WaitForSnapshot(StepContext& context, const std::string& id) {
  aws::ec2::Snapshot snapshot;
  VMFERRY_RETURN_IF_ERROR(PollUntil(
      context, 2 * context.cloud.QuietLimit(), "verify.snapshot_timeout",
      "the snapshot to complete", [&]() -> Result<bool> {
        VMFERRY_ASSIGN_OR_RETURN(const auto found,
                                 context.cloud.ec2().DescribeSnapshots({.ids = {id}}, context.op));
        if (found.empty()) return false;
        snapshot = found.front();
        context.Report(Step::kVerify, 0, 0,
                       fmt::format("snapshot {} {}", snapshot.state, snapshot.progress));
        if (snapshot.state == "error") {
          return Error(ErrorCode::kUnavailable, "verify.snapshot_failed",
                       fmt::format("snapshot {} failed: {}", id, snapshot.status_message))
              .WithRemedy("vmferry resume takes another one");
        }
        return snapshot.state == "completed";
      }));
  return snapshot;
}

// The facts go first: a crash after that makes the next run take a snapshot of its own, and this
// one stays in the ledger for the clean-up. The other way round it would look for a snapshot that
// is gone, for ever.
Result<void> RemoveSnapshot(StepContext& context, const std::string& id) {
  VMFERRY_RETURN_IF_ERROR(
      context.journal.PutFacts({{"verify_snapshot", ""}, {"verify_intended", ""}}));
  const auto removed = context.cloud.ec2().DeleteSnapshot(id, context.op);
  if (!removed && removed.error().code() != ErrorCode::kNotFound) return removed;
  return context.journal.Removed(kind::kSnapshot, id);
}

// The source, when it is still there and unchanged: it lets differences be named to the byte.
std::optional<OpenedSource> SourceIfUnchanged(const SourceSpec& spec) {
  auto source = ReopenSource(spec);
  if (!source) return std::nullopt;
  return *std::move(source);
}

proof::Certificate MakeCertificate(const StepContext& context,
                                   const std::map<std::string, std::string>& facts,
                                   const proof::Comparison& comparison,
                                   const aws::ec2::Snapshot& snapshot) {
  const SourceSpec& source = context.spec.source;
  const auto fact = [&](const std::string& name) {
    const auto found = facts.find(name);
    return found == facts.end() ? std::string() : found->second;
  };
  const auto number = [&](const std::string& name) { return ParseUint(fact(name)).value_or(0); };
  const WallTime modified{std::chrono::duration_cast<WallTime::duration>(
      std::chrono::nanoseconds(source.identity.modified_ns))};
  proof::Certificate certificate;
  certificate.verdict = proof::VerdictOf(comparison, context.cloud.MayEditDisks());
  certificate.migration_id = context.journal.id();
  certificate.mode = context.spec.verify;
  certificate.route = context.spec.route;
  certificate.source = {.path = source.path,
                        .format = source.format,
                        .subformat = source.subformat,
                        .virtual_size_bytes = source.virtual_size_bytes,
                        .stored_size_bytes = source.identity.size_bytes,
                        .modified_at = FormatTime(modified),
                        .device = source.identity.device,
                        .inode = source.identity.inode};
  certificate.volume_size_bytes = context.spec.volume_size_gib * kGiB;
  certificate.root = fact("root");
  certificate.target_root = codec::HexEncode(comparison.target_root);
  certificate.source_blocks = {
      .data = number("data_blocks"), .zero = number("zero_blocks"), .hole = number("hole_blocks")};
  certificate.compared_blocks = comparison.counts;
  // Route `instance` sends the stored file: its holes are not sent as bytes.
  certificate.holes_not_written = certificate.source_blocks.hole;
  certificate.differing_ranges = comparison.ranges;
  certificate.differing_ranges_complete = comparison.ranges_complete;
  certificate.target_ids = {{"instance", fact("instance_id")},
                            {"volume", fact("volume_id")},
                            {"snapshot", snapshot.id},
                            {"region", context.cloud.region()}};
  certificate.encryption = snapshot.encrypted
                               ? (snapshot.kms_key_id.empty() ? "encrypted" : snapshot.kms_key_id)
                               : "none";
  certificate.tool_version = kVersion;
  certificate.issued_at = FormatTime(context.clock.WallNow());
  return certificate;
}

Result<std::string> WriteCertificate(const StepContext& context,
                                     const proof::Certificate& certificate) {
  const std::filesystem::path folder = context.state_folder / "certificates";
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(folder));
  VMFERRY_ASSIGN_OR_RETURN(const proof::SigningKey key,
                           proof::LoadOrCreateSigningKey(context.state_folder));
  VMFERRY_ASSIGN_OR_RETURN(const std::string envelope,
                           proof::Sign(proof::BuildPayload(certificate), key.private_pem));
  const std::filesystem::path path = folder / (certificate.migration_id + ".json");
  VMFERRY_RETURN_IF_ERROR(sys::WriteWholeFile(path, envelope, 0644));
  return path.string();
}

Error Differs(const proof::Comparison& comparison, const std::string& certificate_path) {
  const std::uint64_t first =
      comparison.ranges.empty() ? 0 : comparison.ranges.front().offset_bytes;
  return Error(ErrorCode::kDataLoss, "verify.differs",
               fmt::format("the imported disk is not what was sent: {} of {} blocks differ, the "
                           "first difference is at byte offset {}",
                           comparison.counts.differing, comparison.counts.total, first))
      .With("offset_bytes", first)
      .With("differing_blocks", comparison.counts.differing)
      .With("certificate", certificate_path)
      .WithRemedy("do not use the instance; the certificate lists where it differs");
}

}  // namespace

Result<std::string> RunVerify(StepContext& context) {
  Journal& journal = context.journal;
  VMFERRY_ASSIGN_OR_RETURN(const std::string volume_id, journal.Fact("volume_id"));
  VMFERRY_ASSIGN_OR_RETURN(const std::string snapshot_id, EnsureSnapshot(context, volume_id));
  auto snapshot = WaitForSnapshot(context, snapshot_id);
  if (!snapshot) {
    if (snapshot.error().reason() == "verify.snapshot_failed") {
      VMFERRY_RETURN_IF_ERROR(RemoveSnapshot(context, snapshot_id));
    }
    return std::move(snapshot).error();
  }

  VMFERRY_ASSIGN_OR_RETURN(const proof::LeafSet leaves,
                           transfer::LoadLeaves(journal.store(), journal.id(), kOnlyDisk));
  const std::uint64_t block_count = context.spec.volume_size_gib * kGiB / proof::kLeafBlockBytes;
  const auto source = SourceIfUnchanged(context.spec.source);
  transfer::SnapshotBlocks target(context.cloud.ebs(), snapshot_id);
  VMFERRY_ASSIGN_OR_RETURN(
      const proof::Comparison comparison,
      proof::Compare(leaves, block_count, target,
                     {.threads = kReadsAtOnce,
                      .source = source ? source->image.get() : nullptr,
                      .progress =
                          [&](std::uint64_t done, std::uint64_t total) {
                            context.Report(Step::kVerify, done * proof::kLeafBlockBytes,
                                           total * proof::kLeafBlockBytes, "reading back");
                          }},
                     context.op));

  VMFERRY_ASSIGN_OR_RETURN(const auto facts, journal.store().Facts(journal.id()));
  const proof::Certificate certificate = MakeCertificate(context, facts, comparison, *snapshot);
  VMFERRY_ASSIGN_OR_RETURN(const std::string path, WriteCertificate(context, certificate));
  const std::string verdict(proof::VerdictName(certificate.verdict));
  VMFERRY_RETURN_IF_ERROR(journal.PutFacts({{"certificate", path}, {"verdict", verdict}}));
  if (context.spec.keep_snapshot) {
    VMFERRY_RETURN_IF_ERROR(journal.Kept(kind::kSnapshot, snapshot_id));
  } else {
    VMFERRY_RETURN_IF_ERROR(RemoveSnapshot(context, snapshot_id));
  }
  if (certificate.verdict == proof::Verdict::kDiffers) return Differs(comparison, path);
  return fmt::format("{}: {} blocks, {} read back, {} zero on both sides, {} differ", verdict,
                     comparison.counts.total, comparison.counts.read, comparison.counts.unlisted,
                     comparison.counts.differing);
}

}  // namespace vmferry::migration
