// SPDX-License-Identifier: Apache-2.0
#include "region/control/profile.h"

#include <fmt/format.h>

#include "region/control/tls_files.h"
#include "sys/file.h"

namespace vmferry::region::control {
namespace {

/// In single quotes, for any shell.
std::string ShellQuote(const std::string& text) {
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out.push_back(c);
    }
  }
  return out + "'";
}

}  // namespace

Result<void> WriteProfile(const RegionInfo& info, const RegionCredentials& credentials) {
  VMFERRY_RETURN_IF_ERROR(sys::WriteWholeFile(
      info.folder / "aws-config",
      fmt::format("# Made by vmferry for the embedded region. Written anew at each start.\n"
                  "[profile {}]\nregion = {}\nendpoint_url = {}\n",
                  info.profile, info.region_name, info.Endpoint())));
  return sys::WriteWholeFile(
      info.folder / "aws-credentials",
      fmt::format("[{}]\naws_access_key_id = {}\naws_secret_access_key = {}\n", info.profile,
                  credentials.access_key_id, credentials.secret_access_key.Expose()));
}

std::string EnvironmentLines(const RegionInfo& info) {
  const auto line = [](std::string_view name, const std::string& value) {
    return fmt::format("export {}={}\n", name, ShellQuote(value));
  };
  std::string out;
  // These would win over the profile.
  out += "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN\n";
  out += line("AWS_CONFIG_FILE", (info.folder / "aws-config").string());
  out += line("AWS_SHARED_CREDENTIALS_FILE", (info.folder / "aws-credentials").string());
  out += line("AWS_PROFILE", info.profile);
  out += line("AWS_REGION", info.region_name);
  out += line("AWS_DEFAULT_REGION", info.region_name);
  out += line("AWS_ENDPOINT_URL", info.Endpoint());
  // Not AWS_CA_BUNDLE, nor ca_bundle in the profile: with either, rclone (AWS's SDK for Go with a
  // transport of its own) refuses to start, and plain HTTP needs none.
  out += line("VMFERRY_REGION_CA", CaBundlePath(info.folder).string());
  out += line("AWS_EC2_METADATA_DISABLED", "true");
  out += "aws() { command aws --endpoint-url \"$AWS_ENDPOINT_URL\" \"$@\"; }\n";
  return out;
}

}  // namespace vmferry::region::control
