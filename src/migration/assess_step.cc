// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "migration/source.h"
#include "migration/steps.h"
#include "transfer/piece_plan.h"

namespace vmferry::migration {

Result<std::string> RunAssess(StepContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const OpenedSource source,
                           OpenSource(context.spec.source.path, context.spec.source.allow_running));
  VMFERRY_RETURN_IF_ERROR(CheckUnchanged(context.spec.source, source.spec));
  VMFERRY_ASSIGN_OR_RETURN(const transfer::PiecePlan plan,
                           transfer::PiecePlan::Make(source.spec.identity.size_bytes));
  for (const std::string& defect : source.image->Info().defects) context.Note(defect);
  return fmt::format("{}{}{}, {} stored, {} virtual: {} parts, a volume of {} GiB",
                     context.spec.source.format, context.spec.source.subformat.empty() ? "" : " ",
                     context.spec.source.subformat, FormatSize(source.spec.identity.size_bytes),
                     FormatSize(source.spec.virtual_size_bytes), plan.count(),
                     context.spec.volume_size_gib);
}

}  // namespace vmferry::migration
