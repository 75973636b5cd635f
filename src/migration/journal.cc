// SPDX-License-Identifier: Apache-2.0
#include "migration/journal.h"

namespace vmferry::migration {

Result<std::string> Journal::Fact(std::string_view name) const {
  VMFERRY_ASSIGN_OR_RETURN(const auto facts, store_.Facts(id_));
  const auto found = facts.find(std::string(name));
  return found == facts.end() ? std::string() : found->second;
}

Result<void> Journal::SetState(MigrationState to, std::string_view error_json) {
  VMFERRY_ASSIGN_OR_RETURN(const store::MigrationRow row, store_.Migration(id_));
  const auto from = ParseMigrationState(row.state);
  VMFERRY_CHECK(from && MayFollow(*from, to));
  return store_.SetState(id_, MigrationStateName(to), error_json, clock_.WallNow());
}

}  // namespace vmferry::migration
