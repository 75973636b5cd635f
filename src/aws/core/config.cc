// SPDX-License-Identifier: Apache-2.0
#include "aws/core/config.h"

#include <fmt/format.h>

#include "aws/core/profile_file.h"
#include "base/units.h"
#include "sys/file.h"

namespace vmferry::aws {
namespace {

constexpr std::uint64_t kFileLimitBytes = kMiB;  // people's files have a few KiB

using Section = ProfileFile::Section;

const char* const kKeysRemedy =
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a profile that has keys in "
    "AWS_PROFILE; "
    "for the embedded region: vmferry region env";

struct Files {
  std::filesystem::path credentials_path, config_path;
  ProfileFile credentials, config;
};

Result<ProfileFile> ReadFile(const std::filesystem::path& path) {
  auto text = sys::ReadWholeFile(path, kFileLimitBytes);
  if (!text) {
    if (text.error().code() == ErrorCode::kNotFound) return ProfileFile();
    return std::move(text).error();
  }
  auto file = ProfileFile::Parse(*text);
  if (!file) {
    const std::string message = fmt::format("{}: {}", path.string(), file.error().message());
    return Error(ErrorCode::kInvalidArgument, "aws.bad_config", message)
        .With("path", path.string());
  }
  return file;
}

Result<Files> ReadFiles(const sys::Environment& environment, const std::filesystem::path& home) {
  Files files;
  files.credentials_path =
      environment.Get("AWS_SHARED_CREDENTIALS_FILE").value_or(home / ".aws" / "credentials");
  files.config_path = environment.Get("AWS_CONFIG_FILE").value_or(home / ".aws" / "config");
  VMFERRY_ASSIGN_OR_RETURN(files.credentials, ReadFile(files.credentials_path));
  VMFERRY_ASSIGN_OR_RETURN(files.config, ReadFile(files.config_path));
  return files;
}

std::string ValueOf(const Section* section, std::string_view key) {
  if (section == nullptr) return "";
  const auto found = section->find(key);
  return found == section->end() ? "" : found->second;
}

// The sections of one profile; in ~/.aws/config its name has a prefix, except for "default".
struct Profile {
  std::string name;
  bool named = false;  // by the user, not the default
  const Section* credentials = nullptr;
  const Section* config = nullptr;

  std::string Value(std::string_view key) const {
    const std::string value = ValueOf(config, key);
    return value.empty() ? ValueOf(credentials, key) : value;
  }
};

Result<Profile> FindProfile(const sys::Environment& environment, const Files& files,
                            const std::optional<std::string>& requested) {
  Profile profile;
  std::optional<std::string> name = requested;
  if (!name) name = environment.Get("AWS_PROFILE");
  if (!name) name = environment.Get("AWS_DEFAULT_PROFILE");
  profile.named = name.has_value();
  profile.name = name.value_or("default");
  profile.credentials = files.credentials.Find(profile.name);
  profile.config = files.config.Find("profile " + profile.name);
  if (profile.config == nullptr && profile.name == "default") {
    profile.config = files.config.Find("default");
  }
  if (profile.named && profile.credentials == nullptr && profile.config == nullptr) {
    return Error(ErrorCode::kNotFound, "aws.no_such_profile",
                 fmt::format("there is no profile '{}' in {} or {}", profile.name,
                             files.config_path.string(), files.credentials_path.string()))
        .With("profile", profile.name)
        .WithRemedy("choose an existing profile, or make one with: aws configure --profile NAME");
  }
  return profile;
}

Error NoCredentials(std::string message) {
  return Error(ErrorCode::kUnauthenticated, "aws.no_credentials", std::move(message))
      .WithRemedy(kKeysRemedy);
}

Result<bool> KeysFromEnvironment(const sys::Environment& environment, Config& config) {
  const auto id = environment.Get("AWS_ACCESS_KEY_ID");
  const auto secret = environment.Get("AWS_SECRET_ACCESS_KEY");
  if (!id && !secret) return false;
  if (!id || !secret) {
    return NoCredentials(fmt::format("only {} is set in the environment",
                                     id ? "AWS_ACCESS_KEY_ID" : "AWS_SECRET_ACCESS_KEY"));
  }
  config.credentials.access_key_id = *id;
  config.credentials.secret_access_key = Secret(*secret);
  auto token = environment.Get("AWS_SESSION_TOKEN");
  if (!token) token = environment.Get("AWS_SECURITY_TOKEN");
  if (token) config.credentials.session_token = Secret(*token);
  if (const auto expires = environment.Get("AWS_CREDENTIAL_EXPIRATION")) {
    if (const auto time = ParseTime(*expires)) config.credentials.expires = *time;
  }
  config.credentials_source = "environment";
  return true;
}

Result<bool> KeysFromSection(const Section* section, const std::filesystem::path& path,
                             const std::string& profile, Config& config) {
  const std::string id = ValueOf(section, "aws_access_key_id");
  const std::string secret = ValueOf(section, "aws_secret_access_key");
  if (id.empty() && secret.empty()) return false;
  if (id.empty() || secret.empty()) {
    return NoCredentials(
        fmt::format("profile '{}' in {} has only one of aws_access_key_id and "
                    "aws_secret_access_key",
                    profile, path.string()));
  }
  config.credentials.access_key_id = id;
  config.credentials.secret_access_key = Secret(secret);
  config.credentials.session_token = Secret(ValueOf(section, "aws_session_token"));
  config.credentials_source = fmt::format("profile {} in {}", profile, path.string());
  return true;
}

Result<void> FindKeys(const sys::Environment& environment, const Files& files,
                      const Profile& profile, bool skip_environment, Config& config) {
  if (!skip_environment) {
    VMFERRY_ASSIGN_OR_RETURN(const bool found, KeysFromEnvironment(environment, config));
    if (found) return {};
  }
  VMFERRY_ASSIGN_OR_RETURN(bool found, KeysFromSection(profile.credentials, files.credentials_path,
                                                       profile.name, config));
  if (found) return {};
  VMFERRY_ASSIGN_OR_RETURN(
      found, KeysFromSection(profile.config, files.config_path, profile.name, config));
  if (found) return {};
  for (const char* key : {"role_arn", "sso_session", "sso_start_url", "credential_process",
                          "login_session", "web_identity_token_file"}) {
    if (!profile.Value(key).empty()) {
      return NoCredentials(fmt::format(
          "profile '{}' gets its keys by {}, which is not supported yet", profile.name, key));
    }
  }
  return NoCredentials("no AWS credentials were found in the environment or in a profile");
}

Result<std::string> FindRegion(const sys::Environment& environment, const Profile& profile,
                               const std::optional<std::string>& requested) {
  if (requested) return *requested;
  for (const char* name : {"AWS_REGION", "AWS_DEFAULT_REGION"}) {
    if (const auto region = environment.Get(name)) return *region;
  }
  const std::string region = profile.Value("region");
  if (!region.empty()) return region;
  return Error(ErrorCode::kInvalidArgument, "aws.no_region", "no AWS region is named")
      .WithRemedy("set AWS_REGION, or region in the profile");
}

// Value and where it stands, of the first place that names an endpoint for the service.
struct Named {
  std::string url, where;
};

Named FindEndpoint(const sys::Environment& environment, const Files& files, const Profile& profile,
                   Service service) {
  std::string variable = "AWS_ENDPOINT_URL_";
  for (const char c : ServiceName(service)) {
    variable += c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c;
  }
  for (const std::string& name : {variable, std::string("AWS_ENDPOINT_URL")}) {
    if (const auto url = environment.Get(name)) return {*url, name};
  }
  const std::string services = profile.Value("services");
  if (!services.empty()) {
    const std::string url = ValueOf(files.config.Find("services " + services),
                                    std::string(ServiceName(service)) + ".endpoint_url");
    if (!url.empty()) return {url, "services section " + services};
  }
  const std::string url = profile.Value("endpoint_url");
  return {url, "endpoint_url of profile " + profile.name};
}

Result<void> ReplaceEndpoints(const sys::Environment& environment, const Files& files,
                              const Profile& profile, Endpoints& endpoints) {
  endpoints.set_force_path_style(profile.Value("s3.addressing_style") == "path");
  if (environment.Get("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS") == "true" ||
      profile.Value("ignore_configured_endpoint_urls") == "true") {
    return {};
  }
  for (const Service service : kServices) {
    const Named named = FindEndpoint(environment, files, profile, service);
    if (named.url.empty()) continue;
    auto url = http::ParseUrl(named.url);
    if (!url || !url->query.empty()) {
      Error error(ErrorCode::kInvalidArgument, "aws.bad_config",
                  fmt::format("{} is not an endpoint's address", named.where));
      if (!url) return std::move(error).CausedBy(std::move(url).error());
      return error;
    }
    endpoints.Replace(service, *std::move(url));
  }
  return {};
}

}  // namespace

Result<Config> LoadConfig(const sys::Environment& environment, const std::filesystem::path& home,
                          const ConfigRequest& request) {
  VMFERRY_ASSIGN_OR_RETURN(const Files files, ReadFiles(environment, home));
  VMFERRY_ASSIGN_OR_RETURN(const Profile profile, FindProfile(environment, files, request.profile));
  Config config;
  VMFERRY_RETURN_IF_ERROR(
      FindKeys(environment, files, profile, request.profile.has_value(), config));
  VMFERRY_ASSIGN_OR_RETURN(config.region, FindRegion(environment, profile, request.region));
  VMFERRY_ASSIGN_OR_RETURN(config.endpoints, Endpoints::ForRegion(config.region));
  VMFERRY_RETURN_IF_ERROR(ReplaceEndpoints(environment, files, profile, config.endpoints));
  config.ca_file = environment.Get("AWS_CA_BUNDLE").value_or(profile.Value("ca_bundle"));
  return config;
}

}  // namespace vmferry::aws
