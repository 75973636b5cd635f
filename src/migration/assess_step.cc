// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "image/appliance.h"
#include "image/open.h"
#include "migration/source.h"
#include "migration/steps.h"
#include "transfer/piece_plan.h"

namespace vmferry::migration {
namespace {

/// Holds an appliance's files against its manifest: what arrived here damaged must not travel on.
Result<void> CheckAppliance(StepContext& context) {
  const SourceSpec& source = context.spec.source;
  if (image::IsUri(source.path)) return {};
  VMFERRY_ASSIGN_OR_RETURN(const auto appliance, OpenSourceAppliance(source));
  if (!appliance) return {};
  if (appliance->manifest.file.empty()) {
    context.Note("the appliance has no manifest: whether its files are whole cannot be told");
    return {};
  }
  if (!appliance->certificate.empty()) {
    context.Note("the certificate that signs the manifest was not verified");
  }
  VMFERRY_ASSIGN_OR_RETURN(
      const auto checks,
      image::VerifyManifest(
          *appliance, [&](std::uint64_t done_bytes, std::uint64_t total_bytes) -> Result<void> {
            context.Report(Step::kAssess, done_bytes, total_bytes, "manifest");
            if (!context.op.stop.stop_requested()) return {};
            return Error(ErrorCode::kCancelled, "migration.interrupted",
                         "checking the manifest was cut short");
          }));
  context.Note(fmt::format("{} files are what the manifest promises", checks.size()));
  return {};
}

}  // namespace

Result<std::string> RunAssess(StepContext& context) {
  const MigrationSpec& spec = context.spec;
  VMFERRY_ASSIGN_OR_RETURN(const OpenedSource source, ReopenSource(spec.source));
  for (const std::string& remark : source.remarks) context.Note(remark);
  VMFERRY_RETURN_IF_ERROR(CheckAppliance(context));
  std::string sent = "encoded as stream-optimised VMDK while it is read";
  if (spec.wire.encoder.empty()) {
    VMFERRY_ASSIGN_OR_RETURN(const transfer::PiecePlan plan,
                             transfer::PiecePlan::Make(source.spec.identity.size_bytes));
    sent = fmt::format("{} parts", plan.count());
  }
  return fmt::format("{}{}{}, {} stored, {} virtual: {}, a volume of {} GiB", spec.source.format,
                     spec.source.subformat.empty() ? "" : " ", spec.source.subformat,
                     FormatSize(source.spec.identity.size_bytes),
                     FormatSize(source.spec.virtual_size_bytes), sent, spec.volume_size_gib);
}

}  // namespace vmferry::migration
