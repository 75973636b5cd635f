// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>

#include "base/units.h"
#include "cli/commands.h"
#include "cli/report.h"
#include "proof/certificate.h"
#include "proof/signing_key.h"
#include "sys/file.h"
#include "text/json.h"

namespace vmferry::cli {
namespace {

constexpr std::uint64_t kFileLimitBytes = kMiB;

Result<std::filesystem::path> CertificatePath(CommandContext& context) {
  if (!context.arguments.certificate.empty()) {
    return std::filesystem::path(context.arguments.certificate);
  }
  VMFERRY_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, Session::Open(context));
  VMFERRY_ASSIGN_OR_RETURN(const migration::MigrationView view,
                           session->operations().View(context.arguments.id));
  const auto found = view.facts.find("certificate");
  if (found != view.facts.end()) return std::filesystem::path(found->second);
  return Error(ErrorCode::kNotFound, "verify.no_certificate",
               fmt::format("migration {} has no certificate yet", context.arguments.id))
      .WithRemedy("it is written by step verify");
}

std::string Describe(const proof::Certificate& certificate) {
  const proof::CompareCounts& counts = certificate.compared_blocks;
  std::vector<std::vector<std::string>> rows = {
      {"verdict", std::string(proof::VerdictName(certificate.verdict))},
      {"signature", "valid"},
      {"source", fmt::format("{}, {} virtual", certificate.source.path,
                             FormatSize(certificate.source.virtual_size_bytes))},
      {"root", certificate.root},
      {"read back", certificate.target_root},
      {"blocks", fmt::format("{} in all: {} compared ({} identical, {} differing), {} zero on both "
                             "sides",
                             counts.total, counts.compared, counts.identical, counts.differing,
                             counts.unlisted)},
      {"route", certificate.route},
      {"issued", certificate.issued_at}};
  for (const auto& [kind, id] : certificate.target_ids) rows.push_back({kind, id});
  for (const proof::DifferingRange& range : certificate.differing_ranges) {
    rows.push_back({"differs", fmt::format("{} bytes from offset {}", range.length_bytes,
                                           range.offset_bytes)});
  }
  return FormatTable(rows);
}

}  // namespace

Result<void> RunVerifyCommand(CommandContext& context) {
  VMFERRY_ASSIGN_OR_RETURN(const std::filesystem::path path, CertificatePath(context));
  VMFERRY_ASSIGN_OR_RETURN(const std::string envelope, sys::ReadWholeFile(path, kFileLimitBytes));
  const std::filesystem::path key_path = context.arguments.public_key.empty()
                                             ? context.world.folders.state / proof::kPublicKeyFile
                                             : std::filesystem::path(context.arguments.public_key);
  VMFERRY_ASSIGN_OR_RETURN(const std::string public_key,
                           sys::ReadWholeFile(key_path, kFileLimitBytes));
  VMFERRY_ASSIGN_OR_RETURN(const proof::Certificate certificate,
                           proof::Verify(envelope, public_key));
  fmt::print(context.world.out, "{}",
             context.arguments.output == OutputForm::kText
                 ? Describe(certificate)
                 : proof::BuildPayload(certificate) + "\n");
  if (certificate.verdict != proof::Verdict::kDiffers) return {};
  return Error(ErrorCode::kDataLoss, "verify.differs",
               fmt::format("the certificate says that {} blocks differ",
                           certificate.compared_blocks.differing))
      .WithRemedy("do not use the instance; the certificate lists where it differs");
}

}  // namespace vmferry::cli
