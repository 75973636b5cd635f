// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "aws/s3/bucket_name.h"
#include "base/units.h"
#include "image/make_encoder.h"
#include "migration/operations.h"
#include "transfer/piece_plan.h"
#include "transfer/send_encoded.h"

namespace vmferry::migration {
namespace {

// The largest volume that the import service makes. Source: VM Import/Export limits.
constexpr std::uint64_t kVolumeGibMax = 16 * 1024;

std::vector<std::pair<std::string, std::string>> ListCalls(const PlanView& plan) {
  const MigrationSpec& spec = plan.spec;
  std::vector<std::pair<std::string, std::string>> calls = {
      {"sts:GetCallerIdentity", "who we are"},
      {"s3:HeadBucket", spec.bucket},
      {"s3:CreateBucket", "only when it does not exist"},
      {"s3:PutObject", fmt::format("{}{} parts of up to {} below {}, {} at once",
                                   spec.wire.encoder.empty() ? "" : "up to ", plan.part_count,
                                   FormatSize(plan.part_bytes), spec.key_prefix, spec.parallel)},
      {"s3:PutObject", "the import manifest with pre-signed HEAD, GET and DELETE URLs"},
      {"ec2:ImportInstance",
       fmt::format("{} {} {}, a volume of {} GiB", spec.platform, spec.architecture,
                   spec.instance_type, spec.volume_size_gib)},
      {"ec2:DescribeConversionTasks", "until the task ends"}};
  if (spec.verify != "none") {
    calls.emplace_back("ec2:CreateSnapshot", "of the new volume, before its first boot");
    calls.emplace_back("ec2:DescribeSnapshots", "until it is complete");
    calls.emplace_back("ebs:ListSnapshotBlocks", "all");
    calls.emplace_back("ebs:GetSnapshotBlock", "every block listed or not a hole at the source");
    if (!spec.keep_snapshot) calls.emplace_back("ec2:DeleteSnapshot", "that snapshot");
  }
  calls.emplace_back("ec2:StartInstances", "the new instance");
  calls.emplace_back("ec2:DescribeInstances", "until it runs");
  calls.emplace_back("ec2:DescribeInstanceStatus", "until both status checks passed");
  for (const std::string& check : spec.checks) {
    if (check == "console") calls.emplace_back("ec2:GetConsoleOutput", "until it shows a prompt");
  }
  calls.emplace_back("s3:DeleteObjects", "parts and manifest");
  calls.emplace_back("s3:DeleteBucket", "only when this or an earlier migration created it");
  return calls;
}

struct Whereabouts {
  std::string account;
  std::string region;
};

// Who we are and where. A dry run does not start the embedded region: names are left open then.
Result<Whereabouts> FindOut(CloudFactory& clouds, const PlanRequest& request,
                            const OpContext& context) {
  CloudRequest wanted = request.cloud;
  wanted.start_region = !request.dry_run;
  const auto cloud = clouds.Open(wanted, context);
  if (!cloud) {
    if (cloud.error().reason() != "region.not_running") return cloud.error();
    return Whereabouts{.account = "ACCOUNT", .region = "REGION"};
  }
  VMFERRY_ASSIGN_OR_RETURN(aws::sts::CallerIdentity identity,
                           (*cloud)->sts().GetCallerIdentity(context));
  return Whereabouts{.account = std::move(identity.account), .region = (*cloud)->region()};
}

struct Wire {
  WireSpec spec;
  std::uint64_t part_count = 0;  ///< at most
};

// What travels: the stored file where ImportInstance takes it, else a stream-optimised VMDK that is
// made while the disk is read.
Result<Wire> ChooseWire(const OpenedSource& source) {
  if (!source.stored_wire_format.empty() && source.file) {
    VMFERRY_ASSIGN_OR_RETURN(const transfer::PiecePlan pieces,
                             transfer::PiecePlan::Make(source.spec.identity.size_bytes));
    return Wire{.spec = {.format = source.stored_wire_format,
                         .encoder = "",
                         .piece_bytes = pieces.part_bytes()},
                .part_count = pieces.count()};
  }
  VMFERRY_ASSIGN_OR_RETURN(const auto encoder, image::MakeWireEncoder(source.image->SizeBytes()));
  // Grains that do not compress grow a little, and each table of 32 MiB takes some sectors.
  const std::uint64_t bound_bytes = source.spec.data_bytes + source.spec.data_bytes / 8 + kMiB;
  VMFERRY_ASSIGN_OR_RETURN(const std::uint64_t piece_bytes,
                           transfer::EncodedPieceBytes(bound_bytes));
  return Wire{.spec = {.format = encoder->Info().wire_format,
                       .encoder = encoder->Info().id,
                       .piece_bytes = piece_bytes},
              .part_count = DivCeil(bound_bytes, piece_bytes)};
}

}  // namespace

Result<PlanView> Operations::Plan(const PlanRequest& request, const OpContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(OpenedSource source, OpenSource(request.source, request.open));
  VMFERRY_ASSIGN_OR_RETURN(const Wire wire, ChooseWire(source));
  VMFERRY_ASSIGN_OR_RETURN(const Whereabouts where, FindOut(world_.clouds, request, context));
  PlanView plan;
  plan.spec = request.options;
  plan.spec.source = std::move(source.spec);
  plan.spec.wire = wire.spec;
  plan.spec.to = request.cloud.to;
  plan.spec.region = where.region;
  plan.spec.profile = request.cloud.profile;
  plan.spec.bucket = request.bucket.empty()
                         ? fmt::format("vmferry-{}-{}", where.account, where.region)
                         : request.bucket;
  if (!request.bucket.empty()) {
    VMFERRY_RETURN_IF_ERROR(aws::s3::CheckBucketName(request.bucket));
  }
  plan.spec.volume_size_gib = transfer::VolumeSizeGib(plan.spec.source.virtual_size_bytes);
  plan.spec.key_prefix = "vmferry/<migration>/";
  if (plan.spec.volume_size_gib > kVolumeGibMax) {
    return Error(ErrorCode::kOutOfRange, "source.too_large",
                 fmt::format("the disk needs a volume of {} GiB, more than {} GiB",
                             plan.spec.volume_size_gib, kVolumeGibMax));
  }
  plan.part_count = wire.part_count;
  plan.part_bytes = wire.spec.piece_bytes;
  plan.api_calls = ListCalls(plan);
  return plan;
}

}  // namespace vmferry::migration
