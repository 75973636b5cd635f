// SPDX-License-Identifier: Apache-2.0
//
// Session: temporary credentials, as STS gives them out.
//
// The token carries all of it, sealed with a key that is derived from the account's secret: nothing
// is stored, and a session survives a restart of the region. Its content is no secret; the
// session's secret key is derived anew from it.
//
// Thread safety: pure functions.

#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "base/deadline.h"
#include "base/secret.h"
#include "region/core/credentials.h"
#include "sys/random.h"

namespace vmferry::region {

struct Session {
  std::string access_key_id;  ///< ASIA and 16 characters
  Secret secret_access_key;   ///< 40 characters
  std::string token;
  WallTime expires;      ///< whole seconds
  std::string arn;       ///< "arn:aws:sts::123456789012:assumed-role/ROLE/NAME"
  std::string user_id;   ///< "AROA...:NAME"
  std::string role_arn;  ///< the role assumed, "" for a user's own session
};

/// Makes a session for `arn`; whole seconds of `expires` count.
Session IssueSession(const RegionCredentials& account, std::string_view arn,
                     std::string_view user_id, std::string_view role_arn, WallTime expires,
                     sys::Random& random);

/// The session of a token that this account issued, expired or not; nothing for anything else.
std::optional<Session> OpenSession(const RegionCredentials& account, std::string_view token);

}  // namespace vmferry::region
