// SPDX-License-Identifier: Apache-2.0
//
// Config: who we are and where the services are, from environment and shared configuration files.
//
// Read here: static keys, session token, region, endpoint addresses, CA bundle. Profiles that get
// their keys by other means (role_arn, sso, credential_process, instance metadata) are refused by
// name.
//
// Thread safety: a value.
// Source: AWS SDKs and Tools reference, "Shared config and credentials files", "Environment
// variables"; order of endpoints as in botocore's configprovider.py.

#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "aws/core/endpoints.h"
#include "sigv4/sign.h"
#include "sys/environment.h"

namespace vmferry::aws {

struct Config {
  std::string region;
  sigv4::Credentials credentials;
  /// Where the keys came from, for people: "environment", "profile work in
  /// /home/u/.aws/credentials".
  std::string credentials_source;
  Endpoints endpoints;
  std::string ca_file;  ///< AWS_CA_BUNDLE or the profile's ca_bundle; empty for the system's
};

struct ConfigRequest {
  /// As named by the user. With it, keys in the environment are not looked at.
  std::optional<std::string> profile;
  std::optional<std::string> region;
};

/// Order for keys: environment (both keys), then the profile in the credentials file, then in the
/// config file. For the region: request, AWS_REGION, AWS_DEFAULT_REGION, profile. For each
/// endpoint: AWS_ENDPOINT_URL_<SERVICE>, AWS_ENDPOINT_URL, the profile's services section, its
/// endpoint_url. The profile: request, AWS_PROFILE, AWS_DEFAULT_PROFILE, "default".
///
/// Errors: kUnauthenticated  aws.no_credentials    no keys found, or only half of them;
///         kNotFound         aws.no_such_profile   the named profile is in neither file;
///         kInvalidArgument  aws.no_region         no region is named anywhere;
///         kInvalidArgument  aws.bad_config        a file or value is malformed;
///         errors of sys/file.h when a file exists and cannot be read.
Result<Config> LoadConfig(const sys::Environment& environment, const std::filesystem::path& home,
                          const ConfigRequest& request = {});

}  // namespace vmferry::aws
