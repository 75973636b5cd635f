// SPDX-License-Identifier: Apache-2.0
#include "region/control/tls_files.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>

#include "base/units.h"
#include "sys/file.h"

namespace vmferry::region::control {
namespace {

constexpr int kDaysLeftMin = 60;
constexpr std::uint64_t kPemBytesMax = 64 * kKiB;

Result<http::CertifiedKey> ReadPair(const std::filesystem::path& folder, std::string_view name) {
  http::CertifiedKey pair;
  VMFERRY_ASSIGN_OR_RETURN(pair.certificate,
                           sys::ReadWholeFile(folder / fmt::format("{}.pem", name), kPemBytesMax));
  VMFERRY_ASSIGN_OR_RETURN(
      std::string key, sys::ReadWholeFile(folder / fmt::format("{}-key.pem", name), kPemBytesMax));
  pair.key = Secret(std::move(key));
  return pair;
}

/// The key first: a certificate without its key counts as absent.
Result<void> WritePair(const std::filesystem::path& folder, std::string_view name,
                       const http::CertifiedKey& pair) {
  VMFERRY_RETURN_IF_ERROR(
      sys::WriteWholeFile(folder / fmt::format("{}-key.pem", name), pair.key.Expose()));
  return sys::WriteWholeFile(folder / fmt::format("{}.pem", name), pair.certificate, 0644);
}

}  // namespace

std::filesystem::path CaBundlePath(const std::filesystem::path& folder) {
  return folder / "tls" / "ca.pem";
}

std::vector<std::string> ServerNames(const std::string& region_name) {
  std::vector<std::string> names = {"localhost", "s3.localhost", "*.s3.localhost"};
  static constexpr std::array<std::string_view, 5> kServices = {"ec2", "s3", "ebs", "sts", "iam"};
  for (const std::string_view service : kServices) {
    names.push_back(fmt::format("{}.{}.amazonaws.com", service, region_name));
    names.push_back(fmt::format("{}.amazonaws.com", service));
  }
  for (const std::string_view s3 : {"s3", "s3.dualstack"}) {
    names.push_back(fmt::format("*.{}.{}.amazonaws.com", s3, region_name));
  }
  names.push_back(fmt::format("s3.dualstack.{}.amazonaws.com", region_name));
  names.emplace_back("*.s3.amazonaws.com");
  return names;
}

Result<http::CertifiedKey> LoadOrMakeTls(const std::filesystem::path& folder,
                                         const std::string& region_name, WallTime now) {
  const std::filesystem::path tls = folder / "tls";
  VMFERRY_RETURN_IF_ERROR(sys::MakeFolders(tls));
  auto authority = ReadPair(tls, "ca");
  if (!authority && authority.error().code() != ErrorCode::kNotFound) return authority;
  if (!authority) {
    VMFERRY_ASSIGN_OR_RETURN(authority,
                             http::MakeAuthority("vmferry embedded region, local CA", now));
    VMFERRY_RETURN_IF_ERROR(WritePair(tls, "ca", *authority));
  }
  const std::vector<std::string> names = ServerNames(region_name);
  auto server = ReadPair(tls, "server");
  if (server &&
      http::IsUsable(server->certificate, authority->certificate, names, now, kDaysLeftMin)) {
    return server;
  }
  const std::vector<std::string> addresses = {"127.0.0.1", "::1"};
  auto made = http::IssueServerCertificate(*authority, names, addresses, now);
  if (!made) {
    return std::move(made)
        .error()
        .With("path", tls.string())
        .WithRemedy("move the folder away: the region makes a new authority at its next start");
  }
  VMFERRY_RETURN_IF_ERROR(WritePair(tls, "server", *made));
  return made;
}

}  // namespace vmferry::region::control
