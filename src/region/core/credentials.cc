// SPDX-License-Identifier: Apache-2.0
#include "region/core/credentials.h"

#include "base/units.h"
#include "sys/file.h"
#include "text/json.h"

namespace vmferry::region {
namespace {

constexpr std::string_view kBase32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
constexpr std::string_view kBase64 =
    "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
constexpr std::string_view kDigits = "0123456789";

std::string Pick(sys::Random& random, std::string_view alphabet, std::size_t length) {
  std::string out;
  for (std::size_t i = 0; i < length; ++i) out.push_back(alphabet[random.Below(alphabet.size())]);
  return out;
}

std::filesystem::path PathIn(const std::filesystem::path& folder) {
  return folder / "credentials.json";
}

}  // namespace

Result<RegionCredentials> LoadCredentials(const std::filesystem::path& folder) {
  const std::filesystem::path path = PathIn(folder);
  VMFERRY_ASSIGN_OR_RETURN(const std::string content, sys::ReadWholeFile(path, 64 * kKiB));
  const auto json = text::Json::Parse(content);
  RegionCredentials credentials;
  if (json) {
    credentials.account_id = (*json)["account_id"].AsString();
    credentials.access_key_id = (*json)["access_key_id"].AsString();
    credentials.secret_access_key = Secret((*json)["secret_access_key"].AsString());
  }
  if (credentials.account_id.size() != 12 || credentials.access_key_id.empty() ||
      credentials.secret_access_key.empty()) {
    return Error(ErrorCode::kDataLoss, "region.credentials_damaged",
                 "the region's credentials file cannot be understood")
        .With("path", path.string())
        .WithRemedy("move the file away: the region makes new credentials at its next start");
  }
  return credentials;
}

Result<RegionCredentials> LoadOrMakeCredentials(const std::filesystem::path& folder,
                                                sys::Random& random) {
  auto loaded = LoadCredentials(folder);
  if (loaded || loaded.error().code() != ErrorCode::kNotFound) return loaded;
  RegionCredentials made;
  made.account_id = Pick(random, "123456789", 1) + Pick(random, kDigits, 11);
  made.access_key_id = "AKIA" + Pick(random, kBase32, 16);
  made.secret_access_key = Secret(Pick(random, kBase64, 40));
  text::Json json;
  json.Set("account_id", made.account_id);
  json.Set("access_key_id", made.access_key_id);
  json.Set("secret_access_key", std::string(made.secret_access_key.Expose()));
  VMFERRY_RETURN_IF_ERROR(sys::WriteWholeFile(PathIn(folder), json.Dump(true) + "\n"));
  return made;
}

}  // namespace vmferry::region
