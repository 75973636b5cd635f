// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "migration/source.h"
#include "migration/steps.h"
#include "transfer/piece_plan.h"

namespace vmferry::migration {

Result<std::string> RunAssess(StepContext& context) {
  const MigrationSpec& spec = context.spec;
  VMFERRY_ASSIGN_OR_RETURN(const OpenedSource source, ReopenSource(spec.source));
  for (const std::string& remark : source.remarks) context.Note(remark);
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
