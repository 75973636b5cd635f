// SPDX-License-Identifier: Apache-2.0
#include "cli/exit_code.h"

#include <optional>
#include <string_view>

namespace vmferry::cli {
namespace {

struct Rule {
  std::string_view prefix;  ///< of the reason; the first match holds
  ExitCode exit_code;
};

constexpr Rule kRules[] = {
    {"verify.differs", ExitCode::kDiffers},
    {"compare.differs", ExitCode::kDiffers},
    {"hash.differs", ExitCode::kDiffers},
    {"launch.", ExitCode::kDidNotComeUp},
    {"check.", ExitCode::kDidNotComeUp},
    {"cli.", ExitCode::kUsage},
    {"units.", ExitCode::kUsage},
    {"migration.which", ExitCode::kUsage},
    {"migration.ended", ExitCode::kUsage},
    {"store.no_such_migration", ExitCode::kUsage},
    {"aws.bucket_invalid", ExitCode::kUsage},
    {"aws.no_region", ExitCode::kUsage},
    {"aws.bad_config", ExitCode::kUsage},
    {"aws.no_such_profile", ExitCode::kUsage},
    {"encoder.bad_state", ExitCode::kStateLocked},
    {"encoder.", ExitCode::kSourceInvalid},
    {"migration.busy", ExitCode::kStateLocked},
    {"migration.bad_spec", ExitCode::kStateLocked},
    {"sqlite.", ExitCode::kStateLocked},
    {"store.", ExitCode::kStateLocked},
    {"io.no_space", ExitCode::kStateLocked},
    {"image.", ExitCode::kSourceInvalid},
    {"nbd.", ExitCode::kSourceInvalid},
    {"raw.", ExitCode::kSourceInvalid},
    {"vhd.", ExitCode::kSourceInvalid},
    {"vhdx.", ExitCode::kSourceInvalid},
    {"vmdk.", ExitCode::kSourceInvalid},
    {"qcow2.", ExitCode::kSourceInvalid},
    {"ova.", ExitCode::kSourceInvalid},
    {"source.", ExitCode::kSourceInvalid},
    {"hashtree.", ExitCode::kSourceInvalid},
    {"target.", ExitCode::kUsage},
    {"transfer.too_large", ExitCode::kSourceInvalid},
    {"transfer.empty", ExitCode::kSourceInvalid},
    {"codec.inflate_failed", ExitCode::kSourceInvalid},
    {"io.", ExitCode::kSourceInvalid},
    {"import.failed", ExitCode::kRefused},
    {"import.", ExitCode::kUnreachable},
    {"verify.snapshot", ExitCode::kUnreachable},
    {"clean.", ExitCode::kUnreachable},
    {"http.", ExitCode::kUnreachable},
    {"region.", ExitCode::kUnreachable},
};

// What the service says: it refused, or it could not be reached or kept up with.
std::optional<ExitCode> OfService(const Error& error) {
  if (!error.reason().starts_with("aws.")) return std::nullopt;
  switch (error.code()) {
    case ErrorCode::kUnavailable:
    case ErrorCode::kDeadlineExceeded:
    case ErrorCode::kResourceExhausted:
    case ErrorCode::kInternal:
    case ErrorCode::kDataLoss:
    case ErrorCode::kAborted:
      return ExitCode::kUnreachable;
    case ErrorCode::kInvalidArgument:
    case ErrorCode::kNotFound:
    case ErrorCode::kAlreadyExists:
    case ErrorCode::kPermissionDenied:
    case ErrorCode::kUnauthenticated:
    case ErrorCode::kFailedPrecondition:
    case ErrorCode::kOutOfRange:
    case ErrorCode::kUnimplemented:
      return ExitCode::kRefused;
    case ErrorCode::kCancelled:
      return ExitCode::kInterrupted;
  }
  return std::nullopt;
}

}  // namespace

ExitCode ExitCodeOf(const Error& error) {
  if (error.code() == ErrorCode::kCancelled) return ExitCode::kInterrupted;
  for (const Rule& rule : kRules) {
    if (error.reason().starts_with(rule.prefix)) return rule.exit_code;
  }
  return OfService(error).value_or(ExitCode::kUnexpected);
}

}  // namespace vmferry::cli
